//! Services, ports and pipes, as processes.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use crate::support::{Program, bytes, ready};

const TWOLANE: &str = env!("CARGO_BIN_EXE_twolane");

/// A program that is killed when the test is over.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a service that says back what it hears, connection by connection, and returns its port.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            thread::spawn(move || {
                let mut reader = socket.try_clone().unwrap();
                if std::io::copy(&mut reader, &mut socket).is_ok() {
                    let _ = socket.shutdown(Shutdown::Write);
                }
            });
        }
    });
    port
}

/// Exposes services, and returns the ticket.
fn exposed(services: &[String]) -> (Program, String) {
    ready(Command::new(TWOLANE).arg("expose").args(services).args(["--anyone", "--offline", "--json"]))
}

/// Forwards a port that the system chooses, and returns its address.
fn forwarded(service: &str) -> (Killed, String) {
    let mut child = Command::new(TWOLANE)
        .args(["forward", "127.0.0.1:0", service, "--offline"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let child = Killed(child);
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    // What else is said has to be read, or the program would wait.
    thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    let address = line.split_whitespace().next().unwrap_or_default().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    (child, address)
}

fn asked(address: &str, question: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).unwrap();
    let mut says = socket.try_clone().unwrap();
    let question = question.to_vec();
    let saying = thread::spawn(move || {
        says.write_all(&question).unwrap();
        says.shutdown(Shutdown::Write).unwrap();
    });
    let mut heard = Vec::new();
    socket.read_to_end(&mut heard).unwrap();
    saying.join().unwrap();
    heard
}

#[test]
fn a_port_is_a_service_of_a_peer_connection_after_connection() {
    let (_exposing, ticket) = exposed(&[format!("echo={}", echo())]);
    let (_forwarding, address) = forwarded(&format!("{ticket}/echo"));
    let data = bytes(5_000_000);
    assert!(asked(&address, &data) == data);
    for number in 0..200 {
        let question = format!("question {number}");
        assert_eq!(asked(&address, question.as_bytes()), question.as_bytes());
    }
}

#[test]
fn a_service_that_there_is_not_resets_the_connection() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (_exposing, ticket) = exposed(&[format!("closed={closed}")]);
    for name in ["closed", "other"] {
        let (_forwarding, address) = forwarded(&format!("{ticket}/{name}"));
        let end = TcpStream::connect(&address).unwrap().read(&mut [0]);
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{name}");
    }
}

#[test]
fn a_pipe_to_a_service_ends_when_both_directions_have() {
    let (_exposing, ticket) = exposed(&[format!("echo={}", echo())]);
    let mut piping = Command::new(TWOLANE)
        .args(["pipe", &format!("{ticket}/echo"), "--offline"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, data) = (piping.stdin.take().unwrap(), bytes(3_000_000));
    let said = data.clone();
    let saying = thread::spawn(move || stdin.write_all(&said).unwrap());
    let output = piping.wait_with_output().unwrap();
    saying.join().unwrap();
    assert!(output.status.success() && output.stdout == data);
}

#[test]
fn a_command_that_there_is_not_is_2_and_each_one_that_there_is_has_its_help() {
    let run = |args: &[&str]| Command::new(TWOLANE).args(args).output().unwrap();
    assert_eq!(run(&["sned"]).status.code(), Some(2));
    assert_eq!(run(&[]).status.code(), Some(2));
    for command in ["send", "receive", "pipe", "expose", "forward", "doctor"] {
        let help = run(&[command, "--help"]);
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(help.status.success() && text.contains(&format!("twolane {command}")), "{text}");
    }
    let exposing = run(&["expose", "web=8080", "--offline"]);
    assert_eq!(exposing.status.code(), Some(2), "nobody is let in by accident");
}
