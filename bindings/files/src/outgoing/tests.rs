use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use tokio::sync::mpsc;

use super::{read::ReadFileError, *};
use crate::piece::{self, PIECE, PIECE_LEN};

fn bytes(len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    blake3::Hasher::new().update(b"outgoing").finalize_xof().fill(&mut data);
    data
}

/// Makes a file that has rested for long.
fn rested(dir: &Path, data: &[u8]) -> PathBuf {
    let path = dir.join("file");
    fs::write(&path, data).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    path
}

fn job(path: &Path, size: Option<u64>, what: What) -> Job {
    Job { file: 7, source: Input::Path(path.to_owned()), size, is_void: Arc::new(AtomicBool::new(false)), what }
}

/// Reads a file of which the receiver has the pieces with these hashes.
fn read_all(path: &Path, size: Option<u64>, base: &[piece::PieceHash]) -> Vec<Reading> {
    let (told, hashes) = mpsc::channel(base.len().max(1));
    for hash in base {
        told.try_send(*hash).unwrap();
    }
    finish(job(path, size, What::Send { base: base.len() as u64, hashes }))
}

fn finish(job: Job) -> Vec<Reading> {
    let (jobs, mut read) = start().unwrap();
    jobs.send(job).unwrap();
    drop(jobs);
    std::iter::from_fn(|| read.blocking_recv()).collect()
}

fn in_short(read: &[Reading]) -> Vec<String> {
    read.iter()
        .map(|read| match read {
            Reading::Piece(piece) => format!("piece {}{}", piece.index, if piece.last { " last" } else { "" }),
            Reading::Zeros { first, count, .. } => format!("zeros {first}+{count}"),
            Reading::Same { first, count, .. } => format!("same {first}+{count}"),
            Reading::End { size, .. } => format!("end {size}"),
            Reading::Proof { size, .. } => format!("proof {size}"),
            Reading::Failed { error: ReadFileError::Changed, .. } => "changed".into(),
            Reading::Failed { error: ReadFileError::Io(error), .. } => format!("{}", error.kind()),
            Reading::Dropped { .. } => "dropped".into(),
        })
        .collect()
}

#[test]
fn a_file_is_read_in_pieces_and_ends_with_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let data = bytes(2 * PIECE_LEN + 1);
    let path = rested(dir.path(), &data);
    for size in [Some(data.len() as u64), None] {
        let read = read_all(&path, size, &[]);
        assert_eq!(in_short(&read), ["piece 0", "piece 1", "piece 2 last", "end 524289"]);
        assert!(matches!(read.last(), Some(Reading::End { hash, file: 7, .. }) if *hash == blake3::hash(&data)));
    }
}

#[test]
fn files_of_every_length_around_a_piece_have_one_last_piece() {
    let dir = tempfile::tempdir().unwrap();
    for (len, expected) in [
        (0, &["piece 0 last", "end 0"][..]),
        (1, &["piece 0 last", "end 1"]),
        (PIECE_LEN, &["piece 0 last", "end 262144"]),
        (PIECE_LEN + 1, &["piece 0", "piece 1 last", "end 262145"]),
        (2 * PIECE_LEN, &["piece 0", "piece 1 last", "end 524288"]),
    ] {
        let path = rested(dir.path(), &bytes(len));
        for size in [Some(len as u64), None] {
            assert_eq!(in_short(&read_all(&path, size, &[])), expected, "{len} {size:?}");
        }
    }
}

#[test]
fn what_the_receiver_has_is_not_sent_again_and_what_is_different_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = bytes(4 * PIECE_LEN);
    let path = rested(dir.path(), &data);
    let hash = |index: usize| piece::hash(index as u64, &data[index * PIECE_LEN..(index + 1) * PIECE_LEN], false);
    let read = read_all(&path, Some(4 * PIECE), &[hash(0), [0; 32], hash(2)]);
    assert_eq!(in_short(&read), ["same 0+1", "piece 1", "same 2+1", "piece 3 last", "end 1048576"]);
    let read = read_all(&path, Some(4 * PIECE), &[hash(0), hash(1), hash(2), hash(3)]);
    assert_eq!(in_short(&read), ["same 0+4", "end 1048576"]);
}

#[test]
fn the_receiver_is_told_early_enough_to_tell_more() {
    let dir = tempfile::tempdir().unwrap();
    let data = vec![7; 65 * PIECE_LEN];
    let path = rested(dir.path(), &data);
    let hashes: Vec<_> = (0..65).map(|index| piece::hash(index, &data[..PIECE_LEN], false)).collect();
    let read = read_all(&path, Some(65 * PIECE), &hashes);
    assert_eq!(in_short(&read)[..2], ["same 0+64", "same 64+1"]);
}

#[test]
fn zeros_are_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = vec![0; 4 * PIECE_LEN + 5];
    data[2 * PIECE_LEN] = 1;
    let path = rested(dir.path(), &data);
    let read = read_all(&path, Some(data.len() as u64), &[]);
    assert_eq!(in_short(&read), ["zeros 0+2", "piece 2", "zeros 3+2", "end 1048581"]);
    let path = rested(dir.path(), &[0; 5]);
    assert_eq!(in_short(&read_all(&path, Some(5), &[])), ["piece 0 last", "end 5"]);
}

#[test]
fn a_file_that_has_grown_is_sent_as_it_was_and_one_that_has_shrunk_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let data = bytes(PIECE_LEN + 5);
    let path = rested(dir.path(), &data);
    let read = read_all(&path, Some(PIECE + 1), &[]);
    assert_eq!(in_short(&read), ["piece 0", "piece 1 last", "end 262145"]);
    let read = read_all(&path, Some(PIECE + 6), &[]);
    assert_eq!(in_short(&read).last().unwrap(), "changed");
}

#[test]
fn a_file_that_is_overwritten_while_it_is_sent_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let data = bytes(20 * PIECE_LEN);
    let path = rested(dir.path(), &data);
    let (_told, hashes) = mpsc::channel(1);
    let (jobs, mut read) = start().unwrap();
    jobs.send(job(&path, Some(20 * PIECE), What::Send { base: 0, hashes })).unwrap();
    drop(jobs);
    // The reader is at most some pieces ahead of what is taken here.
    assert!(matches!(read.blocking_recv(), Some(Reading::Piece(_))));
    fs::write(&path, vec![1; data.len()]).unwrap();
    let rest: Vec<_> = std::iter::from_fn(|| read.blocking_recv()).collect();
    assert_eq!(in_short(&rest).last().unwrap(), "changed");
}

#[test]
fn a_file_that_was_only_touched_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    // It has just been written, so its time says nothing, and its bytes are compared.
    fs::write(&path, b"data").unwrap();
    assert_eq!(in_short(&read_all(&path, Some(4), &[])), ["piece 0 last", "end 4"]);
}

#[test]
fn a_file_is_proven_with_its_hash_and_without_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = rested(dir.path(), b"data");
    let read = finish(job(&path, Some(4), What::Prove));
    assert!(matches!(read[..], [Reading::Proof { file: 7, size: 4, hash }] if hash == blake3::hash(b"data")));
}

#[test]
fn a_file_that_is_gone_and_a_job_that_is_void_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let read = read_all(&dir.path().join("nothing"), Some(4), &[]);
    assert_eq!(in_short(&read), ["entity not found"]);
    let path = rested(dir.path(), b"data");
    let void = job(&path, Some(4), What::Prove);
    void.is_void.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(in_short(&finish(void)), ["dropped"]);
}

#[test]
fn a_folder_is_listed_with_all_that_is_in_it_in_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("b/c")).unwrap();
    fs::write(root.join("b/2"), b"22").unwrap();
    fs::write(root.join("a"), b"1").unwrap();
    fs::write(root.join(".hidden"), b"").unwrap();
    let item = OutgoingItem::scan(&Input::Path(root.clone()), None).unwrap();
    let paths: Vec<_> = item.entries.iter().map(|entry| entry.path.join("/")).collect();
    assert_eq!(paths, ["root", "root/.hidden", "root/a", "root/b", "root/b/2", "root/b/c"]);
    assert_eq!((item.name(), item.files(), item.bytes()), ("root", 3, Some(3)));
    let named = OutgoingItem::scan(&Input::Path(root.join("b")), Some("other")).unwrap();
    assert_eq!(named.entries[1].path, ["other", "2"]);
}

#[cfg(unix)]
#[test]
fn links_inside_a_folder_are_skipped_and_one_that_was_named_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
    let item = OutgoingItem::scan(&Input::Path(root.clone()), None).unwrap();
    assert_eq!((item.entries.len(), item.skipped()), (1, &[root.join("link")][..]));
    std::os::unix::fs::symlink(&root, dir.path().join("named")).unwrap();
    let item = OutgoingItem::scan(&Input::Path(dir.path().join("named")), None).unwrap();
    assert_eq!((item.name(), item.entries.len()), ("named", 1));
}

#[test]
fn what_is_not_there_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let error = OutgoingItem::scan(&Input::Path(dir.path().join("nothing")), None).unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
    assert_eq!(Input::Path(dir.path().join(".")).name(), dir.path().file_name().unwrap().to_str().map(str::to_owned));
}

#[test]
fn standard_input_has_a_name_and_no_length() {
    let item = OutgoingItem::scan(&Input::Stdin, Some("a")).unwrap();
    assert_eq!((item.name(), item.files(), item.bytes()), ("a", 1, None));
    assert_eq!(Input::Stdin.name().as_deref(), Some("stdin"));
}
