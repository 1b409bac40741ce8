//! Checks each rule of the model with an observation that breaks it.

use std::{sync::Arc, time::Duration};

use twolane::{ConnectionLost, GetStreamError, Malformed, Phase, ReadError, RequestError, RequestFailure, StreamError};

use super::{
    cause::Cause,
    judge::{self, Judged},
    ledger::Ledger,
    orders::Fate,
    pairs::Sight,
    plan::{Answer, Ask, Draft, End, Part, Plan, Wish},
    play::{ReadEnd, Seen, WriteEnd},
    serve::ASKED,
};
use crate::stream_tester::role::Side::{self, Acceptor, Opener};

/// No cause, so that nothing is explained.
const CALM: &[Cause] = &[];
/// Every cause.
const TOSSED: &[Cause] = &[
    Cause::Fate(Fate::ShutDownInTime),
    Cause::Fate(Fate::ShutDownNow),
    Cause::Fate(Fate::DropEndpoint),
    Cause::Fate(Fate::Ban),
    Cause::Fate(Fate::Close),
    Cause::Standstill,
    Cause::GivingUp,
];
const SIGHT: Sight = Sight { epoch: 0, over: 0 };

fn plan(opener: End, acceptor: End) -> Plan {
    let part = |len, end| Part { len, piece: 10, warnings: 0, end };
    Plan { id: 5, from: 0, draft: Draft::plain(1, part(100, opener), part(200, acceptor)), sight: SIGHT, ban: None }
}

/// Returns the opener's observations if the acceptor writes 200 bytes and finishes.
fn whole() -> Seen {
    Seen {
        wrote: 100,
        write_end: WriteEnd::Planned,
        read: 200,
        intact: true,
        read_end: ReadEnd::End,
        warnings: Vec::new(),
    }
}

/// Returns the acceptor's observations of the same stream.
fn other_half() -> Seen {
    Seen { wrote: 200, read: 100, ..whole() }
}

fn failure(plan: &Plan, side: Side, offset: u64) -> ReadEnd {
    let (code, text) = plan.error_words(side);
    ReadEnd::Failed { code, text, offset }
}

#[track_caller]
fn legal(plan: &Plan, seen: &Seen, causes: &[Cause]) {
    let wrong = judge::side(plan, Opener, seen, causes);
    assert!(wrong.is_empty(), "{wrong:?} with {seen:?}");
}

#[track_caller]
fn illegal(plan: &Plan, seen: &Seen, causes: &[Cause]) {
    assert!(!judge::side(plan, Opener, seen, causes).is_empty(), "{seen:?}");
}

#[test]
fn a_stream_that_both_finish_has_one_legal_outcome_if_nothing_disturbs_it() {
    let plan = plan(End::Finish, End::Finish);
    legal(&plan, &whole(), CALM);
    let others = [
        ReadEnd::Reset { code: 1 },
        ReadEnd::Reset { code: 2 },
        ReadEnd::Lost(ConnectionLost::PeerDone),
        ReadEnd::EndedHere,
        ReadEnd::Unread,
        ReadEnd::Hung,
        ReadEnd::Other("garbage".into()),
        failure(&plan, Acceptor, 200),
    ];
    for read_end in others {
        illegal(&plan, &Seen { read_end, ..whole() }, CALM);
    }
    let others = [
        WriteEnd::Stopped { code: 1 },
        WriteEnd::Lost(ConnectionLost::PeerDone),
        WriteEnd::PeerFailed { code: plan.error_words(Acceptor).0 },
        WriteEnd::Unfinished,
        WriteEnd::Hung,
        WriteEnd::Other("ended here".into()),
    ];
    for write_end in others {
        illegal(&plan, &Seen { write_end, ..whole() }, CALM);
    }
    illegal(&plan, &Seen { wrote: 99, ..whole() }, CALM);
}

#[test]
fn truncated_and_foreign_data_are_never_legal() {
    let plan = plan(End::Finish, End::Finish);
    for causes in [CALM, TOSSED] {
        for wrong in [
            Seen { read: 199, ..whole() },
            Seen { read: 201, ..whole() },
            Seen { intact: false, ..whole() },
            Seen { read: 201, read_end: ReadEnd::Lost(ConnectionLost::PeerDone), ..whole() },
            Seen { intact: false, read: 10, read_end: ReadEnd::Lost(ConnectionLost::PeerDone), ..whole() },
        ] {
            illegal(&plan, &wrong, causes);
        }
    }
    // The acceptor does not finish here, so an end of data is wrong.
    for end in [End::Fail, End::Abort, End::Drop, End::CancelWrite] {
        illegal(&self::plan(End::Finish, end), &whole(), TOSSED);
    }
}

#[test]
fn a_disturbance_explains_a_loss_and_no_hang_and_no_error_that_nobody_planned() {
    let plan = plan(End::Finish, End::Finish);
    let lost = Seen { read: 50, read_end: ReadEnd::Lost(ConnectionLost::PeerDone), ..whole() };
    legal(&plan, &lost, TOSSED);
    illegal(&plan, &lost, CALM);
    legal(&plan, &Seen { read_end: ReadEnd::Reset { code: 8 }, ..lost.clone() }, TOSSED);
    // The code of a handler that panicked.
    illegal(&plan, &Seen { read_end: ReadEnd::Reset { code: 9 }, ..lost.clone() }, TOSSED);
    illegal(&plan, &Seen { write_end: WriteEnd::Stopped { code: 9 }, ..whole() }, TOSSED);
    illegal(&plan, &Seen { read_end: ReadEnd::Hung, ..lost.clone() }, TOSSED);
    illegal(&plan, &Seen { write_end: WriteEnd::Hung, ..whole() }, TOSSED);
    illegal(&plan, &Seen { read_end: failure(&plan, Acceptor, 50), ..lost.clone() }, TOSSED);
    illegal(&plan, &Seen { read_end: ReadEnd::Aborted { code: 1, text: "revoked".into() }, ..lost }, TOSSED);
}

#[test]
fn nothing_explains_a_peer_that_broke_the_protocol() {
    let plan = plan(End::Finish, End::Finish);
    for lost in [ConnectionLost::Malformed(Malformed::Text { what: "a protocol's name" }), ConnectionLost::PeerBusy] {
        illegal(&plan, &Seen { read: 50, read_end: ReadEnd::Lost(lost.clone()), ..whole() }, TOSSED);
        illegal(&plan, &Seen { wrote: 9, write_end: WriteEnd::Lost(lost.clone()), ..whole() }, TOSSED);
        assert!(judge::refused(&plan, &GetStreamError::Lost(lost.clone()), TOSSED).is_some());
        assert!(judge::dial(&lost.into(), TOSSED).is_some());
    }
    for code in [4, 6, 7, 9] {
        illegal(&plan, &Seen { read: 50, read_end: ReadEnd::Reset { code }, ..whole() }, TOSSED);
        illegal(&plan, &Seen { wrote: 9, write_end: WriteEnd::Stopped { code }, ..whole() }, TOSSED);
    }
}

#[test]
fn an_outcome_is_forgiven_if_a_cause_alone_explains_it() {
    let explained = |causes: &[Cause]| if causes.is_empty() { vec!["lost".to_owned()] } else { Vec::new() };
    let fine = |_: &[Cause]| Vec::new();
    assert_eq!(judge::weigh(CALM, fine), (Judged::Strictly, Vec::new()));
    assert_eq!(judge::weigh(CALM, explained).1.len(), 1);
    assert_eq!(judge::weigh(TOSSED, fine), (Judged::AsPlanned, Vec::new()));
    assert_eq!(judge::weigh(TOSSED, explained), (Judged::Forgiven, Vec::new()));
}

#[test]
fn a_warning_that_finds_no_reader_is_legal_where_the_reader_has_gone() {
    let unheard = |code| Seen { wrote: 0, write_end: WriteEnd::Unheard { code }, ..whole() };
    legal(&plan(End::Finish, End::Drop), &Seen { read_end: ReadEnd::Reset { code: 1 }, ..unheard(6) }, CALM);
    illegal(&plan(End::Finish, End::Finish), &unheard(6), CALM);
    // A known fault: the warning should have returned the reason, which is read instead.
    let failing = plan(End::Finish, End::Fail);
    legal(&failing, &Seen { read_end: failure(&failing, Acceptor, 200), ..unheard(0) }, CALM);
    illegal(&failing, &Seen { read_end: failure(&failing, Acceptor, 200), ..unheard(1) }, CALM);
    illegal(&failing, &Seen { read_end: ReadEnd::Reset { code: 1 }, ..unheard(0) }, CALM);
}

#[test]
fn a_failure_comes_with_the_planned_words_after_exactly_the_bytes_before_it() {
    let plan = plan(End::Finish, End::Fail);
    let (code, text) = plan.error_words(Acceptor);
    let failed = Seen { read_end: failure(&plan, Acceptor, 200), ..whole() };
    legal(&plan, &failed, CALM);
    legal(&plan, &Seen { wrote: 7, write_end: WriteEnd::PeerFailed { code }, ..failed.clone() }, CALM);
    for causes in [CALM, TOSSED] {
        for wrong in [
            Seen { read: 199, ..failed.clone() },
            Seen { read_end: failure(&plan, Acceptor, 199), ..failed.clone() },
            Seen { read: 199, read_end: failure(&plan, Acceptor, 199), ..failed.clone() },
            Seen { read_end: failure(&plan, Opener, 200), ..failed.clone() },
            Seen { read_end: ReadEnd::Failed { code, text: "other words".into(), offset: 200 }, ..failed.clone() },
            Seen { read_end: ReadEnd::Aborted { code, text: text.clone() }, ..failed.clone() },
            Seen { write_end: WriteEnd::PeerFailed { code: code + 1 }, ..failed.clone() },
        ] {
            illegal(&plan, &wrong, causes);
        }
    }
    illegal(&plan, &Seen { read: 150, read_end: ReadEnd::Reset { code: 2 }, ..whole() }, CALM);
}

#[test]
fn a_failure_that_lacks_bytes_says_how_many_and_has_a_lost_connection_for_its_cause() {
    let plan = plan(End::Finish, End::Fail);
    let (code, text) = plan.error_words(Acceptor);
    let cut = |read, missing| Seen {
        read,
        read_end: ReadEnd::FailedIncomplete { code, text: text.clone(), missing },
        ..whole()
    };
    legal(&plan, &cut(150, 50), TOSSED);
    illegal(&plan, &cut(150, 50), CALM);
    illegal(&plan, &cut(150, 49), TOSSED);
    illegal(&plan, &cut(200, 0), TOSSED);
    illegal(&self::plan(End::Finish, End::Finish), &cut(150, 50), TOSSED);
}

#[test]
fn an_abort_and_a_drop_may_cut_and_must_be_what_was_planned() {
    let plan = plan(End::Finish, End::Abort);
    let (code, text) = plan.error_words(Acceptor);
    legal(&plan, &Seen { read: 3, read_end: ReadEnd::Aborted { code, text: text.clone() }, ..whole() }, CALM);
    illegal(&plan, &Seen { read: 3, read_end: ReadEnd::Aborted { code, text: "x".into() }, ..whole() }, CALM);
    illegal(&plan, &Seen { read: 3, read_end: failure(&plan, Acceptor, 3), ..whole() }, CALM);
    illegal(&plan, &Seen { read: 3, read_end: ReadEnd::Reset { code: 1 }, ..whole() }, CALM);
    let plan = self::plan(End::Finish, End::Drop);
    let cut = Seen { wrote: 9, write_end: WriteEnd::Stopped { code: 1 }, read: 3, ..whole() };
    legal(&plan, &Seen { read_end: ReadEnd::Reset { code: 1 }, ..cut.clone() }, CALM);
    illegal(&plan, &Seen { read_end: ReadEnd::Reset { code: 2 }, ..cut.clone() }, CALM);
    illegal(&plan, &Seen { read_end: ReadEnd::Aborted { code, text }, ..cut }, CALM);
}

#[test]
fn whoever_ends_a_stream_need_not_see_its_end_and_whoever_does_not_must() {
    for (end, read_end) in [
        (End::Fail, ReadEnd::EndedHere),
        (End::Abort, ReadEnd::EndedHere),
        (End::Drop, ReadEnd::Unread),
        (End::CancelWrite, ReadEnd::Unread),
    ] {
        let seen = Seen { read: 3, read_end, ..whole() };
        legal(&plan(end, End::Finish), &seen, CALM);
        illegal(&plan(End::Finish, End::Finish), &seen, CALM);
    }
    let cancelled = Seen { wrote: 90, read: 3, read_end: ReadEnd::Unread, ..whole() };
    legal(&plan(End::CancelWrite, End::Finish), &cancelled, CALM);
    illegal(&plan(End::Drop, End::Finish), &cancelled, CALM);
}

#[test]
fn warnings_come_all_and_in_order_if_nothing_disturbs_them() {
    let mut plan = plan(End::Finish, End::Finish);
    plan.draft.acceptor.warnings = 3;
    let sent: Vec<_> = plan.warnings(Acceptor).collect();
    legal(&plan, &Seen { warnings: sent.clone(), ..whole() }, CALM);
    legal(&plan, &Seen { warnings: sent[..2].to_vec(), ..whole() }, TOSSED);
    illegal(&plan, &Seen { warnings: sent[..2].to_vec(), ..whole() }, CALM);
    illegal(&plan, &Seen { warnings: vec![sent[1], sent[0], sent[2]], ..whole() }, TOSSED);
    illegal(&plan, &Seen { warnings: plan.warnings(Opener).chain([1]).collect(), ..whole() }, TOSSED);
}

#[test]
fn an_end_is_what_the_other_side_meant_and_after_as_much_as_it_wrote() {
    let plan = plan(End::Finish, End::Finish);
    assert!(judge::both(&plan, &whole(), &other_half()).is_empty());
    for acceptor in [
        Seen { write_end: WriteEnd::Lost(ConnectionLost::PeerDone), ..other_half() },
        Seen { wrote: 199, ..other_half() },
        Seen { read: 101, read_end: ReadEnd::Lost(ConnectionLost::PeerDone), ..other_half() },
    ] {
        assert_eq!(judge::both(&plan, &whole(), &acceptor).len(), 1, "{acceptor:?}");
    }
}

#[test]
fn the_ledger_finds_streams_that_came_out_twice_once_or_from_nobody() {
    let plan = plan(End::Finish, End::Finish);
    let ledger = Ledger::default();
    assert_eq!(ledger.ended(&plan, Acceptor, other_half(), true), [""; 0]);
    assert_eq!(ledger.rest().len(), 1, "100 bytes came from nobody");
    assert!(ledger.rest().is_empty(), "what was told is forgotten");
    for (side, seen, wrong) in [(Acceptor, other_half(), 0), (Opener, whole(), 0), (Acceptor, other_half(), 1)] {
        assert_eq!(ledger.ended(&plan, side, seen, true).len(), wrong);
    }
    assert!(ledger.rest().is_empty());

    for (undisturbed, wrong) in [(true, 1), (false, 0)] {
        let ledger = Ledger::default();
        ledger.ended(&plan, Opener, whole(), undisturbed);
        assert_eq!(ledger.rest().len(), wrong);
    }
    let ledger = Ledger::default();
    let dropped = Seen { read: 0, read_end: ReadEnd::Reset { code: 1 }, ..other_half() };
    ledger.ended(&plan, Acceptor, dropped, true);
    assert!(ledger.rest().is_empty());
}

#[test]
fn the_ledger_finds_requests_that_were_handled_twice_or_against_the_word() {
    let ledger = Ledger::default();
    assert!(!ledger.was_handled(1));
    assert!(ledger.handled(1) && ledger.was_handled(1));
    assert!(!ledger.handled(1));
    ledger.not_handled(2);
    ledger.not_handled(1);
    assert_eq!(ledger.rest().len(), 1);
}

#[test]
fn a_stream_is_refused_only_if_something_disturbed_it() {
    let calm = plan(End::Finish, End::Finish);
    let after = Duration::from_secs(1);
    let lost = GetStreamError::Lost(ConnectionLost::TimedOut);
    for error in [&lost, &GetStreamError::TimedOut { after }, &GetStreamError::Reset { code: 1 }] {
        assert!(judge::refused(&calm, error, CALM).is_some());
        assert!(judge::refused(&calm, error, TOSSED).is_none());
        assert!(judge::unknown(error, CALM).is_some());
    }
    // The acceptor may end the stream before its answer is read.
    let (code, text) = calm.error_words(Acceptor);
    let aborted = GetStreamError::Failed(Arc::new(StreamError::new(code, text)));
    assert!(judge::refused(&plan(End::Finish, End::Abort), &aborted, CALM).is_none());
    assert!(judge::refused(&calm, &aborted, TOSSED).is_some());
    assert!(judge::refused(&plan(End::Finish, End::Drop), &GetStreamError::Reset { code: 1 }, CALM).is_none());
    // No disturbance causes these errors.
    for error in [
        GetStreamError::Reset { code: 9 },
        GetStreamError::TooManyStreams { max: 1, after },
        GetStreamError::Lost(ConnectionLost::Malformed(Malformed::Text { what: "a protocol's name" })),
        GetStreamError::MetadataTooLarge { len: 2, max: 1 },
    ] {
        assert!(judge::refused(&calm, &error, TOSSED).is_some(), "{error:?}");
    }
}

#[test]
fn a_request_gets_the_planned_answer_or_a_reason() {
    let ask = |answer, deadline_ms| {
        let wish = Wish { to: 1, len: 10, answer, drop_after_ms: None, deadline_ms };
        Ask { id: 9, from: 0, wish, sight: SIGHT, ban: None }
    };
    let failed = |cause| Err(RequestError { protocol: ASKED, phase: Phase::Answer, cause });
    let data = ask(Answer::Data(50), None);
    assert_eq!(judge::answer(&data, &Ok(data.response(50)), CALM), None);
    assert!(judge::answer(&data, &Ok(data.response(49)), TOSSED).is_some());
    assert!(judge::answer(&ask(Answer::Error, None), &Ok(data.response(50)), TOSSED).is_some());

    let (code, text) = data.error_words();
    let words = |code, text: &str| failed(ReadError::Failed(Arc::new(StreamError::new(code, text))).into());
    assert_eq!(judge::answer(&ask(Answer::Error, None), &words(code, &text), CALM), None);
    assert!(judge::answer(&ask(Answer::Error, None), &words(code, "else"), TOSSED).is_some());
    assert!(judge::answer(&data, &words(code, &text), TOSSED).is_some());

    let late = || failed(RequestFailure::TimedOut { after: Duration::from_millis(1) });
    assert_eq!(judge::answer(&ask(Answer::Never, Some(1)), &late(), CALM), None);
    assert!(judge::answer(&data, &late(), CALM).is_some());
    assert!(judge::answer(&data, &late(), TOSSED).is_none());
    let lost = || failed(ReadError::Lost(ConnectionLost::PeerDone).into());
    assert!(judge::answer(&data, &lost(), CALM).is_some());
    assert!(judge::answer(&data, &lost(), TOSSED).is_none());
    assert!(judge::answer(&data, &failed(ReadError::Reset { code: 9 }.into()), TOSSED).is_some());
    assert!(judge::answer(&data, &failed(RequestFailure::TooLarge { max: 1 }), TOSSED).is_some());
}
