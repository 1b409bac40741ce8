//! The rules for the tables and their rows. The rules refer to the names of rows, and never to their values.

use super::{
    file::{File, Found},
    table,
};

/// A place in a document, and the file with its figures.
pub(super) struct Block {
    pub(super) document: &'static str,
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    pub(super) render: fn(&File) -> String,
}

const README: &str = "README.md";
const SPEED: &str = "net/SPEED.md";
/// The other side in README's table of `speed`.
const RAW: &str = "raw iroh";
/// The rate that a link of the lab could carry. It stands in place of another side.
const RATE: &str = "the link's rate";

pub(super) const BLOCKS: &[Block] = &[
    Block { document: README, name: "lab", file: "lab", render: lab },
    Block { document: README, name: "links", file: "links", render: some_links },
    Block { document: README, name: "speed", file: "speed", render: some_of_speed },
    Block { document: README, name: "heavy", file: "heavy", render: advantages },
    Block { document: SPEED, name: "speed, all rows", file: "speed", render: all },
    Block { document: SPEED, name: "heavy, all rows", file: "heavy", render: all },
    Block { document: SPEED, name: "links, all rows", file: "links", render: all_links },
    Block { document: SPEED, name: "python", file: "python", render: all },
];

/// README's rows in comparison with raw iroh: the least and the largest amount of each kind of work, the rates
/// between them, and the cost of an error, a connection, a peer and processor time. All other rows are in
/// net/SPEED.md.
const OF_SPEED: &[(&str, &str)] = &[
    ("bulk-one-way-1", "bulk on one stream"),
    ("bulk-one-way-8", "bulk on 8 streams"),
    ("bulk-one-way-64", "bulk on 64 streams"),
    ("bulk-both-ways-1", "bulk both ways on one stream"),
    ("bulk-both-ways-8", "bulk both ways on 8 streams"),
    ("bulk-both-ways-64", "bulk both ways on 64 streams"),
    ("request-64B-1-rate", "requests of 64 B, 1 in flight"),
    ("request-64B-16-rate", "the same, 16 in flight"),
    ("request-64B-64-rate", "the same, 64 in flight"),
    ("request-64B-512-rate", "the same, 512 in flight"),
    ("request-64B-1-p50", "half of them within, 1 in flight"),
    ("request-64B-1-p99", "99 in 100 within, 1 in flight"),
    ("request-64B-512-p50", "half of them within, 512 in flight"),
    ("request-64B-512-p99", "99 in 100 within, 512 in flight"),
    ("request-64KiB-1-rate", "requests of 64 KiB, 1 in flight"),
    ("request-64KiB-16-rate", "the same, 16 in flight"),
    ("request-64KiB-64-rate", "the same, 64 in flight"),
    ("request-64KiB-512-rate", "the same, 512 in flight"),
    ("request-64KiB-1-p50", "half of them within, 1 in flight"),
    ("request-64KiB-1-p99", "99 in 100 within, 1 in flight"),
    ("request-64KiB-512-p50", "half of them within, 512 in flight"),
    ("request-64KiB-512-p99", "99 in 100 within, 512 in flight"),
    ("open-p50", "opening a stream, half within"),
    ("open-p99", "opening a stream, 99 in 100 within"),
    ("error-against-reset", "an error, beside a reset that says nothing"),
    ("connect", "connections"),
    ("second-protocol", "first answer on a second protocol"),
    ("memory-server", "memory of a server"),
    ("memory-idle-peer", "memory of an idle peer"),
    ("cpu-per-GB", "processor time for a GB"),
    ("cpu-per-100k-requests-1", "processor time for 100,000 requests, 1 in flight"),
    ("cpu-per-100k-requests-64", "the same, 64 in flight"),
    ("busy-bulk-one-way-1", "on busy processors: bulk on one stream"),
    ("busy-request-64B-1-rate", "requests of 64 B, 1 in flight"),
    ("busy-request-64B-64-rate", "the same, 64 in flight"),
];

/// README's links: with and without loss, with short and long delay. All other links are in net/SPEED.md.
const OF_LINKS: &[&str] = &[
    "20ms-10mbit",
    "20ms-10mbit-1%",
    "20ms-100mbit",
    "20ms-500mbit-0.1%",
    "100ms-100mbit-1%",
    "100ms-500mbit",
    "300ms-100mbit",
    "300ms-500mbit-1%",
];

/// The figures of a case: the column head, the name, and the divisor.
const OF_LAB: &[(&str, &str, f64)] = &[
    ("first byte, ms", "ttfb_ms", 1.0),
    ("direct after, ms", "direct_ms", 1.0),
    ("longest stall, ms", "stall_ms", 1.0),
    ("direct again after, ms", "again_ms", 1.0),
    ("answered after, ms", "answered_ms", 1.0),
    ("through the relay, MB", "relay_bytes", 1e6),
];

fn some_of_speed(file: &File) -> String {
    let row = |name: &str| file.rows.iter().map(|found| &found.row).find(|row| row.name == name && row.peer == RAW);
    caption(file) + &table::full(OF_SPEED.iter().map(|(name, words)| (*words, row(name))))
}

fn all(file: &File) -> String {
    caption(file)
        + &table::full(file.rows.iter().map(|found| (found.row.name.as_str(), Some(&found.row))))
        + &settings(file)
}

fn advantages(file: &File) -> String {
    let cells = file.rows.iter().map(|found| (found.row.name.clone(), found.row.peer.clone(), &found.row));
    caption(file) + &table::pivot("advantage over", cells)
}

/// Makes a line for each link, in comparison with raw iroh and with the link's rate. The comparison with raw iroh
/// that uses twolane's transport is in net/SPEED.md.
fn some_links(file: &File) -> String {
    let on = |found: &Found| found.link.clone().filter(|link| OF_LINKS.contains(&link.as_str()));
    let missing: Vec<_> = OF_LINKS
        .iter()
        .filter(|link| !file.rows.iter().any(|found| found.link.as_deref() == Some(link) && column(found).is_some()))
        .map(|link| format!("{link}: not measured\n"))
        .collect();
    let cells = file.rows.iter().filter_map(|found| Some((on(found)?, column(found)?, &found.row)));
    caption(file) + &table::pivot("link", cells) + if missing.is_empty() { "" } else { "\n" } + &missing.concat()
}

/// Returns the column of README's table, or `None` for a row that is in net/SPEED.md alone.
fn column(found: &Found) -> Option<String> {
    match found.row.peer.as_str() {
        RAW => Some(load(found).to_owned()),
        RATE => Some(format!("{}, of {RATE}", load(found))),
        _ => None,
    }
}

fn all_links(file: &File) -> String {
    let names: Vec<_> = file.rows.iter().map(on_link).collect();
    caption(file)
        + &table::full(names.iter().zip(&file.rows).map(|(name, found)| (name.as_str(), Some(&found.row))))
        + &settings(file)
}

fn on_link(found: &Found) -> String {
    format!("{}, {}", found.link.as_deref().unwrap_or("no link"), load(found))
}

fn load(found: &Found) -> &str {
    found.load.as_deref().unwrap_or(&found.row.name)
}

fn lab(file: &File) -> String {
    caption(file) + &table::cases(&file.cases, OF_LAB)
}

/// Returns the conditions, and the number of void rows.
fn caption(file: &File) -> String {
    let void = file.rows.iter().filter(|found| found.row.void.is_some()).count();
    let void = if void == 0 { String::new() } else { format!(" {void} of {} rows are void.", file.rows.len()) };
    format!("{}{void}\n\n", file.conditions.words())
}

/// Returns the settings of each side, and the notes about it.
fn settings(file: &File) -> String {
    let mut text = String::new();
    for (side, settings) in file.conditions.settings.iter().chain(file.notes.iter().map(|(side, text)| (side, text))) {
        text.push_str(&format!("\n- {side}: {settings}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_has_two_places_in_a_table() {
        for (n, (name, _)) in OF_SPEED.iter().enumerate() {
            assert!(!OF_SPEED[..n].iter().any(|(other, _)| other == name), "{name}");
        }
    }

    #[test]
    fn a_link_is_a_line_and_one_that_was_not_measured_beside_raw_iroh_says_so() {
        let row = |link: &str, load: &str, peer: &str| {
            format!(
                r#"{{"event":"row","link":"{link}","load":"{load}","name":"{load}","unit":"1/s","better":"higher","peer":"{peer}","ours":1,"theirs":1,"advantage":1,"low":null,"high":null,"rounds":1,"void":null}}"#
            )
        };
        let lines = [
            super::super::file::tests::conditions(),
            row("20ms-10mbit", "bulk", RAW),
            row("20ms-10mbit", "file", RATE),
            row("20ms-100mbit", "bulk", "raw iroh with twolane's transport"),
        ];
        let text = some_links(&File::read(&lines.join("\n")).unwrap());
        assert!(text.contains("| link | bulk | file, of the link's rate |\n"), "{text}");
        assert!(text.contains("| 20ms-10mbit | 1.00 (one round) | 1.00 (one round) |\n"), "{text}");
        assert_eq!(text.matches("not measured").count(), OF_LINKS.len() - 1, "{text}");
    }

    #[test]
    fn a_row_is_shown_or_said_to_be_missing_however_it_went() {
        let row = |name: &str, ours: f64| {
            format!(
                r#"{{"event":"row","name":"{name}","unit":"1/s","better":"higher","peer":"raw iroh","ours":{ours},"theirs":1,"advantage":{ours},"low":null,"high":null,"rounds":1,"void":null}}"#
            )
        };
        let lines = [super::super::file::tests::conditions(), row("connect", 0.5), row("bulk-one-way-1", 2.0)];
        let text = some_of_speed(&File::read(&lines.join("\n")).unwrap());
        assert!(text.contains("| connections | 1/s | 0.50 |") && text.contains("| bulk on one stream | 1/s | 2.00 |"));
        assert_eq!(text.matches("not measured").count(), OF_SPEED.len() - 2, "{text}");
    }
}
