//! `twolane`: one program for all commands.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use crate::{cli, ports};

/// The commands, their other names, and what they do.
const COMMANDS: [(&str, &[&str], &str); 6] = [
    ("send", &["tx"], "send files and folders to a receiver"),
    ("receive", &["rx", "recv"], "receive files and folders"),
    ("pipe", &[], "connect standard input and output with a peer"),
    ("expose", &[], "let peers reach services of this machine, by name"),
    ("forward", &[], "let a port of this machine be a service of a peer"),
    ("doctor", &["status"], "tell who can reach this machine, and what is in the way"),
];

/// Runs the program. The first argument is the name of the program, the second one the command.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let command = args.get(1).and_then(|command| command.to_str()).unwrap_or_default();
    let Some(name) = named(command) else {
        return match command {
            "--version" | "-V" => said(io::stdout(), &format!("twolane {}", env!("CARGO_PKG_VERSION")), 0),
            "--help" | "-h" | "help" => said(io::stdout(), &help(), 0),
            "" => said(io::stderr(), &help(), 2),
            other => said(io::stderr(), &format!("error: there is no command {other:?}\n\n{}", help()), 2),
        };
    };
    // The command is the name of the program in its own help.
    let args = [vec![format!("twolane {name}").into()], args[2..].to_vec()].concat();
    match name {
        "send" => cli::sender::main(args),
        "receive" => cli::receiver::main(args),
        "pipe" => ports::pipe::main(args),
        "expose" => ports::expose::main(args),
        "forward" => ports::forward::main(args),
        _ => cli::doctor::main(args),
    }
}

/// Says something, whether or not somebody reads it.
fn said(mut to: impl Write, text: &str, code: u8) -> ExitCode {
    let _ = writeln!(to, "{text}");
    ExitCode::from(code)
}

/// Returns the command for one of its names.
fn named(name: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(command, others, _)| *command == name || others.contains(&name)).map(|(command, ..)| *command)
}

fn help() -> String {
    let mut text = "Files, ports and pipes between two keys\n\nUsage: twolane COMMAND [OPTIONS]\n\nCommands:\n".to_owned();
    for (command, others, what) in COMMANDS {
        let others = if others.is_empty() { String::new() } else { format!(" (or {})", others.join(", ")) };
        text.push_str(&format!("  {command:<9} {what}{others}\n"));
    }
    text.push_str("\ntwolane COMMAND --help has the options, examples and exit codes of a command.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_names_and_a_line_of_help() {
        for (command, others, _) in COMMANDS {
            assert_eq!(named(command), Some(command));
            for other in others {
                assert_eq!(named(other), Some(command));
            }
            assert!(help().contains(command));
        }
        assert_eq!(named("sned"), None);
        assert_eq!(named(""), None);
    }
}
