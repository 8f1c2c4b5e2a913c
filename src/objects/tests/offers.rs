//! Remedies of messages: what they offer is accepted.

use super::{parse, policy};
use crate::policy::ViolationReason;

fn messages(spec: &str) -> Vec<(ViolationReason, String)> {
    let violations = parse(&policy(spec)).violations;
    violations.into_iter().map(|found| (found.reason, found.message)).collect()
}

fn is_supported((reason, _): &(ViolationReason, String)) -> bool {
    *reason != ViolationReason::NotSupportedYet
}

/// One of them is right for any field that is not supported yet.
const VALUES: [&str; 5] =
    ["{}", "[]", "[{serviceAccount: {namespace: a, name: b}}]", "2027-01-31T18:00:00Z", "{region: a}"];

#[test]
fn messages_offer_no_value_that_is_not_supported_yet() {
    for field in [
        "mode: @",
        "defaultAction: @",
        "bypass: @",
        "denial: @",
        "vault: {api: @}",
        "vault: {engines: [{path: secret, type: @}]}",
        "clientAddress: {source: @, trustedProxies: [10.0.0.1]}",
        "management: {access: @}",
        "accessLog: {level: @}",
        "proxy: {service: {type: @}}",
        "proxy: {service: {type: NodePort, externalTrafficPolicy: @}}",
    ] {
        let (reason, message) = messages(&field.replace('@', "nothing")).remove(0);
        assert_eq!(reason, ViolationReason::Invalid, "{field}: {message}");
        let (_, offered) = message.split_once("; write ").expect("a remedy");
        assert!(!offered.is_empty());
        for value in offered.split(" or ") {
            let found = messages(&field.replace('@', value));
            assert!(found.iter().all(is_supported), "{field} {value}: {found:?}");
        }
    }
}

#[test]
fn messages_offer_no_field_that_is_not_supported_yet() {
    for object in ["@", "vault: {@}", "ipRules: [{@}]", "management: {@}", "clientAddress: {@}"] {
        let found = messages(&object.replace('@', "nothing: 1"));
        let (_, known) = found.iter().find_map(|(_, message)| message.split_once("known are ")).expect("a remedy");
        assert!(!known.is_empty());
        for name in known.split(", ").filter(|name| *name != "targetRef") {
            for value in VALUES {
                let found = messages(&object.replace('@', &format!("{name}: {value}")));
                assert!(found.iter().all(is_supported), "{object} {name}: {found:?}");
            }
        }
    }
}

#[test]
fn an_address_is_offered_where_service_tags_are_not_supported() {
    for rule in ["{}", "{name: hq}"] {
        let found = messages(&format!("ipRules: [{rule}]"));
        assert!(found[0].1.contains("; write value"), "{found:?}");
    }
}

/// Addresses and ranges that a message offers after `write`.
fn offered_addresses(message: &str) -> Vec<String> {
    let address = regex::Regex::new(r"\d+(\.\d+){3}(/\d+)?").unwrap();
    let offers = message.split("; ").filter_map(|part| part.split_once("write "));
    offers.flat_map(|(_, offer)| address.find_iter(offer).map(|found| found.as_str().to_owned())).collect()
}

#[test]
fn messages_offer_no_address_that_is_refused_in_turn() {
    let mut count = 0;
    for field in ["ipRules: [{value: '@'}]", "clientAddress: {source: XForwardedFor, trustedProxies: ['@']}"] {
        for value in [
            "203.0.113.7/24", "203.0.113.7/31", "203.0.113.6/31", "203.0.113.7/32", "10.0.0.7/24", "10.0.0.7/31",
            "192.0.0.5/8", "127.0.0.1/8", "169.254.1.1/16", "0.0.0.0/0", "9.9.9.9/0", "224.0.0.1", "203.0.113.7/33",
            "203.0.113.007", "203.0.113", "300.1.1.1", "2001:db8::1", "::ffff:203.0.113.7", "203.0.113.7:443",
            "hq.example",
            "", " ",
        ] {
            for (_, message) in messages(&field.replace('@', value)) {
                for offered in offered_addresses(&message) {
                    count += 1;
                    let found = messages(&field.replace('@', &offered));
                    assert!(found.is_empty(), "{field} {value}: {message}\n{offered}: {found:?}");
                }
            }
        }
    }
    assert!(count > 20, "only {count} offers");
}

#[test]
fn messages_offer_words_that_are_accepted() {
    for field in [
        "virtualNetworkRules: [{pods: {podSelector: {matchExpressions: [{key: a, operator: @, values: [b]}]}}}]",
        "proxy: {resources: {limits: {@: 64Mi}}}",
    ] {
        let found = messages(&field.replace('@', "nothing"));
        let (_, offered) = found.iter().find_map(|(_, message)| message.split_once("write ")).expect("a remedy");
        let offered = offered.trim_start_matches("one of ");
        let words = offered.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let words = words.filter(|word| !word.is_empty() && *word != "or");
        for word in words {
            let found = messages(&field.replace('@', word));
            let is_refused = |(_, message): &(ViolationReason, String)| message.contains(offered);
            assert!(!found.iter().any(is_refused), "{field} {word}: {found:?}");
        }
    }
}
