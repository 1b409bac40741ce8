//! The tables of README.md and net/SPEED.md. They are made from `net-test/figures/*.jsonl`, which
//! `net-test/measure.sh` writes.
//!
//! In a document the tables stand between `<!-- figures: NAME -->` and `<!-- end -->`. `speed figures` writes them,
//! and a test compares them with the files.

mod file;
pub mod plot;
mod rules;
pub mod table;

use std::{
    fs,
    path::{Path, PathBuf},
};

use eyre::{Report, WrapErr, eyre};

use self::{file::File, rules::BLOCKS};

const END: &str = "<!-- end -->";
/// The picture of all rows that compare twolane with another side.
const PICTURE: &str = "net-test/speed.svg";
/// The text in place of a table whose file does not exist.
const NOTHING: &str = "Not measured.";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the documents and the picture with current tables. Each entry is a path relative to the checkout, and
/// the text.
pub fn documents() -> Result<Vec<(&'static str, String)>, Report> {
    let read = |name: &str| {
        let path = root().join(format!("net-test/figures/{name}.jsonl"));
        match fs::read_to_string(&path) {
            Ok(text) => File::read(&text).wrap_err_with(|| path.display().to_string()).map(Some),
            Err(_) => Ok(None),
        }
    };
    let mut documents: Vec<(&'static str, String)> = Vec::new();
    for block in BLOCKS {
        let table = read(block.file)?.map_or_else(|| NOTHING.to_owned(), |file| (block.render)(&file));
        let at = match documents.iter().position(|(path, _)| *path == block.document) {
            Some(at) => at,
            None => {
                documents.push((block.document, fs::read_to_string(root().join(block.document))?));
                documents.len() - 1
            }
        };
        documents[at].1 = splice(&documents[at].1, block.name, &table)
            .wrap_err_with(|| format!("the table {:?} of {}", block.name, block.document))?;
    }
    let mut rows = Vec::new();
    for name in ["speed", "heavy"] {
        rows.extend(read(name)?.into_iter().flat_map(|file| file.plain_rows()));
    }
    documents.push((PICTURE, plot::draw(&rows)?));
    Ok(documents)
}

/// Writes the documents, and returns the paths of those that have changed.
pub fn write() -> Result<Vec<&'static str>, Report> {
    let mut changed = Vec::new();
    for (path, text) in documents()? {
        if fs::read_to_string(root().join(path)).ok().as_ref() != Some(&text) {
            fs::write(root().join(path), text)?;
            changed.push(path);
        }
    }
    Ok(changed)
}

/// Returns the document with the named table replaced.
fn splice(document: &str, name: &str, table: &str) -> Result<String, Report> {
    let start = format!("<!-- figures: {name} -->\n");
    let (before, rest) = document.split_once(&start).ok_or_else(|| eyre!("it has no place"))?;
    let (old, after) = rest.split_once(END).ok_or_else(|| eyre!("its place has no end"))?;
    if old.contains("<!-- figures:") || after.contains(&start) {
        return Err(eyre!("its place has no end, or there are two"));
    }
    Ok(format!("{before}{start}\n{}\n\n{END}{after}", table.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_say_what_was_measured() {
        for (path, text) in documents().unwrap() {
            let found = fs::read_to_string(root().join(path)).unwrap();
            assert!(found == text, "{path} is not what net-test/figures has: write it with `cargo speed figures`");
        }
    }

    /// A place without a rule would keep an old table.
    #[test]
    fn every_place_in_a_document_has_a_rule() {
        for (path, text) in documents().unwrap() {
            for place in text.lines().filter_map(|line| line.strip_prefix("<!-- figures: ")?.strip_suffix(" -->")) {
                assert!(BLOCKS.iter().any(|block| (block.document, block.name) == (path, place)), "{place} of {path}");
            }
        }
    }

    #[test]
    fn a_table_takes_its_place_and_nothing_else() {
        let document = "a\n<!-- figures: one -->\nold\n<!-- end -->\nb\n<!-- figures: two -->\n<!-- end -->\n";
        let spliced = splice(document, "one", "new\n").unwrap();
        assert_eq!(
            spliced,
            "a\n<!-- figures: one -->\n\nnew\n\n<!-- end -->\nb\n<!-- figures: two -->\n<!-- end -->\n"
        );
        assert_eq!(splice(&spliced, "one", "new").unwrap(), spliced);
        for broken in ["", "<!-- figures: one -->\n", "<!-- figures: one -->\n<!-- figures: two -->\n<!-- end -->"] {
            assert!(splice(broken, "one", "new").is_err(), "{broken}");
        }
    }
}
