//! `stream-tester scale`: what many endpoints take.
//!
//! - [`crowd`]: many endpoints at a time;
//! - [`footprint`]: tasks, files and memory of this process; [`say`]: the last words. `chaos` and `leaks` have them from here.

pub mod crowd;
pub mod footprint;
pub mod say;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
    0  all of it held
    1  something did not, or something failed on this side
    2  the command line
  130  interrupted (SIGINT); 143 terminated (SIGTERM)";
