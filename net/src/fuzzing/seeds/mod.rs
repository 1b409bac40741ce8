//! Initial inputs of the fuzz targets, each named by what it shows. Well-formed inputs come from the encoders. The
//! other inputs are given as bytes, or are well-formed ones with one error.

use bytes::Bytes;
use twolane_id::{Delegation, PublicKey, SecretKey};

mod codecs;
mod keys;
mod machines;

/// An input: its target, what it shows, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The name of the target, and of the directory in the corpus.
    pub target: &'static str,
    /// The name of the file.
    pub name: &'static str,
    /// The input.
    pub bytes: Vec<u8>,
}

/// Returns all inputs. `tests/fuzz_corpus.rs` compares them with the corpus, and writes them to the corpus on
/// request.
pub fn seeds() -> Vec<Seed> {
    let targets = [
        ("wire", codecs::wire()),
        ("control", codecs::control()),
        ("ticket", keys::ticket()),
        ("id52", keys::id52()),
        ("delegation", keys::delegation()),
        ("machines", machines::machines()),
    ];
    let named =
        |(target, seeds): (_, Vec<(_, _)>)| seeds.into_iter().map(move |(name, bytes)| Seed { target, name, bytes });
    targets.into_iter().flat_map(named).collect()
}

/// What a seed shows, and its bytes.
type Named = (&'static str, Vec<u8>);

fn key(seed: u8) -> PublicKey {
    SecretKey::from_bytes(&[seed; 32]).public_key()
}

/// Returns a certificate for `mail/1` and `chat/*`, towards one peer, for a day.
fn certificate() -> Delegation {
    let begin = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_900_000_000);
    Delegation::build(key(2))
        .scopes(["mail/1", "chat/*"].map(|pattern| pattern.parse().unwrap()))
        .audience(key(3))
        .not_before(begin)
        .expires(begin + std::time::Duration::from_secs(86_400))
        .serial(*b"0123456789abcdef")
        .sign(&SecretKey::from_bytes(&[1; 32]))
        .unwrap()
}

/// Returns `bytes` with the bytes from `at` on replaced by `part`.
fn with(mut bytes: Vec<u8>, at: usize, part: &[u8]) -> Vec<u8> {
    bytes[at..at + part.len()].copy_from_slice(part);
    bytes
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
