//! Tells who can reach this machine, and what is in the way.

fn main() -> std::process::ExitCode {
    twolane_cli::cli::doctor::main(std::env::args_os())
}
