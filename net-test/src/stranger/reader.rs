//! Reads the messages of WIRE.md from QUIC streams, with a timeout on every wait.

use std::{future::Future, time::Duration};

use quinn::{ReadError, RecvStream, SendStream};

use crate::wire::{Fields, Header, Hello, Record, accepted_with, answer, frame, grease, kind};

/// Maximum time to wait. Every step takes far less, even on a busy machine.
const BOUND: Duration = Duration::from_secs(120);

/// A timeout that expires in a test. The steps before it take milliseconds.
pub const BRIEF: Duration = Duration::from_secs(3);

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(BOUND, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not happen within {BOUND:?}"),
    }
}

pub fn code(code: u64) -> quinn::VarInt {
    code.try_into().expect("62 bits")
}

/// Waits for the STOP_SENDING that the peer sends for this stream, and returns its code.
pub async fn stop_code(send: &SendStream) -> u64 {
    let stopped = soon("STOP_SENDING", send.stopped()).await;
    let code = stopped.expect("the connection goes on");
    code.expect("STOP_SENDING, where the peer read to the end").into_inner()
}

/// The half of a stream that the peer writes.
#[derive(Debug)]
pub struct Reader(pub RecvStream);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Accepted { metadata: Vec<u8> },
    Rejected { code: u64, text: String },
}

impl Reader {
    pub async fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = soon("bytes", self.0.read_exact(&mut bytes)).await;
        read.unwrap_or_else(|error| panic!("{error} before {len} bytes"));
        bytes
    }

    pub async fn varint(&mut self) -> u64 {
        let mut bytes = self.bytes(1).await;
        let len = 1usize << (bytes[0] >> 6);
        bytes.extend(self.bytes(len - 1).await);
        Fields(&bytes).varint()
    }

    pub async fn block(&mut self) -> Vec<u8> {
        let len = usize::try_from(self.varint().await).expect("a length");
        assert!(len < 100_000, "a length of {len}");
        self.bytes(len).await
    }

    /// Reads the beginning of a control stream.
    pub async fn hello(&mut self) -> Hello {
        assert_eq!(self.varint().await, kind::CONTROL);
        assert_eq!(self.varint().await, frame::HELLO);
        Hello::decode(&self.block().await)
    }

    /// Reads the next control frame that is not reserved, and returns its type and fields. Skips MAX_LANES, which
    /// may come at any time.
    pub async fn frame(&mut self) -> (u64, Vec<u64>) {
        loop {
            let frame_type = self.varint().await;
            let body = self.block().await;
            let mut fields = Fields(&body);
            let numbers = match frame_type {
                frame::GOAWAY => 1,
                frame::DRAINED | frame::WATERMARK | frame::CONSUMED => 2,
                frame::MAX_LANES => {
                    fields.varint();
                    fields.end();
                    continue;
                }
                reserved if grease::is_reserved(reserved) => continue,
                unknown => panic!("a control frame of type {unknown}"),
            };
            let values = (0..numbers).map(|_| fields.varint()).collect();
            match frame_type {
                frame::GOAWAY | frame::DRAINED => fields.nothing_but_reserved(),
                _ => fields.end(),
            }
            return (frame_type, values);
        }
    }

    /// Returns the count of the next MAX_LANES. Skips all other frames before it.
    pub async fn max_lanes(&mut self) -> u64 {
        loop {
            let frame_type = self.varint().await;
            let body = self.block().await;
            if frame_type == frame::MAX_LANES {
                let mut fields = Fields(&body);
                let count = fields.varint();
                fields.end();
                return count;
            }
        }
    }

    /// Checks that no control frame has arrived, apart from reserved ones. A frame always comes whole, because it
    /// is far smaller than a packet.
    pub async fn no_frame_has_come(&mut self) {
        let frame = tokio::time::timeout(Duration::ZERO, self.frame()).await;
        assert!(frame.is_err(), "{frame:?} where nothing was to come");
    }

    pub async fn header(&mut self) -> Header {
        assert_eq!(self.varint().await, kind::DATA);
        Header::decode(&self.block().await)
    }

    pub async fn answer(&mut self) -> Answer {
        let code = self.varint().await;
        let body = self.block().await;
        let mut fields = Fields(&body);
        if code == answer::ACCEPTED {
            let mut metadata = Vec::new();
            for (id, value) in fields.parameters() {
                assert_eq!(id, accepted_with::METADATA);
                metadata = value;
            }
            return Answer::Accepted { metadata };
        }
        let text = String::from_utf8(fields.block()).expect("UTF-8");
        fields.nothing_but_reserved();
        Answer::Rejected { code, text }
    }

    pub async fn accepted(&mut self) {
        assert_eq!(self.answer().await, Answer::Accepted { metadata: Vec::new() });
    }

    /// Returns the code of a rejection. Checks that only FIN follows the rejection.
    pub async fn rejected(&mut self) -> u64 {
        match self.answer().await {
            Answer::Accepted { .. } => panic!("accepted"),
            Answer::Rejected { code, .. } => {
                assert_eq!(self.rest().await, b"");
                code
            }
        }
    }

    /// Returns the id of the data lane that an error lane names.
    pub async fn error_lane(&mut self) -> u64 {
        assert_eq!(self.varint().await, kind::ERROR);
        self.varint().await
    }

    pub async fn record(&mut self) -> Record {
        Record::decode(&self.block().await)
    }

    /// Reads all data up to FIN.
    pub async fn rest(&mut self) -> Vec<u8> {
        let rest = soon("FIN", self.0.read_to_end(10_000_000)).await;
        rest.unwrap_or_else(|error| panic!("{error} in place of FIN"))
    }

    /// Returns the code of RESET_STREAM. Skips the data before it.
    pub async fn reset_code(&mut self) -> u64 {
        loop {
            match soon("RESET_STREAM", self.0.read_chunk(usize::MAX, true)).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("FIN in place of RESET_STREAM"),
                Err(ReadError::Reset(code)) => return code.into_inner(),
                Err(error) => panic!("{error} in place of RESET_STREAM"),
            }
        }
    }

    /// Checks that neither data nor an end has arrived. Everything that the peer sent before a round trip has
    /// arrived after the round trip.
    pub async fn nothing_has_come(&mut self) {
        let read = tokio::time::timeout(Duration::ZERO, self.0.read_chunk(usize::MAX, true)).await;
        assert!(read.is_err(), "{read:?} where nothing was to come");
    }
}
