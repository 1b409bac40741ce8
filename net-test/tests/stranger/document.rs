//! Compares the examples and tables of WIRE.md with [`wire`].

use std::collections::BTreeMap;

use twolane::PublicKey;

use crate::{
    tls::Identity,
    wire::{
        self, Fields, Header, Hello, Out, Record, accepted_with, answer, bound, close, frame, goaway, header_with,
        kind, lane, parameter, severity,
    },
};

const DOCUMENT: &str = include_str!("../../../net/WIRE.md");

fn examples() -> BTreeMap<&'static str, Vec<u8>> {
    let mut examples = BTreeMap::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else {
            continue;
        };
        let bytes = lines
            .by_ref()
            .take_while(|line| *line != "```")
            .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
            .map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"))
            .collect();
        assert!(examples.insert(name, bytes).is_none(), "two examples are named {name}");
    }
    examples
}

/// Returns the numbers and names in the table that follows a line.
fn table(line: &str) -> Vec<(String, u64)> {
    let at = DOCUMENT.find(line).unwrap_or_else(|| panic!("no line {line:?} in WIRE.md"));
    let rows = DOCUMENT[at..].lines().skip_while(|line| !line.starts_with('|')).skip(2);
    rows.take_while(|row| row.starts_with('|'))
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let number = match cells[1].strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => cells[1].parse(),
            };
            (cells[2].to_string(), number.unwrap_or_else(|_| panic!("no number in {row}")))
        })
        .collect()
}

#[test]
fn the_examples_are_what_the_stranger_says() {
    let nonce: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).expect("small"));
    let fatal = Record { details: b"/srv".to_vec(), ..Record::new(severity::FATAL, 28, 100_000, "the disk is full") };
    let warning = Record::new(severity::WARNING, 28, 100_000, "the disk is full");
    let limits = [
        (parameter::DATA_LANES, 256),
        (parameter::METADATA, 16_384),
        (parameter::UNREAD_BYTES, 64 << 20),
        (parameter::UNREAD_CHUNKS, 2_048),
    ];
    let hello = [wire::varint(kind::CONTROL), wire::hello_then(nonce, &limits, b"")].concat();
    let metadata = Out::default().varint(accepted_with::METADATA).block(b"welcome").0;
    let said = BTreeMap::from([
        ("hello", hello),
        ("data-lane", [&wire::header_then("mail/1", b"token", b"")[..], b"hello"].concat()),
        (
            "data-lane-that-may-be-early",
            [&wire::header_then("mail/1", b"token", &wire::early())[..], b"hello"].concat(),
        ),
        ("data-lane-with-a-reserved-parameter", wire::header_then("mail/1", b"", &[58, 2, 0xaa, 0xbb])),
        ("accepted", [&wire::accepted_then(b"")[..], b"hi"].concat()),
        ("accepted-with-metadata", wire::accepted_then(&metadata)),
        ("rejected", wire::rejected_then(answer::UNKNOWN_PROTOCOL, "mail/1", b"")),
        ("error-lane", [wire::error_lane(8), fatal.encode_then(b"")].concat()),
        ("warning", warning.encode_then(b"")),
        ("goaway", wire::numbers_then(frame::GOAWAY, &[goaway::SHUTTING_DOWN], b"")),
        ("drained", wire::numbers_then(frame::DRAINED, &[3, 70], b"")),
        ("max-lanes", wire::numbers(frame::MAX_LANES, &[300])),
        ("watermark", wire::numbers(frame::WATERMARK, &[8, 100_000])),
        ("consumed", wire::numbers(frame::CONSUMED, &[8, 100_096])),
    ]);
    let written = examples();
    for (name, bytes) in &said {
        assert_eq!(written.get(name), Some(bytes), "{name}");
    }
    assert!(written.keys().eq(said.keys()), "WIRE.md has other examples: {:?}", written.keys());
}

#[test]
fn the_examples_are_what_the_stranger_reads() {
    let examples = examples();
    let mut fields = Fields(&examples["hello"]);
    assert_eq!((fields.varint(), fields.varint()), (kind::CONTROL, frame::HELLO));
    let hello = Hello::decode(&fields.block());
    assert_eq!(hello.numbers, [(2, 256), (4, 16_384), (6, 64 << 20), (8, 2_048)]);

    let mut fields = Fields(&examples["data-lane"]);
    assert_eq!(fields.varint(), kind::DATA);
    let header = Header { protocol: "mail/1".into(), metadata: b"token".to_vec(), early: false };
    assert_eq!(Header::decode(&fields.block()), header);
    assert_eq!(fields.0, b"hello");

    let mut fields = Fields(&examples["data-lane-that-may-be-early"]);
    assert_eq!(fields.varint(), kind::DATA);
    assert_eq!(Header::decode(&fields.block()), Header { early: true, ..header });

    let mut fields = Fields(&examples["error-lane"]);
    assert_eq!((fields.varint(), fields.varint()), (kind::ERROR, 8));
    let record = Record::decode(&fields.block());
    assert_eq!((record.severity, record.code, record.offset), (severity::FATAL, 28, 100_000));
    assert_eq!((&record.text[..], &record.details[..]), ("the disk is full", &b"/srv"[..]));
    fields.end();
}

#[test]
fn the_tables_are_what_the_stranger_knows() {
    for (line, known) in [
        ("Control frames:", frame::ALL),
        ("Parameters of HELLO:", parameter::ALL),
        ("Parameters of a header:", header_with::ALL),
        ("Parameters of an answer of code 0:", accepted_with::ALL),
        ("Reasons of GOAWAY:", goaway::ALL),
        ("Codes of an answer:", answer::ALL),
        ("Severities of a record:", severity::ALL),
        ("Codes on lanes", lane::ALL),
        ("Codes on the connection", close::ALL),
        ("## 13 Bounds", bound::ALL),
    ] {
        let known: Vec<_> = known.iter().map(|(name, number)| ((*name).to_string(), *number)).collect();
        assert_eq!(table(line), known, "{line}");
    }
    assert_eq!(wire::varint(wire::MAX), wire::OVERSIZE);
    assert!(DOCUMENT.contains(&format!("ALPN is `{}`", String::from_utf8_lossy(wire::ALPN))));
}

#[test]
fn the_keys_of_small_order_are_no_keys_to_the_library() {
    let rows = DOCUMENT.lines().skip_while(|line| !line.starts_with("| key of small order")).skip(2);
    let listed: Vec<_> = rows.map_while(|row| row.strip_prefix("| `")?.strip_suffix("` |")).collect();
    assert_eq!(listed.len(), 7);
    for hexadecimal in listed {
        let mut key: [u8; 32] =
            std::array::from_fn(|at| u8::from_str_radix(&hexadecimal[2 * at..2 * at + 2], 16).expect("hexadecimal"));
        assert_eq!(key[31] & 0x80, 0);
        for highest in [0, 0x80] {
            key[31] |= highest;
            assert!(PublicKey::from_bytes(&key).is_err(), "{hexadecimal}");
        }
    }
}

#[test]
fn a_key_is_presented_as_44_bytes() {
    // The first test vector of RFC 8032.
    let seed = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
        0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
    ];
    let presented = Identity::new(seed).presented();
    let prefix = "`30 2a 30 05 06 03 2b 65 70 03 21 00`";
    assert!(DOCUMENT.contains(prefix));
    let prefix: Vec<_> = prefix.trim_matches('`').split(' ').map(|byte| u8::from_str_radix(byte, 16)).collect();
    assert_eq!(presented.len(), 44);
    assert!(prefix.iter().zip(&presented).all(|(byte, presented)| *byte == Ok(*presented)));
    assert_eq!(presented[12..16], [0xd7, 0x5a, 0x98, 0x01]);
}
