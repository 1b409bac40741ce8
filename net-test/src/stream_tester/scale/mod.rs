//! `stream-tester leaks` and `stream-tester scale`: what is left behind by many connections, and what many endpoints take.
//!
//! - [`leaks`]: one connection after the other; [`slope`] tells growth from noise;
//! - [`crowd`]: many endpoints at a time;
//! - [`footprint`]: tasks, files and memory of this process; [`say`]: the last words.

pub mod crowd;
pub mod footprint;
pub mod leaks;
pub mod say;
pub mod slope;

/// For the help of either.
const EXIT_CODES: &str = "\
Exit codes:
    0  all of it held
    1  something did not, or something failed on this side
    2  the command line
  130  interrupted (SIGINT); 143 terminated (SIGTERM)";
