//! Runs each fuzz target for some seconds, on randomly changed inputs of its corpus. It does not replace a fuzzer
//! that sees which code runs, and it needs none: stable Rust and the build of the other tests are enough.
//!
//! `TWOLANE_FUZZ_SECONDS` sets the time for each target. `TWOLANE_SEED` sets the seed, which every failure prints.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by failing")]

use std::{
    cell::Cell,
    env, fs,
    hash::{BuildHasher, RandomState},
    path::Path,
    time::{Duration, Instant},
};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use twolane::fuzzing::TARGETS;

/// The time for each target, in seconds. It is enough for some thousand inputs of each target, and adds little to
/// the time of all tests.
const SECONDS: f64 = 0.3;
/// The number of inputs between two looks at the clock.
const BATCH: u32 = 200;

/// A change of an input.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// Replaces the end of the input with a part of another input.
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        // Lengths and kinds of the wire format are varints, and their largest values are the interesting ones.
        (any::<Index>(), prop_oneof![any::<u8>(), Just(0), Just(0x3f), Just(0x40), Just(0xc0), Just(0xff)])
            .prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..16)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), 1..32usize).prop_map(|(at, len)| Change::Remove(at, len)),
        any::<(Index, Index, Index)>().prop_map(|(at, other, from)| Change::Splice(at, other, from)),
    ]
}

fn changed(corpus: &[Vec<u8>], which: Index, changes: &[Change]) -> Vec<u8> {
    let mut input = which.get(corpus).clone();
    for change in changes {
        let len = input.len();
        match change {
            Change::Set(at, byte) if len > 0 => input[at.index(len)] = *byte,
            Change::Flip(at, bit) if len > 0 => input[at.index(len)] ^= 1 << bit,
            Change::Insert(at, bytes) => {
                let at = at.index(len + 1);
                input.splice(at..at, bytes.iter().copied());
            }
            Change::Remove(at, count) if len > 0 => {
                let at = at.index(len);
                input.drain(at..(at + count).min(len));
            }
            Change::Splice(at, other, from) => {
                let other = other.get(corpus);
                input.truncate(at.index(len + 1));
                input.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
            Change::Set(..) | Change::Flip(..) | Change::Remove(..) => {}
        }
    }
    input
}

fn holds_for_a_while(target: &str) {
    let (_, run) = TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let corpus: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();

    let setting = |name| env::var(name).ok().map(|text: String| text.parse::<f64>().unwrap());
    let time = Duration::from_secs_f64(setting("TWOLANE_FUZZ_SECONDS").unwrap_or(SECONDS));
    let seed = setting("TWOLANE_SEED").map_or_else(rand_seed, |seed| seed as u64);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: BATCH, failure_persistence: None, ..Config::default() };
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let strategy = (any::<Index>(), prop::collection::vec(change(), 1..6));
    let (until, inputs) = (Instant::now() + time, Cell::new(0_u64));
    while inputs.get() == 0 || Instant::now() < until {
        // A runner counts its cases, and stops for good when it has run enough.
        let mut runner = TestRunner::new_with_rng(config.clone(), rng);
        let held = runner.run(&strategy, |(which, changes)| {
            inputs.set(inputs.get() + 1);
            run(&changed(&corpus, which, &changes));
            Ok(())
        });
        if let Err(error) = held {
            panic!("TWOLANE_SEED={seed}: {target}: {error}");
        }
        rng = runner.new_rng();
    }
    println!("{target}: {} inputs with TWOLANE_SEED={seed}", inputs.get());
}

/// Returns a random seed that can be passed to another run. A double holds it without loss.
fn rand_seed() -> u64 {
    RandomState::new().hash_one(()) >> 12
}

macro_rules! targets {
    ($($target:ident)*) => {$(
        #[test]
        fn $target() {
            holds_for_a_while(stringify!($target));
        }
    )*

    #[test]
    fn every_target_is_here() {
        assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($target)),*]);
    }};
}

targets! { wire control ticket id52 delegation machines }
