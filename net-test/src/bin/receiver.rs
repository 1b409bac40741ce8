//! Receives files from senders.

fn main() -> std::process::ExitCode {
    twolane_test::cli::receiver::main(std::env::args_os().collect())
}
