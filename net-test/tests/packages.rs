//! Checks the packages of the two crates that are published on crates.io.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

/// The folders of the published crates, next to the folder of this crate.
const PUBLISHED: [&str; 2] = ["id", "net"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the files of a package, as cargo lists them.
fn packaged(folder: &str) -> BTreeSet<PathBuf> {
    let listed = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--locked", "--offline", "--manifest-path"])
        .arg(root().join(folder).join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout).unwrap().lines().map(PathBuf::from).collect()
}

#[test]
fn a_package_carries_both_licences_as_they_are() {
    for folder in PUBLISHED {
        let files = packaged(folder);
        for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
            assert!(files.contains(Path::new(licence)), "{folder} is packaged without {licence}");
            let read = |path: PathBuf| fs::read_to_string(path).unwrap();
            assert_eq!(read(root().join(folder).join(licence)), read(root().join(licence)), "{folder}/{licence}");
        }
    }
}

#[test]
fn the_code_in_a_package_includes_files_of_the_package_alone() {
    for folder in PUBLISHED {
        let files = packaged(folder);
        let code = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        let mut seen = 0;
        for path in code {
            let text = fs::read_to_string(root().join(folder).join(path)).unwrap();
            for included in included(&text) {
                let included = resolved(&path.parent().unwrap().join(included));
                assert!(files.contains(&included), "{folder}/{} needs {}", path.display(), included.display());
                seen += 1;
            }
            for read in text.split(MANIFEST).skip(1).filter_map(|rest| rest.split('"').next()) {
                let there = files.iter().any(|file| file.starts_with(read));
                assert!(there, "{folder}/{} reads {read}, which is not packaged", path.display());
            }
        }
        assert!(seen > 0, "{folder} includes nothing: is this test still looking for the right words?");
    }
}

/// The code before the name of a file that a test reads in its package.
const MANIFEST: &str = r#"env!("CARGO_MANIFEST_DIR")).join(""#;

/// Returns the files that `include_str!` and `include_bytes!` name.
fn included(code: &str) -> impl Iterator<Item = &str> {
    ["include_str!(\"", "include_bytes!(\""]
        .into_iter()
        .flat_map(|word| code.split(word).skip(1))
        .filter_map(|rest| rest.split('"').next())
}

/// Removes `..` from a path. A `..` that leads out of the package stays, so that the path is in no package.
fn resolved(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        if component != Component::ParentDir || !resolved.pop() {
            resolved.push(component);
        }
    }
    resolved
}
