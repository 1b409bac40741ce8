//! Who may send.

use std::{
    collections::HashSet,
    io::{self, BufRead, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use indicatif::DecimalBytes;
use twolane::PublicKey;

use super::home::KnownSenders;
use crate::transfer::shown;

/// Maximum number of characters of a name in a question.
const NAME: usize = 80;

/// The decision about senders. Cheap to clone; all clones ask one after the other.
#[derive(Debug, Clone)]
pub(super) struct Door {
    rule: Rule,
    asking: Arc<tokio::sync::Mutex<()>>,
    known: Arc<Mutex<KnownSenders>>,
}

#[derive(Debug, Clone)]
enum Rule {
    Anyone,
    From(Arc<HashSet<PublicKey>>),
    /// The user is asked.
    Ask,
}

/// What a sender wants to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) name: String,
    pub(super) items: u64,
    pub(super) files: Option<u64>,
    pub(super) bytes: Option<u64>,
}

impl Door {
    /// Makes the decision for a command line. Returns `None` if it says nothing and there is nobody to ask.
    pub(super) fn new(anyone: bool, from: &[PublicKey], may_ask: bool) -> Option<Self> {
        let rule = if anyone {
            Rule::Anyone
        } else if !from.is_empty() {
            Rule::From(Arc::new(from.iter().copied().collect()))
        } else if may_ask && io::stdin().is_terminal() && io::stderr().is_terminal() {
            Rule::Ask
        } else {
            return None;
        };
        Some(Self { rule, asking: Arc::default(), known: Arc::new(Mutex::new(KnownSenders::load())) })
    }

    /// Returns whether a sender may send, after a question to the user if need be. Cancel-safe, but the line that the
    /// user then types is lost.
    pub(super) async fn lets_in(&self, sender: PublicKey, wish: &Wish) -> bool {
        match &self.rule {
            Rule::Anyone => true,
            Rule::From(senders) => senders.contains(&sender),
            Rule::Ask => {
                let _one_at_a_time = self.asking.lock().await;
                if self.known().contains(&sender) {
                    return true;
                }
                let question = question(sender, wish);
                let answer = tokio::task::spawn_blocking(move || ask(&question)).await;
                match answer {
                    Ok(Answer::Yes) => true,
                    Ok(Answer::Always) => {
                        // The answer holds for this run in any case.
                        let _ = self.known().add(sender);
                        true
                    }
                    Ok(Answer::No) | Err(_) => false,
                }
            }
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, KnownSenders> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    Always,
    No,
}

fn question(sender: PublicKey, wish: &Wish) -> String {
    let mut name: String = wish.name.chars().take(NAME).collect();
    if name.len() < wish.name.len() {
        name.push('…');
    }
    let what = match (wish.items, wish.files) {
        (0 | 1, None | Some(1)) => String::new(),
        (0 | 1, Some(files)) => format!(" ({files} files)"),
        (items, _) => format!(" and {} more", items - 1),
    };
    let size = wish.bytes.map_or_else(|| "of unknown size".into(), |bytes| DecimalBytes(bytes).to_string());
    format!("{sender}\nwants to send {}{what}, {size}. Take it? [y]es, [a]lways from this sender, [N]o: ", shown(&name))
}

/// Asks until an answer is one of those that are offered. The end of standard input is a no.
fn ask(question: &str) -> Answer {
    loop {
        // A terminal that is gone gives no answer either.
        let _ = write!(io::stderr().lock(), "{question}").and_then(|()| io::stderr().flush());
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => return Answer::No,
            Ok(_) => {
                if let Some(answer) = understood(&line) {
                    return answer;
                }
            }
        }
    }
}

fn understood(line: &str) -> Option<Answer> {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Some(Answer::Yes),
        "a" | "always" => Some(Answer::Always),
        "" | "n" | "no" => Some(Answer::No),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use twolane::SecretKey;

    use super::*;

    fn key(number: u8) -> PublicKey {
        SecretKey::from_bytes(&[number; 32]).public_key()
    }

    fn wish(name: &str) -> Wish {
        Wish { name: name.into(), items: 1, files: Some(1), bytes: Some(5_000_000) }
    }

    #[tokio::test]
    async fn only_the_senders_on_the_command_line_get_in() {
        let door = Door::new(false, &[key(1), key(2)], false).unwrap();
        for (number, gets_in) in [(1, true), (2, true), (3, false)] {
            assert_eq!(door.lets_in(key(number), &wish("a")).await, gets_in, "{number}");
        }
        assert!(Door::new(true, &[], false).unwrap().lets_in(key(3), &wish("a")).await);
        assert!(Door::new(false, &[], false).is_none());
    }

    #[test]
    fn a_question_says_who_sends_what_and_nothing_that_acts_on_the_terminal() {
        let text = question(key(1), &wish("a\u{1b}[2J\n"));
        assert!(text.contains(&key(1).to_string()) && text.contains("5.00 MB"), "{text}");
        assert!(!text.contains('\u{1b}') && text.lines().count() == 2, "{text}");
        assert!(question(key(1), &wish(&"x".repeat(1000))).len() < 300);
        let many = Wish { items: 3, files: Some(7), bytes: None, ..wish("a") };
        assert!(question(key(1), &many).contains("a and 2 more, of unknown size"));
        let folder = Wish { files: Some(7), ..wish("a") };
        assert!(question(key(1), &folder).contains("a (7 files)"));
    }

    #[test]
    fn no_answer_is_a_no_and_what_is_no_answer_is_asked_again() {
        for (line, answer) in [
            ("y\n", Some(Answer::Yes)),
            ("YES", Some(Answer::Yes)),
            ("a\r\n", Some(Answer::Always)),
            ("\n", Some(Answer::No)),
            ("no\n", Some(Answer::No)),
            ("perhaps\n", None),
        ] {
            assert_eq!(understood(line), answer, "{line:?}");
        }
    }
}
