//! Receives files from senders.

fn main() -> std::process::ExitCode {
    twolane_cli::cli::receiver::main(std::env::args_os().collect())
}
