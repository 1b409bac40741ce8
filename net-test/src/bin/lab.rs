//! Runs twolane through real NATs, a relay and bad links: see [`twolane_test::lab`].

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    twolane_test::lab::main(std::env::args_os().collect())
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("error: the lab is made of Linux's network namespaces");
    std::process::ExitCode::from(1)
}
