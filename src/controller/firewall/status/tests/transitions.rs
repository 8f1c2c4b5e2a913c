//! Sequences of statuses: which of them are written, and which events they have.

use serde_json::json;

use super::fixture::{Fixture, PLAIN, fixture};
use super::*;
use crate::runtime::events::{EventKind, EventNote};

fn condition(kind: &str, status: &str, time: &str) -> Condition {
    Condition {
        type_: kind.into(),
        status: status.into(),
        reason: "Theirs".into(),
        message: "not ours".into(),
        observed_generation: None,
        last_transition_time: Time(time.parse().unwrap()),
    }
}

/// Returns type and reason of each event, for example `Warning Invalid`.
fn summary(events: &[EventNote]) -> Vec<String> {
    events
        .iter()
        .map(|event| format!("{:?} {}", event.kind, event.reason))
        .collect()
}

#[test]
fn the_time_of_a_generation_is_kept_until_it_is_no_longer_enforced() {
    let mut fixture = fixture();
    let mut since = |generation: i64, programmed: usize, now: &str| {
        fixture.generation = generation;
        fixture.proxies.programmed = programmed;
        fixture.now = now.parse().unwrap();
        let wanted = fixture.desired();
        let since = wanted.programmed_since.as_ref();
        let since = since.map(|time| time.0.to_string());
        fixture.stored = Some(wanted);
        since
    };
    let (first, second, third) = (
        "2026-05-01T00:00:00Z",
        "2026-05-01T00:00:01Z",
        "2026-05-01T00:00:02Z",
    );
    assert_eq!(
        since(1, 2, "2026-05-01T00:00:00.75Z").as_deref(),
        Some(first)
    );
    assert_eq!(since(1, 2, second).as_deref(), Some(first));
    assert_eq!(since(2, 2, second).as_deref(), Some(second));
    assert_eq!(since(2, 1, third), None);
    assert_eq!(since(2, 2, third).as_deref(), Some(third));
}

#[test]
fn the_transition_time_is_that_of_the_last_change_of_status() {
    let mut fixture = fixture();
    let times = |fixture: &mut Fixture, now: &str| -> Vec<String> {
        fixture.now = now.parse().unwrap();
        let wanted = fixture.desired();
        let times = wanted
            .conditions
            .iter()
            .map(|found| found.last_transition_time.0.to_string());
        let times = times.collect();
        fixture.stored = Some(wanted);
        times
    };
    let (first, second, third) = (
        "2026-05-01T00:00:00Z",
        "2026-05-01T00:00:01Z",
        "2026-05-01T00:00:02Z",
    );
    // In whole seconds, as Kubernetes stores them.
    assert_eq!(times(&mut fixture, "2026-05-01T00:00:00.75Z"), [first; 5]);
    assert_eq!(times(&mut fixture, second), [first; 5]);
    fixture.proxies.programmed = 1;
    assert_eq!(
        times(&mut fixture, second),
        [first, first, second, first, second]
    );
    // Another reason is not another status.
    let mut fixture = fixture.rejected("no");
    // `Ready` was unknown while it was pending, and is false now.
    assert_eq!(
        times(&mut fixture, third),
        [first, first, second, first, third]
    );
    fixture.proxies.rejections.clear();
    fixture.proxies.programmed = 2;
    assert_eq!(
        times(&mut fixture, third),
        [first, first, third, first, third]
    );
}

#[test]
fn conditions_of_other_writers_are_kept() {
    let theirs = condition("example.com/Reviewed", "True", "2020-01-01T00:00:00Z");
    let mut fixture = fixture();
    fixture.stored = Some(VaultNetworkPolicyStatus {
        conditions: vec![theirs.clone()],
        ..VaultNetworkPolicyStatus::default()
    });
    assert!(fixture.write(true).is_some());
    let stored = fixture.stored.clone().unwrap();
    assert_eq!(stored.conditions.len(), 6);
    assert_eq!(stored.conditions[5], theirs);
    assert_eq!(fixture.write(true), None);
}

#[test]
fn an_unchanged_status_is_no_difference() {
    for (what, mut fixture, ..) in rows() {
        let first = fixture.desired();
        assert_eq!(difference(None, &first), Difference::Major, "{what}");
        // In another order and with other times, as the API server or another writer may return it.
        let mut stored = first.clone();
        stored.conditions.reverse();
        stored.warnings.reverse();
        let past = "1999-01-01T00:00:00Z".parse().unwrap();
        stored
            .conditions
            .iter_mut()
            .for_each(|found| found.last_transition_time = Time(past));
        fixture.stored = Some(stored.clone());
        fixture.now = "2027-01-01T00:00:00Z".parse().unwrap();
        let second = fixture.desired();
        assert_eq!(
            difference(Some(&stored), &second),
            Difference::None,
            "{what}"
        );
        assert_eq!(events(Some(&stored), &second), [], "{what}");
    }
}

#[test]
fn differences_that_can_wait_are_minor() {
    let row = |what: &str, change: &dyn Fn(&mut Fixture), expected: Difference| {
        let mut fixture = fixture();
        fixture.write(true).unwrap();
        change(&mut fixture);
        let wanted = fixture.desired();
        assert_eq!(
            difference(fixture.stored.as_ref(), &wanted),
            expected,
            "{what}"
        );
    };
    row("nothing", &|_| {}, Difference::None);
    row(
        "a third proxy",
        &|fixture| (fixture.proxies.connected, fixture.proxies.programmed) = (3, 3),
        Difference::Minor,
    );
    row(
        "pending",
        &|fixture| fixture.proxies.programmed = 1,
        Difference::Major,
    );
    row(
        "a generation",
        &|fixture| fixture.set_own(&ip(&["203.0.113.7"])),
        Difference::Major,
    );
    row(
        "plain HTTP",
        &|fixture| fixture.plain_http = PLAIN,
        Difference::Major,
    );
    row(
        "another message",
        &|fixture| {
            let stored = fixture.stored.as_mut().unwrap();
            stored.conditions[0].message.push('!');
        },
        Difference::Major,
    );
}

/// Only a state that passes without an action is not settled.
#[test]
fn only_pending_is_not_settled() {
    for (what, mut fixture, ..) in rows() {
        let wanted = fixture.desired();
        let pending = wanted
            .conditions
            .iter()
            .any(|found| found.reason == "Pending");
        assert_eq!(is_settled(&wanted), !pending, "{what}");
    }
    // A condition of another writer delays nothing.
    let mut fixture = fixture();
    let mut theirs = condition("example.com/Reviewed", "False", "2020-01-01T00:00:00Z");
    theirs.reason = "Pending".into();
    fixture.stored = Some(VaultNetworkPolicyStatus {
        conditions: vec![theirs],
        ..VaultNetworkPolicyStatus::default()
    });
    assert!(is_settled(&fixture.desired()));
}

/// Name of a step, its change, and the events of its write; none: nothing is written.
type Step<'a> = (&'a str, &'a dyn Fn(&mut Fixture), Option<&'a [&'a str]>);

/// Runs the steps and returns the number of writes.
fn run_steps(fixture: &mut Fixture, waits: bool, steps: &[Step<'_>]) -> usize {
    let mut writes = 0;
    for (what, change, expected) in steps {
        change(fixture);
        let found = fixture.write(waits);
        let found = found.as_deref().map(summary);
        let expected = expected.map(|events| events.iter().map(ToString::to_string).collect());
        assert_eq!(found, expected, "{what}");
        writes += usize::from(found.is_some());
        assert_eq!(fixture.write(waits), None, "{what}: the second time");
    }
    writes
}

fn published(fixture: &mut Fixture, version: &'static str) {
    fixture.version = Some(version);
    fixture.proxies.version = Some(version.into());
    fixture.proxies.programmed = 0;
}

fn acknowledged(fixture: &mut Fixture) {
    fixture.proxies.programmed = fixture.proxies.connected;
}

fn edit(fixture: &mut Fixture) {
    fixture.set_own(&ip(&["203.0.113.8"]));
    published(fixture, "v2");
}

#[test]
fn a_typical_policy_takes_three_writes() {
    let steps: [Step<'_>; 5] = [
        ("created", &no_proxies, Some(&["Normal Accepted"])),
        (
            "proxies are connected",
            &|fixture| {
                fixture.proxies.connected = 2;
                published(fixture, "v1");
            },
            None,
        ),
        (
            "they acknowledge it",
            &acknowledged,
            Some(&["Normal Programmed"]),
        ),
        ("edited", &edit, None),
        ("they acknowledge it", &acknowledged, Some(&[])),
    ];
    assert_eq!(run_steps(&mut fixture(), true, &steps), 3);
    // Without the wait there are five writes, and a repeated event.
    let mut immediate = steps;
    immediate[1].2 = Some(&[]);
    immediate[3].2 = Some(&[]);
    immediate[4].2 = Some(&["Normal Programmed"]);
    assert_eq!(run_steps(&mut fixture(), false, &immediate), 5);
}

#[test]
fn each_transition_has_one_event() {
    let bad = || ip(&["10.0.0.1"]);
    let still_bad = || ip(&["10.0.0.2"]);
    let forbidden = || Some("deployments.apps is forbidden".to_owned());
    run_steps(
        &mut fixture(),
        true,
        &[
            (
                "created",
                &|_| {},
                Some(&["Normal Accepted", "Normal Programmed"]),
            ),
            (
                "made invalid",
                &|fixture| fixture.set_own(&bad()),
                Some(&["Warning Invalid"]),
            ),
            (
                "invalid for another reason",
                &|fixture| fixture.set_own(&still_bad()),
                Some(&[]),
            ),
            (
                "corrected, with an unresolved reference",
                &|fixture| fixture.set_own(&subnet("corp", "open")),
                Some(&[
                    "Normal Accepted",
                    "Warning VirtualNetworkNotFound",
                    "Normal Programmed",
                ]),
            ),
            (
                "corrected",
                &|fixture| fixture.set_own(&ip(&["203.0.113.7"])),
                Some(&["Normal ResolvedRefs"]),
            ),
            (
                "plain HTTP",
                &|fixture| fixture.plain_http = PLAIN,
                Some(&["Warning PlainHttp", "Warning PlainHttp"]),
            ),
            (
                "a third proxy",
                &|fixture| (fixture.proxies.connected, fixture.proxies.programmed) = (3, 3),
                Some(&[]),
            ),
            (
                "all disconnected",
                &no_proxies,
                Some(&["Warning NoProxies"]),
            ),
            (
                "reconnected",
                &|fixture| (fixture.proxies.connected, fixture.proxies.programmed) = (2, 2),
                Some(&["Normal Programmed"]),
            ),
            (
                "cannot be written",
                &|fixture| fixture.apply_error = forbidden(),
                Some(&["Warning ApplyFailed"]),
            ),
            (
                "written",
                &|fixture| fixture.apply_error = None,
                Some(&["Normal Programmed"]),
            ),
            (
                "an older policy differs",
                &|fixture| fixture.set_older(&json!({"denial": "Drop"})),
                Some(&["Warning SettingsDiffer"]),
            ),
            (
                "it has the same settings",
                &|fixture| fixture.set_older(&json!({})),
                Some(&["Normal NoConflicts"]),
            ),
            (
                "deleted",
                &|fixture| fixture.terminating = true,
                Some(&["Warning NamespaceTerminating"]),
            ),
        ],
    );
}

#[test]
fn a_note_is_one_line() {
    let mut fixture = limited(127).own(&ip(&["10.0.0.1", "203.0.113.0/31"]));
    let notes = events(None, &fixture.desired());
    let event = &notes[0];
    assert_eq!((event.kind, event.action), (EventKind::Warning, "Validate"));
    let parts = [
        "so the vault denies every request: spec.ipRules[0].value: ",
        "; spec.ipRules[1].value: ",
    ];
    assert!(
        parts.iter().all(|part| event.note.contains(part)),
        "{}",
        event.note
    );
}
