//! Passes the version of the compiler and the build profile to the crate, which reports them as conditions of a
//! measurement.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    println!("cargo::rustc-env=TWOLANE_RUSTC={}", version.trim());
    println!("cargo::rustc-env=TWOLANE_PROFILE={}", env::var("PROFILE").unwrap_or_default());
}
