//! Checks that the documents agree with the code.

use std::{fs, path::Path};

const README: &str = include_str!("../../README.md");
const TOUR: &str = include_str!("../examples/tour.rs");
const INVARIANTS: &str = include_str!("../INVARIANTS.md");

#[test]
fn the_page_of_api_in_the_readme_is_the_example_that_compiles() {
    let block = README.split("```rust\n").nth(1).unwrap().split("```\n").next().unwrap();
    let (uses, body) = block.split_once("\n\n").unwrap();
    assert!(TOUR.contains(uses), "the example uses other names than the README:\n{uses}");
    let tour = TOUR.split("    // README begins\n").nth(1).unwrap().split("    // README ends").next().unwrap();
    let tour: String = tour
        .lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .fold(String::new(), |all, line| all + line + "\n");
    assert_eq!(body, tour);
}

#[test]
fn every_test_that_the_invariants_name_exists() {
    let mut code = String::new();
    for folder in ["src", "tests", "../id/src", "../net-test/tests/stranger"] {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut code);
    }
    // Sentences differ from other names in their number of words.
    let quoted = INVARIANTS.split('`').skip(1).step_by(2);
    let sentences: Vec<_> = quoted.filter(|name| name.matches('_').count() >= 4).collect();
    assert!(sentences.len() > 50, "only {} tests are named", sentences.len());
    for name in sentences {
        assert!(code.contains(&format!("fn {name}(")), "{name} does not exist");
    }
}

fn read(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            read(&entry.path(), code);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            code.push_str(&text);
        }
    }
}
