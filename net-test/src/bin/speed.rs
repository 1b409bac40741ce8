//! Measures twolane in comparison with raw iroh.

fn main() -> std::process::ExitCode {
    twolane_test::speed::main(std::env::args_os().collect())
}
