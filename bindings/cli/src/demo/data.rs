//! The files of the demo. The demo generates, hashes and counts them without the code of the sender and receiver.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use crate::{cli::Problem, exit::Exit};

const CHUNK: usize = 1 << 20;

/// Writes `size` incompressible bytes, different in each run.
pub(super) async fn generate(path: PathBuf, size: u64) -> Result<PathBuf, Problem> {
    let what = "the demo's file cannot be made";
    blocking(what, move || {
        let seed: [u8; 32] = rand::random();
        let mut stream = blake3::Hasher::new_keyed(&seed).finalize_xof();
        let mut file = File::create(&path)?;
        let mut chunk = vec![0; CHUNK];
        let mut left = size;
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            stream.fill(&mut chunk[..len]);
            file.write_all(&chunk[..len])?;
            left -= len as u64;
        }
        Ok(path)
    })
    .await
}

pub(super) async fn hash(path: PathBuf) -> Result<blake3::Hash, Problem> {
    let what = format!("{} cannot be read", path.display());
    blocking(&what, move || {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path)?)?;
        Ok(hasher.finalize())
    })
    .await
}

/// Returns the file in a directory, if it is the only one.
pub(super) async fn only_file(dir: PathBuf) -> Result<Option<PathBuf>, Problem> {
    blocking("what arrived cannot be looked at", move || {
        let mut files = fs::read_dir(dir)?;
        match (files.next().transpose()?, files.next()) {
            (Some(file), None) => Ok(Some(file.path())),
            _ => Ok(None),
        }
    })
    .await
}

/// Returns the number of files in a directory. What has arrived of an item that is not whole has no name of its own.
pub(super) async fn count(dir: PathBuf) -> Result<usize, Problem> {
    blocking("what was refused cannot be looked at", move || {
        let names: Vec<_> = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        Ok(names.iter().filter(|name| *name != ".twolane").count())
    })
    .await
}

async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Problem::because(Exit::Failure, what, &error))?
        .map_err(|error| Problem::because(Exit::Failure, what, &error))
}
