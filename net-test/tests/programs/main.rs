//! The programs as processes, watched through the events they write. Nothing here sleeps: each step waits for the one
//! before it to be seen.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may, their helpers too")]

mod chaos;
mod hostile_scenes;
#[cfg(target_os = "linux")]
mod lab;
mod scale;
mod speed;
mod stream_tester;
