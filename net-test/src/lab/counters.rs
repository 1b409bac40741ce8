//! Reads the named counters of `nft` in a namespace over netlink, which takes microseconds.
//!
//! Running `nft` every 10 ms for several cases would keep the processors busy.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::{fault::Fault, nat::COUNTERS, netns::Netns};

// These values are from linux/netlink.h and linux/netfilter/nf_tables.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST_DUMP: u16 = 0x301;
const GET_OBJECT: u16 = (10 << 8) | 19;
const INET: u8 = 1;
const TABLE: u16 = 1;
const NAME: u16 = 2;
const DATA: u16 = 4;
const BYTES: u16 = 1;
/// The lengths of a message's header, and of the part between the header and the attributes.
const HEAD: usize = 16;
const FAMILY: usize = 4;

/// The byte count of each counter, by name.
pub type Counts = BTreeMap<String, u64>;

/// A netlink socket that reads the counters of the table [`COUNTERS`].
#[derive(Debug)]
pub struct Counters(File);

impl Counters {
    pub fn open(netns: &Netns) -> Result<Self, Fault> {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)
        };
        let socket = netns.inside(open)?.map_err(|error| Fault::lab("a netlink socket", error))?;
        Ok(Self(File::from(socket)))
    }

    /// Reads all counters. The kernel answers at once.
    pub fn read(&self) -> Result<Counts, Fault> {
        let read = || -> io::Result<Counts> {
            (&self.0).write_all(&request(COUNTERS))?;
            let (mut counts, mut buffer) = (Counts::new(), vec![0; 16 * 1024]);
            loop {
                let len = (&self.0).read(&mut buffer)?;
                if take(&buffer[..len], &mut counts)? {
                    return Ok(counts);
                }
            }
        };
        read().map_err(|error| Fault::lab("the counters", error))
    }
}

fn request(table: &str) -> Vec<u8> {
    let name = [table.as_bytes(), &[0]].concat();
    let mut attribute = Vec::new();
    attribute.extend_from_slice(&((4 + name.len()) as u16).to_ne_bytes());
    attribute.extend_from_slice(&TABLE.to_ne_bytes());
    attribute.extend_from_slice(&name);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    let mut message = Vec::new();
    message.extend_from_slice(&((HEAD + FAMILY + attribute.len()) as u32).to_ne_bytes());
    message.extend_from_slice(&GET_OBJECT.to_ne_bytes());
    message.extend_from_slice(&REQUEST_DUMP.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[INET, 0, 0, 0]);
    message.extend_from_slice(&attribute);
    message
}

/// Adds the counters of an answer to `counts`. Returns whether the answer was the last one.
fn take(mut answer: &[u8], counts: &mut Counts) -> io::Result<bool> {
    while let Some(head) = answer.first_chunk::<HEAD>() {
        let len = usize::try_from(u32::from_ne_bytes([head[0], head[1], head[2], head[3]])).unwrap_or(usize::MAX);
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let body = answer.get(HEAD..len).ok_or(io::ErrorKind::InvalidData)?;
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => {
                let fields = attributes(body.get(FAMILY..).unwrap_or_default());
                let name =
                    fields.get(&NAME).map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
                let data = fields.get(&DATA).map(|data| attributes(data));
                let bytes = data.and_then(|data| data.get(&BYTES).and_then(|bytes| bytes.first_chunk().copied()));
                if let (Some(name), Some(bytes)) = (name, bytes) {
                    counts.insert(name, u64::from_be_bytes(bytes));
                }
            }
        }
        answer = answer.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn attributes(mut bytes: &[u8]) -> BTreeMap<u16, &[u8]> {
    let mut found = BTreeMap::new();
    while let Some(&[a, b, c, d]) = bytes.first_chunk() {
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = bytes.get(4..len) else { break };
        // The highest two bits are flags for the encoding of the value.
        found.insert(u16::from_ne_bytes([c, d]) & 0x3fff, value);
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [((4 + value.len()) as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let len = (HEAD + body.len()) as u32;
        [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat()
    }

    #[test]
    fn a_counter_is_read_by_its_name_and_the_end_is_seen() {
        let data = attribute(DATA | 0x8000, &attribute(BYTES, &7_000_u64.to_be_bytes()));
        let object = [vec![INET, 0, 0, 0], attribute(TABLE, b"lab\0"), attribute(NAME, b"direct\0"), data].concat();
        let mut counts = Counts::new();
        let more = [message(0x0a12, &object), message(0x0a12, &[INET, 0, 0, 0])].concat();
        assert!(!take(&more, &mut counts).unwrap());
        assert_eq!(counts, Counts::from([("direct".to_owned(), 7000)]));
        assert!(take(&message(DONE, &[0; 4]), &mut counts).unwrap());
    }

    #[test]
    fn what_the_kernel_refuses_and_what_is_cut_short_is_an_error() {
        let refused = take(&message(ERROR, &(-1_i32).to_ne_bytes()), &mut Counts::new()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        assert!(take(&message(0x0a12, &[0; 40])[..30], &mut Counts::new()).is_err());
    }

    #[test]
    fn a_request_names_its_table() {
        let request = request("lab");
        assert_eq!(request.len(), 28);
        assert_eq!(u32::from_ne_bytes(request[..4].try_into().unwrap()), 28);
        assert_eq!(&request[20..], &attribute(TABLE, b"lab\0")[..]);
    }
}
