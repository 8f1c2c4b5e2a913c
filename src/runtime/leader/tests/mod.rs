#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod interleavings;

use std::time::Duration;

use jiff::Timestamp;

use super::candidate::{Action, Answer, Candidate, Record, Timing};
use super::{Lost, State, Term, is_alive, unique_identity};
use crate::clock::{Clock, Uptime};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn candidate(name: &str) -> Candidate {
    Candidate::new(name.into(), format!("{name}:1"), Timing::default())
}

fn wall(now: Uptime) -> Timestamp {
    crate::clock::after(Timestamp::UNIX_EPOCH, now)
}

/// Record that another candidate wrote.
fn record_of(holder: &str, version: u32) -> Record {
    Record {
        holder: holder.into(),
        address: format!("{holder}:1"),
        duration: seconds(15),
        acquired: None,
        renewed: None,
        transitions: 3,
        version: Some(version.to_string()),
    }
}

/// Reads this lease at `now`, without delay.
fn reads(candidate: &mut Candidate, now: Uptime, found: Option<Record>) {
    assert_eq!(candidate.step(now, wall(now)), Action::Read);
    candidate.handle_answer(now, now, Answer::Read(found));
}

/// Writes at `now`, without delay, and returns the written record.
fn writes(candidate: &mut Candidate, now: Uptime) -> Record {
    let Action::Write(mut record) = candidate.step(now, wall(now)) else {
        panic!("{candidate:?} does not write");
    };
    let version = record.version.take().map_or(0, |v| v.parse().unwrap());
    record.version = Some((version + 1).to_string());
    candidate.handle_answer(now, now, Answer::Written(record.clone()));
    record
}

/// Begins to create the lease at `now`. Returns the record as the API server stores it; the answer is still missing.
fn creates(candidate: &mut Candidate, now: Uptime) -> Record {
    reads(candidate, now, None);
    let Action::Write(record) = candidate.step(now, wall(now)) else {
        panic!("{candidate:?} does not write");
    };
    Record {
        version: Some("1".into()),
        ..record
    }
}

#[test]
fn durations_are_kubernetes_defaults_and_consistent() {
    let timing = Timing::default();
    assert_eq!(timing.duration(), seconds(15));
    assert_eq!(timing.renew_deadline(), seconds(10));
    assert_eq!(timing.retry(), seconds(2));
    assert_eq!(timing.request(), seconds(5));
    for length in [0, 1, 3, 60, 100_000] {
        let timing = Timing::of_duration(seconds(length));
        assert!(timing.retry() * 3 <= timing.duration(), "{timing:?}");
        assert!(timing.retry() > Duration::ZERO, "{timing:?}");
        assert!(timing.request() + timing.renew_deadline() <= timing.duration());
    }
}

#[test]
fn a_missing_lease_is_created_and_renewed_every_two_seconds() {
    let mut one = candidate("one");
    reads(&mut one, seconds(100), None);
    let first = writes(&mut one, seconds(100));
    assert_eq!((first.holder.as_str(), first.transitions), ("one", 0));
    assert_eq!(first.address, "one:1");
    assert_eq!(one.valid_until(), Some(seconds(110)));
    assert_eq!(
        one.step(seconds(101), wall(seconds(101))),
        Action::Wait(seconds(102))
    );
    let second = writes(&mut one, seconds(102));
    assert_eq!(
        (second.acquired, second.transitions),
        (first.acquired, first.transitions)
    );
    assert!(second.renewed > first.renewed);
    assert_eq!(one.valid_until(), Some(seconds(112)));
}

#[test]
fn a_renewal_changes_the_record_even_if_the_wall_clock_was_set_back() {
    let mut one = candidate("one");
    reads(&mut one, seconds(1000), None);
    let first = writes(&mut one, seconds(1000));
    let Action::Write(second) = one.step(seconds(1002), wall(seconds(7))) else {
        panic!("no renewal");
    };
    assert!(second.renewed > first.renewed);
}

#[test]
fn the_lease_of_another_is_taken_after_no_change_for_its_duration() {
    let mut two = candidate("two");
    reads(&mut two, seconds(50), Some(record_of("one", 1)));
    assert_eq!(two.leader(), Some(("one", "one:1")));
    for now in [52, 54] {
        reads(&mut two, seconds(now), Some(record_of("one", 1)));
    }
    // A change restarts the wait, whatever its timestamps are.
    reads(&mut two, seconds(56), Some(record_of("one", 2)));
    for now in [58, 60, 62, 64, 66, 68, 70] {
        reads(&mut two, seconds(now), Some(record_of("one", 2)));
        assert_eq!(two.leader(), Some(("one", "one:1")));
    }
    // Not after a whole retry interval, but when the lease is free; and only after another read.
    assert_eq!(
        two.step(seconds(70), wall(seconds(70))),
        Action::Wait(seconds(71))
    );
    reads(&mut two, seconds(71), Some(record_of("one", 2)));
    let taken = writes(&mut two, seconds(71));
    assert_eq!((taken.holder.as_str(), taken.transitions), ("two", 4));
    assert_eq!(two.leader(), None);
}

#[test]
fn a_candidate_waits_for_a_longer_lease() {
    let mut two = candidate("two");
    let long = Record {
        duration: seconds(60),
        ..record_of("one", 1)
    };
    reads(&mut two, seconds(0), Some(long.clone()));
    for now in (2..60).step_by(2) {
        reads(&mut two, seconds(now), Some(long.clone()));
    }
    reads(&mut two, seconds(60), Some(long));
    assert_eq!(writes(&mut two, seconds(60)).holder, "two");
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut one = candidate("one");
    reads(&mut one, seconds(10), None);
    writes(&mut one, seconds(10));
    let mut released = one.release(wall(seconds(11))).unwrap();
    assert_eq!(released.holder, "");
    released.version = Some("2".into());

    let mut two = candidate("two");
    reads(&mut two, seconds(500), Some(released));
    assert_eq!(two.leader(), None);
    let taken = writes(&mut two, seconds(500));
    assert_eq!((taken.holder.as_str(), taken.transitions), ("two", 1));
}

#[test]
fn a_deleted_lease_is_not_taken_for_its_duration() {
    for holder in ["one", ""] {
        let mut two = candidate("two");
        reads(&mut two, seconds(50), Some(record_of("one", 1)));
        two.handle_answer(seconds(52), seconds(52), Answer::Failed);
        // It may have been renewed since, or another candidate may hold it.
        two.handle_answer(
            seconds(60),
            seconds(60),
            Answer::Read(Some(record_of(holder, 2))),
        );
        two.handle_answer(seconds(80), seconds(80), Answer::Read(None));
        assert_eq!(two.leader(), None);
        for now in (82..95).step_by(2) {
            reads(&mut two, seconds(now), None);
        }
        let Action::Write(made) = two.step(seconds(95), wall(seconds(95))) else {
            panic!("it is not created again");
        };
        assert_eq!((&made.version, made.transitions), (&None, 4));
        // It leads when no other candidate can still hold the lease that it created unseen.
        let made = Record {
            version: Some("7".into()),
            ..made
        };
        two.handle_answer(seconds(95), seconds(96), Answer::Written(made.clone()));
        assert_eq!(two.valid_until(), None);
        for now in (98..111).step_by(2) {
            reads(&mut two, seconds(now), Some(made.clone()));
        }
        reads(&mut two, seconds(111), Some(made));
        writes(&mut two, seconds(111));
        assert_eq!(two.valid_until(), Some(seconds(121)));
    }
}

#[test]
fn the_leader_creates_a_deleted_lease_again() {
    let mut one = candidate("one");
    reads(&mut one, seconds(100), None);
    let first = writes(&mut one, seconds(100));
    one.handle_answer(seconds(102), seconds(102), Answer::Conflict);
    reads(&mut one, seconds(103), None);
    let again = writes(&mut one, seconds(103));
    assert_eq!(again.transitions, first.transitions);
    assert_eq!(one.valid_until(), Some(seconds(113)));
}

#[test]
fn a_term_ends_when_its_last_successful_renewal_is_too_old() {
    let mut one = candidate("one");
    let written = creates(&mut one, seconds(100));
    // The answer took 4 s, which count.
    one.handle_answer(seconds(100), seconds(104), Answer::Written(written.clone()));
    assert_eq!(one.valid_until(), Some(seconds(110)));
    one.handle_answer(seconds(104), seconds(106), Answer::Failed);
    assert_eq!(
        one.step(seconds(107), wall(seconds(107))),
        Action::Wait(seconds(108))
    );
    let lost = Action::End(Lost::Expired(seconds(10)));
    assert_eq!(one.step(seconds(110), wall(seconds(110))), lost);
    // An answer after the end does not restore the term.
    one.handle_answer(seconds(109), seconds(111), Answer::Written(written));
    assert_eq!(one.step(seconds(111), wall(seconds(111))), lost);
}

#[test]
fn an_answer_that_took_longer_than_a_term_starts_none() {
    let mut one = candidate("one");
    let written = creates(&mut one, seconds(100));
    one.handle_answer(seconds(100), seconds(110), Answer::Written(written.clone()));
    assert_eq!(one.valid_until(), None);
    // It may use its own lease as soon as no other candidate can hold it.
    for now in [112, 114, 116, 118, 120, 122, 124] {
        reads(&mut one, seconds(now), Some(written.clone()));
    }
    reads(&mut one, seconds(125), Some(written));
    writes(&mut one, seconds(125));
    assert_eq!(one.valid_until(), Some(seconds(135)));
}

#[test]
fn another_holder_in_the_lease_ends_the_term() {
    for holder in ["two", ""] {
        let mut one = candidate("one");
        reads(&mut one, seconds(100), None);
        writes(&mut one, seconds(100));
        let Action::Write(_) = one.step(seconds(102), wall(seconds(102))) else {
            panic!("no renewal");
        };
        one.handle_answer(seconds(102), seconds(102), Answer::Conflict);
        assert_eq!(
            one.step(seconds(102), wall(seconds(102))),
            Action::Wait(Duration::from_millis(102_200))
        );
        reads(&mut one, seconds(103), Some(record_of(holder, 9)));
        assert_eq!(one.valid_until(), None);
        assert_eq!(
            one.step(seconds(103), wall(seconds(103))),
            Action::End(Lost::Taken(holder.into()))
        );
    }
}

#[test]
fn a_write_without_an_answer_is_read_back_before_the_next_write() {
    let mut one = candidate("one");
    let happened = creates(&mut one, seconds(100));
    one.handle_answer(seconds(100), seconds(105), Answer::Failed);
    assert_eq!(one.valid_until(), None);
    for now in [107, 109, 111, 113, 115, 117, 119, 121] {
        reads(&mut one, seconds(now), Some(happened.clone()));
    }
    reads(&mut one, seconds(122), Some(happened));
    let again = writes(&mut one, seconds(122));
    assert_eq!(
        (again.version.as_deref(), again.transitions),
        (Some("2"), 0)
    );
}

#[test]
fn a_term_that_was_reported_as_over_stays_over() {
    let (clock, control) = Clock::settable(Timestamp::UNIX_EPOCH);
    let term = Term::new(clock, seconds(10), Timing::default());
    let other = term.clone();
    assert_eq!(term.still_valid(), Ok(()));
    control.advance(seconds(9));
    term.renewed(seconds(12));
    control.advance(seconds(2));
    assert_eq!(other.still_valid(), Ok(()));
    control.advance(seconds(1));
    assert_eq!(term.still_valid(), Err(Lost::Expired(seconds(10))));
    term.renewed(seconds(20));
    assert_eq!(other.still_valid(), Err(Lost::Expired(seconds(10))));
}

#[test]
fn identities_are_unique() {
    let (one, two) = (unique_identity("pod"), unique_identity("pod"));
    assert!(one.starts_with("pod_") && one != two, "{one} {two}");
}

#[test]
fn a_dead_task_is_reported() {
    let (sender, state) = tokio::sync::watch::channel(State::Unknown);
    assert!(is_alive(&state));
    drop(sender);
    assert!(!is_alive(&state));
}
