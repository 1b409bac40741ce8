//! The frames on the control stream and on the data streams.

use bytes::Bytes;

use super::codec::{Fields, Malformed, block, number, parameter};
use crate::piece::{MAX_PIECES, PIECE, PieceHash};

/// Maximum length of a frame's body in bytes: a piece, and the fields before it.
pub(crate) const MAX_BODY: u64 = PIECE + 64;
/// Maximum length of every other frame's body: a path, or the hashes of a BASE frame.
const MAX_SMALL: u64 = 16 * 1024;
/// Maximum number of hashes in a BASE frame. They are 8 KiB, the hashes of 64 MiB.
pub(crate) const MAX_BASE: usize = 256;

/// Maximum length in bytes of a component of a path: what common file systems allow.
const MAX_NAME: u64 = 255;
/// Maximum number of components of a path.
const MAX_DEPTH: u64 = 64;
/// Maximum length in bytes of a path: what Linux allows.
const MAX_PATH: usize = 4096;
/// Maximum length in bytes of a text for people.
const MAX_TEXT: u64 = 1024;
/// Maximum number of pieces that one SAME or ZEROS frame speaks of. A receiver works for each of them.
const MAX_RUN: u64 = 1024;
/// The flag of a PIECE frame that says that the piece is the last one of its file.
const LAST: u64 = 1;

const FOLDER: u64 = 1;
const FILE: u64 = 3;
const SAME: u64 = 5;
const ZEROS: u64 = 7;
const PIECE_FRAME: u64 = 9;
const END_FILE: u64 = 11;
const END_ITEM: u64 = 13;
const GIVE_UP: u64 = 15;
const PROOF: u64 = 17;

const START: u64 = 1;
const TAKE: u64 = 3;
const BASE: u64 = 5;
const CHECK: u64 = 7;
const STORED: u64 = 9;
const REFUSED: u64 = 11;

/// What a file or a folder has beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attributes {
    /// The permission bits, as Unix has them.
    pub(crate) mode: Option<u32>,
    /// The time of the last change, in seconds and nanoseconds since 1970.
    pub(crate) modified: Option<(u64, u32)>,
}

/// A frame of the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromSender {
    Folder { path: Vec<String>, attributes: Attributes },
    File { path: Vec<String>, size: Option<u64>, attributes: Attributes },
    Same { file: u64, first: u64, count: u64 },
    Zeros { file: u64, first: u64, count: u64 },
    Piece { file: u64, index: u64, last: bool, hash: PieceHash, data: Bytes },
    EndFile { file: u64, size: u64, hash: PieceHash },
    EndItem { item: u64 },
    GiveUp { item: u64, code: u64, text: String },
    Proof { file: u64, size: u64, hash: PieceHash },
}

/// A frame of the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromReceiver {
    Start { streams: u64, files: u64 },
    Take { file: u64, base: u64 },
    Base { file: u64, first: u64, hashes: Vec<PieceHash> },
    Check { file: u64 },
    Stored { item: u64, already: bool, name: String, files: u64, bytes: u64, hash: Option<PieceHash> },
    Refused { item: u64, code: u64, text: String },
}

impl FromSender {
    /// Encodes the frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let kind = match self {
            Self::Folder { path: names, attributes } => {
                path(&mut body, names);
                attributes.encode(&mut body);
                FOLDER
            }
            Self::File { path: names, size, attributes } => {
                path(&mut body, names);
                number(&mut body, size.map_or(0, |size| size.saturating_add(1)));
                attributes.encode(&mut body);
                FILE
            }
            Self::Same { file, first, count } => {
                numbers(&mut body, &[*file, *first, *count]);
                SAME
            }
            Self::Zeros { file, first, count } => {
                numbers(&mut body, &[*file, *first, *count]);
                ZEROS
            }
            Self::Piece { file, index, last, hash, data } => {
                let mut frame = piece_header(*file, *index, *last, hash, data.len());
                frame.extend_from_slice(data);
                return frame;
            }
            Self::EndFile { file, size, hash } => {
                numbers(&mut body, &[*file, *size]);
                body.extend_from_slice(hash);
                END_FILE
            }
            Self::EndItem { item } => {
                number(&mut body, *item);
                END_ITEM
            }
            Self::GiveUp { item, code, text } => {
                numbers(&mut body, &[*item, *code]);
                block(&mut body, cut(text).as_bytes());
                GIVE_UP
            }
            Self::Proof { file, size, hash } => {
                numbers(&mut body, &[*file, *size]);
                body.extend_from_slice(hash);
                PROOF
            }
        };
        framed(kind, &body)
    }

    /// Decodes the body of a frame of type `kind`. Returns `None` if the type is not known and may be skipped.
    pub(crate) fn decode(kind: u64, body: &Bytes) -> Result<Option<Self>, Malformed> {
        check_len(kind == PIECE_FRAME, body)?;
        let mut fields = Fields::of(body);
        let frame = match kind {
            FOLDER => {
                let path = names(&mut fields)?;
                return Ok(Some(Self::Folder { path, attributes: Attributes::decode(fields)? }));
            }
            FILE => {
                let path = names(&mut fields)?;
                let size = fields.number()?.checked_sub(1);
                return Ok(Some(Self::File { path, size, attributes: Attributes::decode(fields)? }));
            }
            SAME => {
                let (file, first, count) = run(&mut fields)?;
                Self::Same { file, first, count }
            }
            ZEROS => {
                let (file, first, count) = run(&mut fields)?;
                Self::Zeros { file, first, count }
            }
            PIECE_FRAME => {
                let file = fields.number()?;
                let index = fields.number_up_to("the number of a piece", MAX_PIECES)?;
                // Later versions may have other flags.
                let last = fields.number()? & LAST != 0;
                let hash = fields.array()?;
                let data = fields.rest();
                if data.len() as u64 > PIECE {
                    return Err(Malformed::TooLong { what: "a piece", len: data.len() as u64, max: PIECE });
                }
                return Ok(Some(Self::Piece { file, index, last, hash, data: body.slice_ref(data) }));
            }
            END_FILE => Self::EndFile { file: fields.number()?, size: fields.number()?, hash: fields.array()? },
            END_ITEM => Self::EndItem { item: fields.number()? },
            GIVE_UP => {
                let (item, code) = (fields.number()?, fields.number()?);
                Self::GiveUp { item, code, text: fields.text("a text", MAX_TEXT)?.to_owned() }
            }
            PROOF => Self::Proof { file: fields.number()?, size: fields.number()?, hash: fields.array()? },
            other => return unknown(other),
        };
        fields.end()?;
        Ok(Some(frame))
    }
}

impl FromReceiver {
    /// Encodes the frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let kind = match self {
            Self::Start { streams, files } => {
                numbers(&mut body, &[*streams, *files]);
                START
            }
            Self::Take { file, base } => {
                numbers(&mut body, &[*file, *base]);
                TAKE
            }
            Self::Base { file, first, hashes } => {
                numbers(&mut body, &[*file, *first]);
                body.extend_from_slice(hashes.as_flattened());
                BASE
            }
            Self::Check { file } => {
                number(&mut body, *file);
                CHECK
            }
            Self::Stored { item, already, name, files, bytes, hash } => {
                numbers(&mut body, &[*item, u64::from(*already)]);
                block(&mut body, name.as_bytes());
                numbers(&mut body, &[*files, *bytes]);
                if let Some(hash) = hash {
                    number(&mut body, 2);
                    block(&mut body, hash);
                }
                STORED
            }
            Self::Refused { item, code, text } => {
                numbers(&mut body, &[*item, *code]);
                block(&mut body, cut(text).as_bytes());
                REFUSED
            }
        };
        framed(kind, &body)
    }

    /// Decodes the body of a frame of type `kind`. Returns `None` if the type is not known and may be skipped.
    pub(crate) fn decode(kind: u64, body: &Bytes) -> Result<Option<Self>, Malformed> {
        check_len(false, body)?;
        let mut fields = Fields::of(body);
        let frame = match kind {
            START => {
                let (streams, files) = (fields.number()?, fields.number()?);
                fields.parameters(|_, _| Ok(false))?;
                return Ok(Some(Self::Start { streams, files }));
            }
            TAKE => Self::Take { file: fields.number()?, base: fields.number_up_to("a number of pieces", MAX_PIECES)? },
            BASE => {
                let file = fields.number()?;
                let first = fields.number_up_to("the number of a piece", MAX_PIECES)?;
                let mut hashes = Vec::new();
                while !fields.is_empty() {
                    if hashes.len() == MAX_BASE {
                        let len = fields.rest().len() as u64;
                        return Err(Malformed::TooLong { what: "what follows the hashes", len, max: 0 });
                    }
                    hashes.push(fields.array()?);
                }
                Self::Base { file, first, hashes }
            }
            CHECK => Self::Check { file: fields.number()? },
            STORED => {
                let (item, flags) = (fields.number()?, fields.number()?);
                let name = fields.text("a name", 2 * MAX_NAME)?.to_owned();
                let (files, bytes) = (fields.number()?, fields.number()?);
                let mut hash = None;
                fields.parameters(|id, value| {
                    if id == 2 {
                        hash = Some(value.array()?);
                    }
                    Ok(id == 2)
                })?;
                return Ok(Some(Self::Stored { item, already: flags & 1 != 0, name, files, bytes, hash }));
            }
            REFUSED => {
                let (item, code) = (fields.number()?, fields.number()?);
                Self::Refused { item, code, text: fields.text("a text", MAX_TEXT)?.to_owned() }
            }
            other => return unknown(other),
        };
        fields.end()?;
        Ok(Some(frame))
    }
}

impl Attributes {
    fn encode(self, out: &mut Vec<u8>) {
        parameter(out, 2, self.mode.map(u64::from));
        parameter(out, 4, self.modified.map(|(seconds, _)| seconds));
        parameter(out, 6, self.modified.map(|(_, nanos)| u64::from(nanos)));
    }

    fn decode(fields: Fields<'_>) -> Result<Self, Malformed> {
        let (mut mode, mut seconds, mut nanos) = (None, None, 0);
        fields.parameters(|id, value| {
            match id {
                // The bits beyond those for read, write and execute belong to the receiver.
                2 => mode = Some((value.number()? & 0o777) as u32),
                4 => seconds = Some(value.number()?),
                6 => nanos = value.number_up_to("a number of nanoseconds", 999_999_999)? as u32,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { mode, modified: seconds.map(|seconds| (seconds, nanos)) })
    }
}

/// Encodes the frame of a piece up to its data, which has `len` bytes.
pub(crate) fn piece_header(file: u64, index: u64, last: bool, hash: &PieceHash, len: usize) -> Vec<u8> {
    let mut fields = Vec::with_capacity(64);
    numbers(&mut fields, &[file, index, if last { LAST } else { 0 }]);
    fields.extend_from_slice(hash);
    let mut frame = Vec::with_capacity(fields.len() + 8);
    numbers(&mut frame, &[PIECE_FRAME, (fields.len() + len) as u64]);
    frame.extend_from_slice(&fields);
    frame
}

fn framed(kind: u64, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(body.len() + 8);
    number(&mut frame, kind);
    block(&mut frame, body);
    frame
}

fn numbers(out: &mut Vec<u8>, values: &[u64]) {
    for value in values {
        number(out, *value);
    }
}

fn path(out: &mut Vec<u8>, names: &[String]) {
    number(out, names.len() as u64);
    for name in names {
        block(out, name.as_bytes());
    }
}

fn names(fields: &mut Fields<'_>) -> Result<Vec<String>, Malformed> {
    let depth = fields.number_up_to("the depth of a path", MAX_DEPTH)?;
    let mut names = Vec::new();
    let mut len = 0;
    for _ in 0..depth {
        let name = fields.text("a name", MAX_NAME)?;
        len += name.len() + 1;
        names.push(name.to_owned());
    }
    if len > MAX_PATH {
        return Err(Malformed::TooLong { what: "a path", len: len as u64, max: MAX_PATH as u64 });
    }
    if names.is_empty() {
        return Err(Malformed::Short);
    }
    Ok(names)
}

fn run(fields: &mut Fields<'_>) -> Result<(u64, u64, u64), Malformed> {
    let file = fields.number()?;
    let first = fields.number_up_to("the number of a piece", MAX_PIECES)?;
    Ok((file, first, fields.number_up_to("a number of pieces", MAX_RUN)?))
}

/// Cuts a text to the length that a frame may have, at a character.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT as usize)]
}

/// Frames of even types may be skipped, and those of odd types not, like parameters.
fn unknown<T>(kind: u64) -> Result<Option<T>, Malformed> {
    if kind % 2 == 0 { Ok(None) } else { Err(Malformed::Type(kind)) }
}

fn check_len(is_piece: bool, body: &Bytes) -> Result<(), Malformed> {
    let (len, max) = (body.len() as u64, if is_piece { MAX_BODY } else { MAX_SMALL });
    if len > max { Err(Malformed::TooLong { what: "a frame", len, max }) } else { Ok(()) }
}
