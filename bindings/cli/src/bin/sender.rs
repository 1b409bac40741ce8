//! Sends files to a receiver.

fn main() -> std::process::ExitCode {
    twolane_cli::cli::sender::main(std::env::args_os().collect())
}
