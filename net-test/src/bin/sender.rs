//! Sends files to a receiver.

fn main() -> std::process::ExitCode {
    twolane_test::cli::sender::main(std::env::args_os().collect())
}
