//! Tells which peers can reach this machine, and which obstacles there are.

fn main() -> std::process::ExitCode {
    twolane_cli::cli::doctor::main(std::env::args_os())
}
