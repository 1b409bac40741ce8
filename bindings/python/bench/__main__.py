"""The benchmark of the Python package: `python bindings/python/bench`.

twolane in Rust is measured too if the module was built with the feature `bench`, as `net-test/measure.sh` does.
"""

import sys

from bench import main

sys.exit(main())
