//! Every input of the fuzz targets' corpus, run as a plain test.
