//! Files, ports and pipes between two keys.

fn main() -> std::process::ExitCode {
    twolane_cli::program::main(std::env::args_os().collect())
}
