//! Statuses one after another: what is written, when, and what is said of it in events.

use serde_json::json;

use super::scene::{PLAIN, Scene, scene};
use super::*;

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

/// `Warning Invalid`, a word an event.
fn posted(events: &[EventNote]) -> Vec<String> {
    events
        .iter()
        .map(|event| format!("{:?} {}", event.kind, event.reason))
        .collect()
}

#[test]
fn the_time_is_that_of_the_last_change_of_status() {
    let mut scene = scene();
    let times = |scene: &mut Scene, now: &str| -> Vec<String> {
        scene.now = now.parse().unwrap();
        let wanted = scene.wanted();
        let times = wanted
            .conditions
            .iter()
            .map(|found| found.last_transition_time.0.to_string());
        let times = times.collect();
        scene.stored = Some(wanted);
        times
    };
    let (first, second, third) = (
        "2026-05-01T00:00:00Z",
        "2026-05-01T00:00:01Z",
        "2026-05-01T00:00:02Z",
    );
    // Without fractions, as Kubernetes writes them.
    assert_eq!(times(&mut scene, "2026-05-01T00:00:00.75Z"), [first; 4]);
    assert_eq!(times(&mut scene, second), [first; 4]);
    scene.proxies.programmed = 1;
    assert_eq!(times(&mut scene, second), [first, first, second, first]);
    // Another reason is no other status.
    let mut scene = scene.rejected("no");
    assert_eq!(times(&mut scene, third), [first, first, second, first]);
    scene.proxies.rejections.clear();
    scene.proxies.programmed = 2;
    assert_eq!(times(&mut scene, third), [first, first, third, first]);
}

#[test]
fn conditions_of_others_stay_as_they_are() {
    let theirs = condition("example.com/Reviewed", "True", "2020-01-01T00:00:00Z");
    let mut scene = scene();
    scene.stored = Some(VaultNetworkPolicyStatus {
        conditions: vec![theirs.clone()],
        ..VaultNetworkPolicyStatus::default()
    });
    assert!(scene.write(true).is_some());
    let stored = scene.stored.clone().unwrap();
    assert_eq!(stored.conditions.len(), 5);
    assert_eq!(stored.conditions[4], theirs);
    assert_eq!(own_part(&stored).conditions, stored.conditions[..4]);
    assert_eq!(scene.write(true), None);
}

#[test]
fn the_same_again_is_no_difference() {
    for (what, mut scene, ..) in rows() {
        let first = scene.wanted();
        assert_eq!(difference(None, &first), Difference::Major, "{what}");
        // As another writer, or the API server, may give it back.
        let mut stored = first.clone();
        stored.conditions.reverse();
        stored.warnings.reverse();
        let past = "1999-01-01T00:00:00Z".parse().unwrap();
        stored
            .conditions
            .iter_mut()
            .for_each(|found| found.last_transition_time = Time(past));
        scene.stored = Some(stored.clone());
        scene.now = "2027-01-01T00:00:00Z".parse().unwrap();
        let second = scene.wanted();
        assert!(!differs(Some(&stored), &second), "{what}");
        assert_eq!(events(Some(&stored), &second), [], "{what}");
    }
}

#[test]
fn what_can_wait() {
    let row = |what: &str, change: &dyn Fn(&mut Scene), expected: Difference| {
        let mut scene = scene();
        scene.write(true).unwrap();
        change(&mut scene);
        let wanted = scene.wanted();
        assert_eq!(
            difference(scene.stored.as_ref(), &wanted),
            expected,
            "{what}"
        );
    };
    row("nothing", &|_| {}, Difference::None);
    row(
        "a third proxy",
        &|scene| (scene.proxies.connected, scene.proxies.programmed) = (3, 3),
        Difference::Minor,
    );
    row(
        "pending",
        &|scene| scene.proxies.programmed = 1,
        Difference::Major,
    );
    row(
        "a generation",
        &|scene| scene.set_own(&ip(&["203.0.113.7"])),
        Difference::Major,
    );
    row(
        "plain HTTP",
        &|scene| scene.plain_http = PLAIN,
        Difference::Major,
    );
    row(
        "other words",
        &|scene| {
            let stored = scene.stored.as_mut().unwrap();
            stored.conditions[0].message.push('!');
        },
        Difference::Major,
    );
}

/// Reasons that pass by themselves, and no others, are waited for.
#[test]
fn only_pending_is_not_settled() {
    for (what, mut scene, ..) in rows() {
        let wanted = scene.wanted();
        let pending = wanted
            .conditions
            .iter()
            .any(|found| found.reason == "Pending");
        assert_eq!(is_settled(&wanted), !pending, "{what}");
    }
    // A word of others does not hold anything up.
    let mut scene = scene();
    let mut theirs = condition("example.com/Reviewed", "False", "2020-01-01T00:00:00Z");
    theirs.reason = "Pending".into();
    scene.stored = Some(VaultNetworkPolicyStatus {
        conditions: vec![theirs],
        ..VaultNetworkPolicyStatus::default()
    });
    assert!(is_settled(&scene.wanted()));
}

/// A step, what changes, and which events its write posts; none: nothing is written.
type Step<'a> = (&'a str, &'a dyn Fn(&mut Scene), Option<&'a [&'a str]>);

/// Follows a policy's life and returns how many writes it takes.
fn live(scene: &mut Scene, waits: bool, steps: &[Step<'_>]) -> usize {
    let mut writes = 0;
    for (what, change, expected) in steps {
        change(scene);
        let found = scene.write(waits);
        let found = found.as_deref().map(posted);
        let expected = expected.map(|events| events.iter().map(ToString::to_string).collect());
        assert_eq!(found, expected, "{what}");
        writes += usize::from(found.is_some());
        assert_eq!(scene.write(waits), None, "{what}: the second time");
    }
    writes
}

fn told(scene: &mut Scene, version: &'static str) {
    scene.version = Some(version);
    scene.proxies.version = Some(version.into());
    scene.proxies.programmed = 0;
}

fn acknowledged(scene: &mut Scene) {
    scene.proxies.programmed = scene.proxies.connected;
}

fn edit(scene: &mut Scene) {
    scene.set_own(&ip(&["203.0.113.8"]));
    told(scene, "v2");
}

#[test]
fn a_typical_life_takes_three_writes() {
    let steps: [Step<'_>; 5] = [
        ("created", &no_proxies, Some(&["Normal Accepted"])),
        (
            "proxies are connected",
            &|scene| {
                scene.proxies.connected = 2;
                told(scene, "v1");
            },
            None,
        ),
        ("they have it", &acknowledged, Some(&["Normal Programmed"])),
        ("edited", &edit, None),
        ("they have it", &acknowledged, Some(&[])),
    ];
    assert_eq!(live(&mut scene(), true, &steps), 3);
    // Who does not wait writes five times, and says again what was said.
    let mut impatient = steps;
    impatient[1].2 = Some(&[]);
    impatient[3].2 = Some(&[]);
    impatient[4].2 = Some(&["Normal Programmed"]);
    assert_eq!(live(&mut scene(), false, &impatient), 5);
}

#[test]
fn events_tell_transitions_once() {
    let bad = || ip(&["10.0.0.1"]);
    let still_bad = || ip(&["10.0.0.2"]);
    let forbidden = || Some("deployments.apps is forbidden".to_owned());
    live(
        &mut scene(),
        true,
        &[
            (
                "created",
                &|_| {},
                Some(&["Normal Accepted", "Normal Programmed"]),
            ),
            (
                "made invalid",
                &|scene| scene.set_own(&bad()),
                Some(&["Warning Invalid"]),
            ),
            (
                "otherwise invalid",
                &|scene| scene.set_own(&still_bad()),
                Some(&[]),
            ),
            (
                "mended, but dangling",
                &|scene| scene.set_own(&subnet("corp", "open")),
                Some(&[
                    "Normal Accepted",
                    "Warning VirtualNetworkNotFound",
                    "Normal Programmed",
                ]),
            ),
            (
                "mended",
                &|scene| scene.set_own(&ip(&["203.0.113.7"])),
                Some(&["Normal ResolvedRefs"]),
            ),
            (
                "plain HTTP",
                &|scene| scene.plain_http = PLAIN,
                Some(&["Warning PlainHttp", "Warning PlainHttp"]),
            ),
            (
                "a third proxy",
                &|scene| (scene.proxies.connected, scene.proxies.programmed) = (3, 3),
                Some(&[]),
            ),
            ("all gone", &no_proxies, Some(&["Warning NoProxies"])),
            (
                "back",
                &|scene| (scene.proxies.connected, scene.proxies.programmed) = (2, 2),
                Some(&["Normal Programmed"]),
            ),
            (
                "cannot be written",
                &|scene| scene.apply_error = forbidden(),
                Some(&["Warning ApplyFailed"]),
            ),
            (
                "can",
                &|scene| scene.apply_error = None,
                Some(&["Normal Programmed"]),
            ),
            (
                "an older policy differs",
                &|scene| scene.set_older(&json!({"denial": "Drop"})),
                Some(&["Warning SettingsDiffer"]),
            ),
            (
                "it agrees",
                &|scene| scene.set_older(&json!({})),
                Some(&["Normal NoConflicts"]),
            ),
            (
                "deleted",
                &|scene| scene.terminating = true,
                Some(&["Warning NamespaceTerminating"]),
            ),
        ],
    );
}

#[test]
fn notes_say_all_in_one_line() {
    let mut scene = limited(127).own(&ip(&["10.0.0.1", "203.0.113.0/31"]));
    let posted = events(None, &scene.wanted());
    let event = &posted[0];
    assert_eq!((event.kind, event.action), (EventKind::Warning, "Validate"));
    let words = [
        "so the vault denies every request: spec.ipRules[0].value: ",
        "; spec.ipRules[1].value: ",
    ];
    assert!(
        words.iter().all(|word| event.note.contains(word)),
        "{}",
        event.note
    );
}
