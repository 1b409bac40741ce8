//! Runs every input of the fuzz targets' corpus as a plain test.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::{
    collections::BTreeSet,
    env, fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use twolane::fuzzing::{TARGETS, seeds};

/// The environment variable that makes the test write the seeds to the corpus instead of comparing them with it.
const WRITE: &str = "TWOLANE_WRITE_SEEDS";
/// The prefix of the names of inputs that are not seeds.
const FOUND: &str = "found-";

#[test]
fn every_input_of_the_corpus_holds_what_its_target_asserts() {
    let mut findings = Vec::new();
    for (target, run) in TARGETS {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "the corpus of {target} is empty: {}", corpus(target).display());
        for path in inputs {
            let input = fs::read(&path).unwrap();
            if catch_unwind(|| run(&input)).is_err() {
                findings.push(path);
            }
        }
    }
    assert!(findings.is_empty(), "what failed is above; run a target on it to see it alone: {findings:#?}");
}

#[test]
fn the_seeds_in_the_corpus_are_what_the_encoders_write() {
    let write = env::var_os(WRITE).is_some();
    let mut paths = BTreeSet::new();
    for seed in seeds() {
        let path = corpus(seed.target).join(seed.name);
        if write {
            fs::create_dir_all(corpus(seed.target)).unwrap();
            fs::write(&path, &seed.bytes).unwrap();
        }
        let there = fs::read(&path).unwrap_or_default();
        assert_eq!(there, seed.bytes, "{} is another: {WRITE}=1 writes all of them anew", path.display());
        paths.insert(path);
    }
    let found = |path: &Path| path.file_name().unwrap().to_str().unwrap().starts_with(FOUND);
    for path in TARGETS.iter().flat_map(|(target, _)| inputs(target)) {
        assert!(found(&path) || paths.contains(&path), "{} is no seed: name it {FOUND}...", path.display());
    }
}

#[test]
fn every_directory_of_the_corpus_has_its_target_and_every_target_its_program() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |dir: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz.join(dir)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let targets = BTreeSet::from(TARGETS.map(|(target, _)| target.to_owned()));
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("fuzz_targets"), targets);
}

#[test]
fn no_two_seeds_of_a_target_have_one_name_or_show_the_same() {
    let seeds = seeds();
    let names: BTreeSet<_> = seeds.iter().map(|seed| (seed.target, seed.name)).collect();
    let inputs: BTreeSet<_> = seeds.iter().map(|seed| (seed.target, &seed.bytes)).collect();
    assert_eq!((names.len(), inputs.len()), (seeds.len(), seeds.len()));
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus(target)).into_iter().flatten();
    let mut inputs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}
