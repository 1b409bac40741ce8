//! Sends a file from one process to another over a relay that it starts, and shows the error lane.

fn main() -> std::process::ExitCode {
    twolane_cli::demo::main(std::env::args_os().collect())
}
