//! Tables of violations: a change to a valid object, then every expected `field ViolationReason`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod dialect;
mod identities;
mod proxy;
mod trusted_services;
mod vault_paths;

use serde_json::{Value, json};

use super::*;
use crate::api::VirtualNetwork;
use crate::policy::{EngineNamespace, NetworkRuleSource, SubnetMembers};

fn good_policy() -> Value {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy",
        "metadata": {"name": "main", "namespace": "vault", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"targetRef": {"kind": "Service", "name": "openbao", "port": 8200}},
    })
}

fn good_network() -> Value {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VirtualNetwork", "metadata": {"name": "corp"},
        "spec": {"subnets": []},
    })
}

/// Sets the value at a dotted path, and creates missing objects of the path.
fn set(object: &mut Value, path: &str, value: &Value) {
    let mut place = object;
    for key in path.split('.') {
        place = &mut place[key];
    }
    *place = value.clone();
}

fn policy(changes: &[(&str, Value)]) -> Result<ValidatedPolicy, Vec<Violation>> {
    let mut object = good_policy();
    for (path, value) in changes {
        set(&mut object, path, value);
    }
    validate_policy(&serde_json::from_value(object).unwrap(), &Limits::default())
}

fn network(subnets: &Value) -> Result<crate::policy::ValidatedVirtualNetwork, Vec<Violation>> {
    let mut object = good_network();
    set(&mut object, "spec.subnets", subnets);
    validate_virtual_network(&serde_json::from_value::<VirtualNetwork>(object).unwrap())
}

fn found<T>(result: Result<T, Vec<Violation>>) -> Vec<String> {
    let violations = result.err().unwrap_or_default();
    violations.iter().map(|v| format!("{} {:?}", v.field, v.reason)).collect()
}

fn check_policy(table: &[(&str, Value, &[&str])]) {
    for (path, value, expected) in table {
        assert_eq!(found(policy(&[(path, value.clone())])), *expected, "{path}: {value}");
    }
}

#[test]
fn the_objects_that_the_tables_change_are_valid() {
    let policy = policy(&[]).unwrap();
    assert_eq!(policy.created.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(policy.vault.to_string(), "vault/openbao");
    assert_eq!(network(&json!([])).unwrap().name, "corp");
}

#[test]
fn invalid_names_are_refused() {
    check_policy(&[
        ("metadata.name", json!(null), &["metadata.name Required"]),
        ("metadata.name", json!(""), &["metadata.name Required"]),
        ("metadata.name", json!("Main"), &["metadata.name Invalid"]),
        ("metadata.name", json!("a/b"), &["metadata.name Invalid"]),
        ("metadata.name", json!("a..b"), &["metadata.name Invalid"]),
        ("metadata.name", json!("a.b-c"), &[]),
        ("metadata.name", json!("x".repeat(254)), &["metadata.name Invalid"]),
        ("metadata.namespace", json!(null), &["metadata.namespace Required"]),
        ("metadata.namespace", json!("a.b"), &["metadata.namespace Invalid"]),
        ("metadata.namespace", json!("-a"), &["metadata.namespace Invalid"]),
        ("metadata.namespace", json!("x".repeat(64)), &["metadata.namespace Invalid"]),
        ("spec.targetRef.name", json!(""), &["spec.targetRef.name Invalid"]),
        ("spec.targetRef.name", json!("Open_Bao"), &["spec.targetRef.name Invalid"]),
        ("spec.targetRef.port", json!(0), &["spec.targetRef.port Invalid"]),
    ]);
}

#[test]
fn unsupported_fields_are_refused() {
    check_policy(&[
        ("spec.vault", json!({"location": {"region": "westindia"}}), &["spec.vault.location NotSupportedYet"]),
        ("spec.ipRules", json!([{"serviceTag": "AzureDevOps"}]), &["spec.ipRules[0].serviceTag NotSupportedYet"]),
        (
            "spec.ipRules",
            json!([{"serviceTag": "AzureDevOps", "cloud": "Public"}]),
            &["spec.ipRules[0].serviceTag NotSupportedYet", "spec.ipRules[0].cloud NotSupportedYet"],
        ),
        (
            "spec.ipRules",
            json!([{"value": "203.0.113.7", "expiresAt": "2026-12-01T00:00:00Z"}]),
            &["spec.ipRules[0].expiresAt NotSupportedYet"],
        ),
        ("spec.clientAddress", json!({"source": "ProxyProtocol"}), &["spec.clientAddress.source NotSupportedYet"]),
        (
            "spec.proxy",
            json!({"replicas": 0, "upstreamTls": {"caSecretName": "A"}}),
            &["spec.proxy.replicas Invalid", "spec.proxy.upstreamTls.caSecretName Invalid"],
        ),
        // supported
        ("spec.mode", json!("Enforced"), &[]),
        ("spec.mode", json!("Audit"), &[]),
        ("spec.bypass", json!("None"), &[]),
        ("spec.defaultAction", json!("Allow"), &[]),
        ("spec.denial", json!("Drop"), &[]),
        ("spec.management", json!({"access": "Disabled"}), &[]),
        ("spec.management", json!({"access": "NetworkRules", "operators": [], "deployers": []}), &[]),
        ("spec.accessLog", json!({"level": "Denied"}), &[]),
    ]);
}

#[test]
fn invalid_virtual_network_rules_are_refused() {
    let subnet = |network: &str, name: &str| json!({"subnet": {"virtualNetwork": network, "name": name}});
    check_policy(&[
        ("spec.virtualNetworkRules", json!([{}]), &["spec.virtualNetworkRules[0] Required"]),
        ("spec.virtualNetworkRules", json!([{"ignoreMissingServiceEndpoint": true}]),
            &["spec.virtualNetworkRules[0] Required"]),
        (
            "spec.virtualNetworkRules",
            json!([{"subnet": {"virtualNetwork": "corp", "name": "build"}, "pods": {"podSelector": {}}}]),
            &["spec.virtualNetworkRules[0] Invalid"],
        ),
        ("spec.virtualNetworkRules", json!([{"pods": {}}]), &["spec.virtualNetworkRules[0].pods Required"]),
        ("spec.virtualNetworkRules", json!([subnet("Corp", "build")]),
            &["spec.virtualNetworkRules[0].subnet.virtualNetwork Invalid"]),
        ("spec.virtualNetworkRules", json!([subnet("corp", "a.b")]),
            &["spec.virtualNetworkRules[0].subnet.name Invalid"]),
        (
            "spec.virtualNetworkRules",
            json!([subnet("", "")]),
            &["spec.virtualNetworkRules[0].subnet.virtualNetwork Invalid",
              "spec.virtualNetworkRules[0].subnet.name Invalid"],
        ),
        (
            "spec.virtualNetworkRules",
            json!([subnet("corp", "build"), subnet("corp", "dc"), subnet("corp", "build")]),
            &["spec.virtualNetworkRules[2].subnet Duplicate"],
        ),
        ("spec.virtualNetworkRules", json!([subnet("corp", "build"), subnet("lab", "build")]), &[]),
        ("spec.virtualNetworkRules", json!([{"pods": {"podSelector": {}}}, {"pods": {"namespaceSelector": {}}}]), &[]),
    ]);
}

#[test]
fn invalid_selectors_are_refused() {
    let rule = |selector: Value| json!([{"pods": {"podSelector": selector}}]);
    let expression = |value: Value| rule(json!({"matchExpressions": [value]}));
    let long = "x".repeat(64);
    let at = "spec.virtualNetworkRules";
    let table: &[(Value, &[&str])] = &[
        (rule(json!({"matchLabels": {"app": "web", "app.kubernetes.io/name": "", "A_b.c": "v1.2_3"}})), &[]),
        (rule(json!({"matchLabels": {}})), &["podSelector.matchLabels Invalid"]),
        (rule(json!({"matchLabels": {"": "web"}})), &["podSelector.matchLabels[] Invalid"]),
        (rule(json!({"matchLabels": {"-app": "web"}})), &["podSelector.matchLabels.-app Invalid"]),
        (rule(json!({"matchLabels": {"a/b/c": "web"}})), &["podSelector.matchLabels[a/b/c] Invalid"]),
        (rule(json!({"matchLabels": {"/name": "web"}})), &["podSelector.matchLabels[/name] Invalid"]),
        (rule(json!({"matchLabels": {"Example.org/name": "web"}})),
            &["podSelector.matchLabels[Example.org/name] Invalid"]),
        (rule(json!({"matchLabels": {"app": "-web"}})), &["podSelector.matchLabels.app Invalid"]),
        (rule(json!({"matchLabels": {"app": "a b"}})), &["podSelector.matchLabels.app Invalid"]),
        (rule(json!({"matchLabels": {"app": long}})), &["podSelector.matchLabels.app Invalid"]),
        (expression(json!({"key": "app", "operator": "In", "values": ["web"]})), &[]),
        (expression(json!({"key": "app", "operator": "NotIn", "values": ["web", ""]})), &[]),
        (expression(json!({"key": "app", "operator": "Exists"})), &[]),
        (expression(json!({"key": "app", "operator": "DoesNotExist", "values": []})), &[]),
        (expression(json!({"key": "app", "operator": "In"})), &["podSelector.matchExpressions[0].values Required"]),
        (expression(json!({"key": "app", "operator": "NotIn", "values": []})),
            &["podSelector.matchExpressions[0].values Required"]),
        (expression(json!({"key": "app", "operator": "Exists", "values": ["x"]})),
            &["podSelector.matchExpressions[0].values Invalid"]),
        (
            expression(json!({"key": "app", "operator": "DoesNotExist", "values": ["x"]})),
            &["podSelector.matchExpressions[0].values Invalid"],
        ),
        (expression(json!({"key": "app", "operator": "in", "values": ["x"]})),
            &["podSelector.matchExpressions[0].operator Invalid"]),
        (expression(json!({"key": "app", "operator": "Gt", "values": ["1"]})),
            &["podSelector.matchExpressions[0].operator Invalid"]),
        (
            expression(json!({"key": "a b", "operator": "In", "values": ["-x"]})),
            &["podSelector.matchExpressions[0].key Invalid", "podSelector.matchExpressions[0].values[0] Invalid"],
        ),
    ];
    for (value, expected) in table {
        let expected: Vec<String> = expected.iter().map(|e| format!("{at}[0].pods.{e}")).collect();
        assert_eq!(found(policy(&[(at, value.clone())])), expected, "{value}");
    }
}

#[test]
fn invalid_ip_rules_are_refused() {
    let values = |values: &[&str]| values.iter().map(|value| json!({"value": value})).collect::<Value>();
    check_policy(&[
        ("spec.ipRules", values(&["203.0.113.7", "198.51.100.0/24"]), &[]),
        ("spec.ipRules", json!([{}]), &["spec.ipRules[0] Required"]),
        ("spec.ipRules", json!([{"name": "hq"}]), &["spec.ipRules[0] Required"]),
        (
            "spec.ipRules",
            json!([{"value": "203.0.113.7", "serviceTag": "AzureDevOps"}]),
            &["spec.ipRules[0].serviceTag NotSupportedYet", "spec.ipRules[0] Invalid"],
        ),
        (
            "spec.ipRules",
            values(&["10.0.0.1/32", "::1", "203.0.113.7", "1.2.3"]),
            &[
                "spec.ipRules[0].value PrefixTooLong",
                "spec.ipRules[0].value PrivateAddress",
                "spec.ipRules[1].value OnlyIpv4",
                "spec.ipRules[3].value Malformed",
            ],
        ),
        ("spec.ipRules", values(&["203.0.113.7", "203.0.113.7"]), &["spec.ipRules[1].value Duplicate"]),
        // different prefixes may overlap; the rule of the longer one is reported
        ("spec.ipRules", values(&["203.0.113.0/24", "203.0.113.7"]), &[]),
        (
            "spec.ipRules",
            json!([{"name": "hq", "value": "203.0.113.7"}, {"name": "hq", "value": "203.0.113.8"}]),
            &["spec.ipRules[1].name Duplicate"],
        ),
        (
            "spec.ipRules",
            json!([{"name": "a", "value": "203.0.113.7"}, {"name": "b", "value": "203.0.113.7"}]),
            &["spec.ipRules[1].value Duplicate"],
        ),
        // the value is the name of a rule without a name, so no other rule may have this name
        (
            "spec.ipRules",
            json!([{"name": "203.0.113.8", "value": "203.0.113.7"}, {"value": "203.0.113.8"}]),
            &["spec.ipRules[1].name Duplicate"],
        ),
        ("spec.ipRules", json!([{"name": "Head_Office.1", "value": "203.0.113.7"}]), &[]),
        ("spec.ipRules", json!([{"name": "", "value": "203.0.113.7"}]), &["spec.ipRules[0].name Invalid"]),
        ("spec.ipRules", json!([{"name": "a b", "value": "203.0.113.7"}]), &["spec.ipRules[0].name Invalid"]),
        ("spec.ipRules", json!([{"name": "a/b", "value": "203.0.113.7"}]), &["spec.ipRules[0].name Invalid"]),
        ("spec.ipRules", json!([{"name": "a\nb", "value": "203.0.113.7"}]), &["spec.ipRules[0].name Invalid"]),
        ("spec.ipRules", json!([{"name": "x".repeat(64), "value": "203.0.113.7"}]), &["spec.ipRules[0].name Invalid"]),
    ]);
}

#[test]
fn invalid_client_address_settings_are_refused() {
    check_policy(&[
        ("spec.clientAddress", json!({"source": "XForwardedFor", "trustedProxies": ["10.0.0.0/8", "127.0.0.1"]}), &[]),
        ("spec.clientAddress", json!({"source": "XForwardedFor"}), &["spec.clientAddress.trustedProxies Required"]),
        ("spec.clientAddress", json!({"trustedProxies": ["10.0.0.1"]}), &["spec.clientAddress.trustedProxies Invalid"]),
        (
            "spec.clientAddress",
            json!({"source": "XForwardedFor", "trustedProxies": ["0.0.0.0/0", "10.0.0.1", "10.0.0.1/32", "::1"]}),
            &[
                "spec.clientAddress.trustedProxies[0] AllAddresses",
                "spec.clientAddress.trustedProxies[2] Duplicate",
                "spec.clientAddress.trustedProxies[3] OnlyIpv4",
            ],
        ),
        (
            "spec.clientAddress",
            json!({"source": "XForwardedFor", "trustedProxies": [{"pods": {"podSelector": {}}}, "10.0.0.1"]}),
            &[],
        ),
        (
            "spec.clientAddress",
            json!({"source": "XForwardedFor", "trustedProxies": [
                {"pods": {"podSelector": {}}}, {"pods": {}}, {"pods": {"namespaceSelector": {}}},
                {"pods": {"podSelector": {}}}, {"pods": {"podSelector": {"matchLabels": {"a b": "c"}}}},
            ]}),
            &[
                "spec.clientAddress.trustedProxies[1].pods Required",
                "spec.clientAddress.trustedProxies[3] Duplicate",
                "spec.clientAddress.trustedProxies[4].pods.podSelector.matchLabels[a b] Invalid",
            ],
        ),
        (
            "spec.clientAddress",
            json!({"trustedProxies": [{"pods": {"podSelector": {}}}]}),
            &["spec.clientAddress.trustedProxies Invalid"],
        ),
    ]);
}

#[test]
fn invalid_virtual_networks_are_refused() {
    let table: &[(Value, &[&str])] = &[
        (json!([{"name": "build", "pods": {"namespaceSelector": {}}}]), &[]),
        (json!([{"name": "dc", "addressPrefixes": ["10.20.0.0/16", "10.1.2.3", "127.0.0.2/32"]}]), &[]),
        (json!([{"name": "build"}]), &["[0] Required"]),
        (json!([{"name": "build", "pods": {"namespaceSelector": {}}, "addressPrefixes": ["10.0.0.0/8"]}]),
            &["[0] Invalid"]),
        (json!([{"name": "build", "pods": {}}]), &["[0].pods Required"]),
        (json!([{"name": "build", "pods": {"podSelector": {}}}]), &["[0].pods.namespaceSelector Required"]),
        (
            json!([{"name": "build", "pods": {"namespaceSelector": {"matchLabels": {"a": "b c"}}}}]),
            &["[0].pods.namespaceSelector.matchLabels.a Invalid"],
        ),
        (json!([{"name": "B", "pods": {"namespaceSelector": {}}}]), &["[0].name Invalid"]),
        (
            json!([{"name": "a", "pods": {"namespaceSelector": {}}}, {"name": "a", "addressPrefixes": ["10.0.0.0/8"]}]),
            &["[1].name Duplicate"],
        ),
        (json!([{"name": "dc", "addressPrefixes": []}]), &["[0].addressPrefixes Required"]),
        (
            json!([{"name": "dc", "addressPrefixes": ["203.0.113.0/24", "10.0.0.1/8", "fd00::/8",
                "10.0.0.1", "10.0.0.1/32", "0.0.0.0/0"]}]),
            &[
                "[0].addressPrefixes[0] NotPrivate",
                "[0].addressPrefixes[1] HostBitsSet",
                "[0].addressPrefixes[2] OnlyIpv4",
                "[0].addressPrefixes[4] Duplicate",
                "[0].addressPrefixes[5] AllAddresses",
            ],
        ),
    ];
    for (subnets, expected) in table {
        let expected: Vec<String> = expected.iter().map(|e| format!("spec.subnets{e}")).collect();
        assert_eq!(found(network(subnets)), expected, "{subnets}");
    }
    let mut object = good_network();
    set(&mut object, "metadata", &json!({"namespace": "vault"}));
    assert_eq!(
        found(validate_virtual_network(&serde_json::from_value(object).unwrap())),
        ["metadata.name Required", "metadata.namespace Invalid"]
    );
}

#[test]
fn as_many_rules_as_the_limit_are_accepted_and_one_more_is_refused() {
    let ip = |n: usize| (0..n).map(|i| json!({"value": format!("203.{}.{}.7", i / 250, i % 250)})).collect::<Value>();
    let subnets =
        |n: usize| {
            let rule = |i| json!({"subnet": {"virtualNetwork": "corp", "name": format!("s{i}")}});
            (0..n).map(rule).collect::<Value>()
        };
    let at = |limit: usize| Limits { virtual_network_rules: limit, ip_rules: limit, ..Limits::default() };
    // limits | list | limit that applies
    for (limits, list, most) in [
        (Limits::default(), "spec.ipRules", 127),
        (Limits::default(), "spec.virtualNetworkRules", 127),
        (at(5), "spec.ipRules", 5),
        (at(0), "spec.virtualNetworkRules", 0),
        (at(150), "spec.virtualNetworkRules", 150),
        (at(150), "spec.ipRules", 150),
        (at(usize::MAX), "spec.virtualNetworkRules", 200),
        (at(usize::MAX), "spec.ipRules", 1000),
    ] {
        let read = |n: usize| {
            let mut object = good_policy();
            set(&mut object, list, &if list == "spec.ipRules" { ip(n) } else { subnets(n) });
            validate_policy(&serde_json::from_value(object).unwrap(), &limits)
        };
        assert!(read(most).is_ok(), "{list} {most}");
        let refused = read(most + 1).unwrap_err();
        assert_eq!(found::<()>(Err(refused.clone())), [format!("{list} LimitExceeded")]);
        assert!(refused[0].message.contains(&format!("the limit is {most}")), "{}", refused[0].message);
    }
}

#[test]
fn all_violations_are_reported_together() {
    let result = policy(&[
        ("metadata.name", json!("Main")),
        ("metadata.namespace", json!(null)),
        ("spec.vault", json!({"namespaces": ["root"], "engines": [{"path": "sys", "type": "Other"}]})),
        ("spec.virtualNetworkRules", json!([{"pods": {}}, {}])),
        ("spec.ipRules", json!([{"value": "10.0.0.1"}, {"value": "::1"}])),
        ("spec.clientAddress", json!({"source": "XForwardedFor"})),
    ]);
    assert_eq!(
        found(result),
        [
            "metadata.name Invalid",
            "metadata.namespace Required",
            "spec.vault.namespaces[0] Invalid",
            "spec.vault.engines[0].path Invalid",
            "spec.virtualNetworkRules[0].pods Required",
            "spec.virtualNetworkRules[1] Required",
            "spec.ipRules[0].value PrivateAddress",
            "spec.ipRules[1].value OnlyIpv4",
            "spec.clientAddress.trustedProxies Required",
        ]
    );
}

#[test]
fn the_name_of_a_rule_comes_from_its_source() {
    let rules = json!([
        {"subnet": {"virtualNetwork": "corp", "name": "build"}},
        {"pods": {"podSelector": {}}},
        {"subnet": {"virtualNetwork": "corp", "name": "dc"}, "ignoreMissingServiceEndpoint": true},
        {"subnet": {"virtualNetwork": "lab", "name": "dc"}},
        {"subnet": {"virtualNetwork": "lab", "name": "1"}},
    ]);
    let ip = json!([{"name": "hq", "value": "203.0.113.7"}, {"value": "198.51.100.0/24"}]);
    let policy = policy(&[
        ("spec.virtualNetworkRules", rules),
        ("spec.ipRules", ip),
        ("spec.vault", json!({"namespaces": ["a"], "engines": [{"path": "kv", "type": "KvV1", "namespace": "a"}]})),
    ])
    .unwrap();
    let names: Vec<_> = policy.virtual_network_rules.iter().map(|rule| &*rule.rule).collect();
    assert_eq!(
        names,
        [
            "main/virtualNetworkRules/build",
            "main/virtualNetworkRules/1",
            "main/virtualNetworkRules/corp/dc",
            "main/virtualNetworkRules/lab/dc",
            "main/virtualNetworkRules/lab/1",
        ]
    );
    assert_eq!(policy.virtual_network_rules[2].field, "spec.virtualNetworkRules[2]");
    assert!(policy.virtual_network_rules[2].ignore_missing_service_endpoint);
    // An inline rule without a namespaceSelector selects all pods of the policy's own namespace.
    let NetworkRuleSource::Pods(group) = &policy.virtual_network_rules[1].source else { panic!("not pods") };
    assert!(group.namespaces.is_none());
    let names: Vec<_> = policy.ip_rules.iter().map(|rule| (&*rule.rule, rule.prefix.to_string())).collect();
    assert_eq!(
        names,
        [
            ("main/ipRules/hq", "203.0.113.7/32".to_owned()),
            ("main/ipRules/198.51.100.0/24", "198.51.100.0/24".to_owned()),
        ]
    );
    assert_eq!(policy.engines[0].namespace, EngineNamespace::Named("a".into()));
}

#[test]
fn a_subnet_without_the_service_endpoint_is_not_opted_in() {
    let network = network(&json!([
        {"name": "in", "serviceEndpoints": ["Vault"], "pods": {"namespaceSelector": {}}},
        {"name": "out", "addressPrefixes": ["10.0.0.0/8"]},
    ]))
    .unwrap();
    let subnets: Vec<_> = network.subnets.iter().map(|s| (s.name.as_str(), s.service_endpoint)).collect();
    assert_eq!(subnets, [("in", true), ("out", false)]);
    // With a namespaceSelector, a missing podSelector becomes an empty one, which selects all pods.
    let SubnetMembers::Pods(group) = &network.subnets[0].members else { panic!("not pods") };
    assert_eq!(group.pods, k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector::default());
}

#[test]
fn only_where_it_is_allowed_a_rule_ignores_that_other_namespaces_have_not_opted_in() {
    let allowed = Limits { ignore_missing_service_endpoint: true, ..Limits::default() };
    let name = "kubernetes.io/metadata.name";
    let own_and_more = json!({"matchLabels": {name: "vault", "team": "a"}});
    let one_of = |names: &Value| json!({"matchExpressions": [{"key": name, "operator": "In", "values": names}]});
    // source of the rule | whether it is refused by default
    for (source, refused) in [
        (json!({"subnet": {"virtualNetwork": "corp", "name": "dc"}}), false),
        (json!({"pods": {"podSelector": {}}}), false),
        (json!({"pods": {"namespaceSelector": own_and_more}}), false),
        (json!({"pods": {"namespaceSelector": one_of(&json!(["vault"]))}}), false),
        (json!({"pods": {"namespaceSelector": {}}}), true),
        (json!({"pods": {"namespaceSelector": {"matchLabels": {name: "shop"}}}}), true),
        (json!({"pods": {"namespaceSelector": {"matchLabels": {"team": "vault"}}}}), true),
        (json!({"pods": {"namespaceSelector": one_of(&json!(["vault", "shop"]))}}), true),
    ] {
        let read = |ignores: bool, limits: &Limits| {
            let mut rule = source.clone();
            rule["ignoreMissingServiceEndpoint"] = json!(ignores);
            let mut object = good_policy();
            set(&mut object, "spec.virtualNetworkRules", &json!([rule]));
            found(validate_policy(&serde_json::from_value(object).unwrap(), limits))
        };
        let refusal = "spec.virtualNetworkRules[0].ignoreMissingServiceEndpoint NotAllowed";
        let expected: &[&str] = if refused { &[refusal] } else { &[] };
        assert_eq!(read(true, &Limits::default()), expected, "{source}");
        assert_eq!(read(true, &allowed), [""; 0], "{source}");
        assert_eq!(read(false, &Limits::default()), [""; 0], "{source}");
    }
}
