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
