//! Key sets of token issuers: which keys are usable, and what becomes of the others.

mod keys;

use serde_json::{Value, json};
use vaultwall::api::KeySet;
use vaultwall::policy::key_set;

fn set(keys: &[Value]) -> KeySet {
    let keys = keys.iter().map(|key| key.as_object().unwrap().clone());
    KeySet {
        keys: keys.collect(),
    }
}

fn served(keys: &[Value]) -> Vec<u8> {
    json!({"keys": keys}).to_string().into_bytes()
}

#[test]
fn usable_keys_keep_only_what_a_verification_needs() {
    for (name, key) in keys::usable() {
        let mut more = key.clone();
        more["x5c"] = json!(["MIIB"]);
        more["use"] = json!("sig");
        let checked = key_set::check(&set(&[more])).unwrap();
        let checked: Value = serde_json::from_str(&checked).unwrap();
        let written = checked["keys"][0].as_object().unwrap();
        let members: Vec<&str> = written.keys().map(String::as_str).collect();
        assert!(members.is_sorted(), "{name}: {members:?}");
        for (member, value) in written {
            assert_eq!(Some(value), key.get(member), "{name}: {member}");
        }
        for kept in ["alg", "crv", "e", "kid", "kty", "n", "x", "y"] {
            assert_eq!(key.get(kept), written.get(kept), "{name}: {kept}");
        }
        assert!(!written.contains_key("use") && !written.contains_key("x5c"));
    }
}

#[test]
fn an_unusable_key_is_refused_by_name_in_an_object_and_left_out_of_a_served_set() {
    let good = keys::rsa(&json!({"kid": "good"}));
    for (name, key, message) in keys::unusable() {
        let error = key_set::check(&set(&[good.clone(), key.clone()])).unwrap_err();
        assert!(error.starts_with("keys[1]"), "{name}: {error}");
        assert!(error.contains(message), "{name}: {error}");
        let read = key_set::read(&served(&[key.clone(), good.clone()])).unwrap();
        assert_eq!((read.keys.len(), read.dropped), (1, 1), "{name}");
        let error = key_set::read(&served(&[key])).unwrap_err();
        assert!(error.contains("none of its 1 keys"), "{name}: {error}");
    }
}

#[test]
fn the_order_of_keys_and_members_changes_nothing() {
    let keys: Vec<Value> = keys::usable().into_iter().map(|(_, key)| key).collect();
    let reversed: Vec<Value> = keys.iter().rev().cloned().collect();
    let one = key_set::check(&set(&keys)).unwrap();
    assert_eq!(one, key_set::check(&set(&reversed)).unwrap());
    let read = key_set::read(&served(&reversed)).unwrap();
    assert_eq!(one, key_set::to_jwks(&read.keys));
    // The same key twice is one key.
    let twice = [keys.clone(), keys].concat();
    assert_eq!(one, key_set::check(&set(&twice)).unwrap());
}

#[test]
fn different_keys_with_one_id_are_refused_or_left_out() {
    let (one, other) = (
        keys::rsa(&json!({"kid": "a"})),
        keys::p256(&json!({"kid": "a"})),
    );
    let error = key_set::check(&set(&[one.clone(), other.clone()])).unwrap_err();
    assert!(error.contains("have the kid \"a\""), "{error}");
    let good = keys::rsa(&json!({"kid": "b"}));
    let read = key_set::read(&served(&[one, good, other])).unwrap();
    assert_eq!((read.keys.len(), read.dropped), (1, 2));
}

#[test]
fn a_set_without_keys_or_with_too_many_is_refused() {
    assert!(key_set::check(&set(&[])).unwrap_err().contains("no keys"));
    let many: Vec<Value> = (0..=key_set::MAX_KEYS)
        .map(|index| keys::rsa(&json!({"kid": index.to_string()})))
        .collect();
    assert!(key_set::read(&served(&many[1..])).is_ok());
    let error = key_set::read(&served(&many)).unwrap_err();
    assert!(error.contains("65 keys, and 64 are allowed"), "{error}");
    for (json, message) in [
        ("", "not JSON"),
        ("<!doctype html><title>Sign in</title>", "not JSON"),
        ("[]", "no list `keys`"),
        ("{\"keys\": {}}", "no list `keys`"),
        ("{\"keys\": []}", "no keys"),
        ("{\"keys\": [1]}", "none of its 1 keys"),
    ] {
        let error = key_set::read(json.as_bytes()).unwrap_err();
        assert!(error.contains(message), "{json}: {error}");
    }
}
