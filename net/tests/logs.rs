//! Checks what is never logged. It is a process of its own, because it listens to all logs of its process.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;
use twolane::{Endpoint, SecretKey, StreamError, StreamOptions};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn neither_secrets_nor_what_is_sent_is_ever_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    // The subscriber is for the whole process, of which this is the only test.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let key = SecretKey::generate();
    let client = Endpoint::builder().offline().secret_key(key.clone()).bind().await.unwrap();
    let server = Endpoint::builder().offline().bind().await.unwrap();
    server
        .serve("echo/1", |stream| async move {
            let (mut send, mut recv) = stream.split();
            if tokio::io::copy(&mut recv, &mut send).await.is_ok() {
                let _ = send.finish();
            }
        })
        .unwrap();
    let options = StreamOptions { metadata: "metadata-nobody-may-see".into(), ..StreamOptions::default() };
    let mut opened = client.get_stream_with(server.ticket(), "echo/1", options).await.unwrap();
    opened.write_all(b"payload-nobody-may-see").await.unwrap();
    opened.warn(StreamError::new(1, "warning-nobody-may-see")).await.unwrap();
    opened.finish().unwrap();
    opened.read_to_end(100).await.unwrap();
    drop(opened);
    client.shutdown(Duration::from_secs(60)).await;
    server.shutdown(Duration::from_secs(60)).await;

    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("Connected"), "there is a log");
    assert!(log.contains("peer{peer=") && log.contains("stream{peer="), "with spans by peer and stream");
    let ours: Vec<_> = log.lines().filter(|line| line.contains("twolane")).collect();
    assert!(!ours.is_empty());
    for secret in ["payload-nobody", "metadata-nobody", "warning-nobody"] {
        assert!(!log.contains(secret), "{secret} was logged");
    }
    let bytes = key.to_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in [hex, format!("{bytes:?}").trim_matches(['[', ']']).to_owned()] {
        assert!(!log.contains(&text), "the secret key was logged");
    }
}
