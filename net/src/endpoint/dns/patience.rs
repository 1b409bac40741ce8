//! When a name server is asked, and when it is left alone. Pure.
//!
//! iroh resolves the names of its relays again and again, several times at once, for as long as it reaches none. Each
//! lookup sends up to six packets to each name server: without internet, 60 packets a second were measured for as long
//! as it was away. Here, a lookup that fails is followed by a pause:
//!
//! - While no name server answers at all, there is one question at a time, whatever the name, and a pause after each.
//!   Other lookups wait, until somebody answers or their callers give up.
//! - A name for which the servers answer with an error (SERVFAIL, REFUSED) has pauses of its own. Lookups in them fail
//!   with the same error.
//! - A name that does not exist has no pause: a peer may publish itself in the next moment.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

/// The first pause. After [`EAGER`] failures in a row it doubles with each further one, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
/// Number of failures with the first pause after each. A network or a relay that comes some seconds after the endpoint,
/// as at the start of a machine, is then found within a second of its coming.
const EAGER: u32 = 8;
/// The longest pause: that of `rejoin.rs`, so that each look for a relay finds the name server asked again.
const LONGEST: Duration = Duration::from_secs(16);
/// Maximum number of names with pauses of their own, at about 500 bytes each. Tickets of others can name relays, so
/// their number is not this endpoint's choice. Beyond it, the name whose pause ends first has none.
const MAX_NAMES: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    V4,
    V6,
    Txt,
}

/// A question: what is asked of which name.
pub(super) type Question = (Kind, String);

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A name server has answered, perhaps that there is no such name.
    Answered,
    /// A name server has answered with an error, or could not be sent to.
    Failed(/* why */ String),
    /// Nothing has come as long as the caller waited.
    Silent,
}

/// What to do about a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Ask, and then report the outcome.
    Ask,
    /// Decide again when a question has ended, and at this time if there is one.
    Wait(Option<Instant>),
    /// Fail without asking.
    Fail(/* why */ String),
}

/// Failures in a row, and the pause after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    failures: u32,
    until: Instant,
}

impl Pause {
    fn after(before: Option<Self>, now: Instant) -> Self {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let pause = FIRST.saturating_mul(1 << failures.saturating_sub(EAGER).min(8)).min(LONGEST);
        Self { failures, until: now + pause }
    }
}

/// The questions under way, and the pauses.
#[derive(Debug, Default)]
pub(super) struct Patience {
    under_way: HashSet<Question>,
    names: HashMap<Question, (Pause, /* why */ String)>,
    /// Set while no name server answers.
    silence: Option<Pause>,
}

impl Patience {
    /// Decides about a lookup. After [`Decision::Ask`], [`Patience::ended`] has to be called.
    pub(super) fn decide(&mut self, question: &Question, now: Instant) -> Decision {
        if self.under_way.contains(question) {
            return Decision::Wait(None);
        }
        match self.names.get(question) {
            Some((pause, why)) if now < pause.until => return Decision::Fail(why.clone()),
            _ => {}
        }
        match self.silence {
            Some(silence) if now < silence.until => return Decision::Wait(Some(silence.until)),
            Some(_) if !self.under_way.is_empty() => return Decision::Wait(None),
            _ => {}
        }
        self.under_way.insert(question.clone());
        Decision::Ask
    }

    /// Records the outcome of a question.
    pub(super) fn ended(&mut self, question: &Question, outcome: Outcome, now: Instant) {
        self.under_way.remove(question);
        match outcome {
            Outcome::Answered => {
                self.silence = None;
                self.names.remove(question);
            }
            Outcome::Failed(why) => {
                self.silence = None;
                let before = self.names.get(question).map(|(pause, _)| *pause);
                if before.is_none() && self.names.len() >= MAX_NAMES {
                    let first = self.names.iter().min_by_key(|(_, (pause, _))| pause.until);
                    if let Some(first) = first.map(|(question, _)| question.clone()) {
                        self.names.remove(&first);
                    }
                }
                self.names.insert(question.clone(), (Pause::after(before, now), why));
            }
            // Of questions that were asked together, the first that ends begins the pause.
            Outcome::Silent if self.silence.is_some_and(|silence| now < silence.until) => {}
            Outcome::Silent => self.silence = Some(Pause::after(self.silence, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Decision::*, *};

    /// The pauses after the first failure, the second, and so on, in milliseconds.
    const PAUSES: [u64; 14] =
        [1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000];

    fn name(text: &str) -> Question {
        (Kind::V4, text.to_owned())
    }

    struct Scene {
        patience: Patience,
        begun: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self { patience: Patience::default(), begun: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.begun + Duration::from_millis(ms)
        }

        fn decide(&mut self, question: &Question, ms: u64) -> Decision {
            self.patience.decide(question, self.at(ms))
        }

        fn ended(&mut self, question: &Question, outcome: Outcome, ms: u64) {
            self.patience.ended(question, outcome, self.at(ms));
        }

        fn fails(&mut self, question: &Question, ms: u64) {
            self.ended(question, Outcome::Failed("SERVFAIL".to_owned()), ms);
        }
    }

    #[test]
    fn while_nobody_answers_one_question_at_a_time_is_asked_ever_more_rarely() {
        let (mut scene, a, b, c) = (Scene::new(), name("a"), name("b"), name("c"));
        // Nothing is known yet: all are asked.
        assert_eq!((scene.decide(&a, 0), scene.decide(&b, 0)), (Ask, Ask));
        assert_eq!(scene.decide(&a, 0), Wait(None), "the same question is asked once");
        scene.ended(&a, Outcome::Silent, 3_000);
        scene.ended(&b, Outcome::Silent, 3_500);
        let mut at = 3_000;
        for pause in PAUSES {
            let until = at + pause;
            assert_eq!(scene.decide(&c, at), Wait(Some(scene.at(until))));
            assert_eq!(scene.decide(&c, until - 1), Wait(Some(scene.at(until))));
            assert_eq!(scene.decide(&a, until), Ask);
            assert_eq!((scene.decide(&b, until), scene.decide(&c, until)), (Wait(None), Wait(None)));
            at = until + 1_000;
            scene.ended(&a, Outcome::Silent, at);
        }
    }

    #[test]
    fn an_answer_ends_the_silence_for_all_names() {
        let (mut scene, a, b, c) = (Scene::new(), name("a"), name("b"), name("c"));
        scene.decide(&a, 0);
        scene.ended(&a, Outcome::Silent, 3_000);
        assert_eq!(scene.decide(&a, 4_000), Ask);
        assert_eq!(scene.decide(&b, 4_000), Wait(None));
        scene.ended(&a, Outcome::Answered, 4_010);
        assert_eq!([&a, &b, &c].map(|name| scene.decide(name, 4_010)), [Ask, Ask, Ask]);
    }

    #[test]
    fn a_name_that_fails_pauses_alone_and_until_it_is_answered() {
        let (mut scene, bad, good) = (Scene::new(), name("bad"), name("good"));
        let mut at = 0;
        for pause in PAUSES {
            assert_eq!(scene.decide(&bad, at), Ask);
            scene.fails(&bad, at);
            assert_eq!(scene.decide(&bad, at + pause - 1), Fail("SERVFAIL".to_owned()));
            assert_eq!(scene.decide(&good, at), Ask);
            scene.ended(&good, Outcome::Answered, at);
            at += pause;
        }
        assert_eq!(scene.decide(&bad, at), Ask);
        scene.ended(&bad, Outcome::Answered, at);
        assert_eq!(scene.decide(&bad, at), Ask, "it has no pause any more");
        // Another kind of record is another question.
        assert_eq!(scene.decide(&(Kind::V6, "bad".to_owned()), at), Ask);
    }

    #[test]
    fn a_bounded_number_of_names_has_pauses() {
        let mut scene = Scene::new();
        for n in 0..2 * MAX_NAMES as u64 {
            let question = name(&n.to_string());
            assert_eq!(scene.decide(&question, n), Ask);
            scene.fails(&question, n);
            assert!(scene.patience.names.len() <= MAX_NAMES);
            assert_eq!(scene.decide(&question, n), Fail("SERVFAIL".to_owned()), "the latest has its pause");
        }
    }
}
