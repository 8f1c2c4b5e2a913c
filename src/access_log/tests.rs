//! The store under floods, with many vaults, and with clocks that differ.
#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use serde_json::json;

use super::{Capacity, Denials, Record, Store};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn denial(vault: &str, address: &str, id: &str, second: i64) -> Record {
    serde_json::from_value(json!({
        "time": at(second), "vault": vault, "listener": "data", "decisionId": id,
        "reason": "ForbiddenByFirewall", "operations": "secrets/get",
        "directIpAddress": address, "callerIpAddress": address,
        "method": "GET", "requestUri": format!("/v1/secret/data/{id}"),
    }))
    .unwrap()
}

fn store() -> Store {
    let capacity = Capacity {
        records: 16,
        groups: 8,
    };
    Store::new(capacity, at(0))
}

fn whos(denials: &Denials) -> Vec<&str> {
    denials.groups.iter().map(|group| &*group.key.who).collect()
}

#[test]
fn a_flood_hides_neither_another_caller_nor_another_vault() {
    let mut store = store();
    store.add("p", denial("vault/a", "10.0.0.1", "honest", 1), at(1));
    store.add("p", denial("vault/b", "10.0.0.2", "other", 1), at(1));
    for number in 0..5_000 {
        let id = format!("flood-{number}");
        store.add("p", denial("vault/a", "10.0.0.9", &id, 2), at(2));
    }
    let found = store.denials(Some("vault/a"), None);
    assert_eq!(whos(&found), ["10.0.0.9", "10.0.0.1"]);
    assert_eq!(found.groups.first().unwrap().count, 5_000);
    assert_eq!((found.count, found.forgotten), (5_001, 0));
    assert_eq!(whos(&store.denials(Some("vault/b"), None)), ["10.0.0.2"]);
    assert!(store.decision("vault/a", "honest").is_some());
    assert!(store.decision("vault/b", "other").is_some());
    assert!(store.decision("vault/a", "flood-4999").is_some());
    assert!(store.decision("vault/a", "flood-0").is_none());
    // Of the sixteen records.
    assert_eq!(store.sizes(), [16, 3, 2]);
}

#[test]
fn many_callers_of_one_vault_push_out_their_own_oldest() {
    let mut store = store();
    store.add("p", denial("vault/b", "10.0.0.2", "other", 1), at(1));
    for number in 0..100 {
        let (address, second) = (format!("10.1.0.{number}"), 2 + number);
        store.add(
            "p",
            denial("vault/a", &address, &address, second),
            at(second),
        );
    }
    let found = store.denials(Some("vault/a"), None);
    assert_eq!(found.groups.len(), 7);
    assert_eq!(found.groups.first().unwrap().key.who, "10.1.0.99");
    assert_eq!((found.count, found.forgotten), (100, 93));
    assert_eq!(whos(&store.denials(Some("vault/b"), None)), ["10.0.0.2"]);
}

#[test]
fn more_vaults_than_capacity_leave_nothing_behind() {
    let mut store = store();
    for number in 0..1_000 {
        let vault = format!("vault/{number}");
        store.add("p", denial(&vault, "10.0.0.1", &vault, 1), at(1));
    }
    assert_eq!(store.sizes(), [16, 8, 8]);
    assert_eq!(store.denials(None, None).groups.len(), 8);
}

#[test]
fn a_decision_is_its_own_vaults() {
    let mut store = store();
    store.add("proxy-1", denial("vault/a", "10.0.0.1", "id", 1), at(5));
    let found = store.decision("vault/a", "id").unwrap();
    assert_eq!((&*found.proxy, found.received), ("proxy-1", at(5)));
    assert_eq!(store.decision("vault/b", "id"), None);
    assert_eq!(store.decision("vault/a", "unknown"), None);
}

#[test]
fn an_allowed_request_is_not_kept() {
    let mut store = store();
    let mut allowed = denial("vault/a", "10.0.0.1", "id", 1);
    allowed.reason = Some("IpRule".into());
    assert_eq!(store.add("p", allowed, at(1)), None);
    assert_eq!(store.decision("vault/a", "id"), None);
    assert_eq!(store.denials(None, None).count, 0);
}

#[test]
fn a_proxy_whose_clock_is_ahead_is_not_the_last_for_ever() {
    let mut store = store();
    store.add("p", denial("vault/a", "10.0.0.1", "ahead", 9_000), at(10));
    store.add("p", denial("vault/a", "10.0.0.2", "right", 20), at(20));
    let found = store.denials(None, None);
    assert_eq!(whos(&found), ["10.0.0.2", "10.0.0.1"]);
    assert_eq!(whos(&store.denials(None, Some(at(15)))), ["10.0.0.2"]);
    assert_eq!(found.since, at(0));
}

#[test]
fn texts_of_a_proxy_are_bounded() {
    let mut store = store();
    let mut long = denial("vault/a", "10.0.0.1", "id", 1);
    long.request_uri = Some("x".repeat(100_000));
    store.add("p", long, at(1));
    let kept = &store.decision("vault/a", "id").unwrap().record;
    assert_eq!(kept.request_uri.as_ref().unwrap().len(), 1024);
}
