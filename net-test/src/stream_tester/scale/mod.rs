//! `stream-tester scale`: many endpoints in one process. `chaos` and `leaks` use its footprint and reports too.

pub mod crowd;
pub mod footprint;
pub mod say;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
    0  all of it held
    1  something did not, or something failed on this side
    2  the command line
  130  interrupted (SIGINT); 143 terminated (SIGTERM)";
