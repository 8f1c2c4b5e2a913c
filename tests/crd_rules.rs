//! The CRDs' own rules (CEL), evaluated as the API server does, over tables that a reader can check by eye; and their
//! agreement with `policy::validate`, which says the same where there is no API server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;

use kube_cel::{AdmissionRequest, Validator, VapEvaluator, VapExpression};
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use vaultwall::api::{self, VaultNetworkPolicy, VirtualNetwork};
use vaultwall::policy::{Limits, validate_policy, validate_virtual_network};

/// A row's verdict: `""` is accepted, anything else is a part of the message.
const ACCEPTED: &str = "";

/// Values of an IP rule.
const IP_RULE_VALUES: &[(&str, &str)] = &[
    // Single addresses and ranges of the public internet (R4), to the edges of the special ranges.
    ("8.8.8.8", ACCEPTED),
    ("1.0.0.0", ACCEPTED),
    ("9.255.255.255", ACCEPTED),
    ("11.0.0.0", ACCEPTED),
    ("20.0.0.0/8", ACCEPTED),
    ("100.63.255.255", ACCEPTED),
    ("100.128.0.0/9", ACCEPTED),
    ("126.255.255.255", ACCEPTED),
    ("128.0.0.1", ACCEPTED),
    ("169.253.255.255", ACCEPTED),
    ("169.255.0.0/16", ACCEPTED),
    ("172.15.255.255", ACCEPTED),
    ("172.32.0.0/11", ACCEPTED),
    ("191.255.255.255", ACCEPTED),
    ("192.0.1.0/24", ACCEPTED),
    ("192.31.196.0/24", ACCEPTED),
    ("192.167.255.255", ACCEPTED),
    ("192.169.0.0/16", ACCEPTED),
    ("198.17.255.255", ACCEPTED),
    ("198.20.0.0/14", ACCEPTED),
    ("223.255.255.255", ACCEPTED),
    ("203.0.113.4/30", ACCEPTED),
    // Documentation ranges, which examples use.
    ("192.0.2.0/24", ACCEPTED),
    ("198.51.100.0/24", ACCEPTED),
    ("203.0.113.7", ACCEPTED),
    // R6.
    ("203.0.113.6/31", "write single addresses"),
    ("203.0.113.7/32", "write single addresses"),
    // R7: private.
    (
        "10.0.0.0/8",
        "10.0.0.0/8 (private, RFC 1918), which is not public; use a subnet rule",
    ),
    (
        "10.1.2.3",
        "10.0.0.0/8 (private, RFC 1918), which is not public; use a subnet rule",
    ),
    ("172.16.0.1", "172.16.0.0/12 (private, RFC 1918)"),
    ("172.31.255.0/24", "172.16.0.0/12 (private, RFC 1918)"),
    ("192.168.1.0/24", "192.168.0.0/16 (private, RFC 1918)"),
    // R7: ranges that hold a private one.
    ("8.0.0.0/6", "overlaps 10.0.0.0/8 (private, RFC 1918)"),
    ("172.0.0.0/8", "overlaps 172.16.0.0/12 (private, RFC 1918)"),
    ("192.0.0.0/8", "overlaps 192.168.0.0/16 (private, RFC 1918)"),
    ("128.0.0.0/1", "overlaps 192.168.0.0/16 (private, RFC 1918)"),
    // R7: everything else that is not publicly routable.
    ("0.0.0.0", "0.0.0.0/8 (\"this network\", RFC 791)"),
    ("0.1.2.3", "0.0.0.0/8 (\"this network\", RFC 791)"),
    (
        "100.64.0.1",
        "100.64.0.0/10 (shared address space of carriers (CGNAT), RFC 6598)",
    ),
    (
        "100.127.255.255",
        "100.64.0.0/10 (shared address space of carriers (CGNAT), RFC 6598)",
    ),
    ("127.0.0.1", "127.0.0.0/8 (loopback, RFC 1122)"),
    ("169.254.169.254", "169.254.0.0/16 (link-local, RFC 3927)"),
    (
        "192.0.0.8",
        "192.0.0.0/24 (IETF protocol assignments, RFC 6890)",
    ),
    (
        "192.0.0.9",
        "192.0.0.0/24 (IETF protocol assignments, RFC 6890)",
    ),
    ("198.18.0.0/15", "198.18.0.0/15 (benchmarking, RFC 2544)"),
    ("198.19.255.255", "198.18.0.0/15 (benchmarking, RFC 2544)"),
    ("224.0.0.1", "224.0.0.0/4 (multicast, RFC 5771)"),
    ("239.255.255.0/24", "224.0.0.0/4 (multicast, RFC 5771)"),
    (
        "240.0.0.1",
        "240.0.0.0/4 (reserved and broadcast, RFC 1112)",
    ),
    (
        "255.255.255.255",
        "240.0.0.0/4 (reserved and broadcast, RFC 1112)",
    ),
    ("0.0.0.0/0", "is every address"),
    ("203.0.113.7/0", "is every address"),
    // R8: IPv6.
    ("2001:db8::1", "only IPv4 is supported"),
    ("2001:db8::/32", "only IPv4 is supported"),
    ("::", "only IPv4 is supported"),
    ("::/0", "only IPv4 is supported"),
    ("::ffff:203.0.113.7", "only IPv4 is supported"),
    ("::ffff:203.0.113.0/120", "only IPv4 is supported"),
    ("64:ff9b::203.0.113.7", "only IPv4 is supported"),
    ("fe80::1%eth0", "only IPv4 is supported"),
    ("203.0.113.7:443", "without a port"),
    // R8: malformed.
    ("", "is empty"),
    ("203.0.113.7%eth0", "carries a zone id"),
    (" 203.0.113.7", "holds white space"),
    ("203.0.113.7 ", "holds white space"),
    ("203.0.113.0 /24", "holds white space"),
    ("203.0.113.7\n", "holds white space"),
    (
        "203.0.113.07",
        "leading zero, which some programs read as octal",
    ),
    (
        "0203.0.113.7",
        "leading zero, which some programs read as octal",
    ),
    ("0xcb.0.113.7", "hexadecimal"),
    ("0xcb007107", "hexadecimal"),
    ("203.0.113", "short form"),
    ("203.0/16", "short form"),
    ("3405803783", "short form"),
    (
        "203.0.113.0/33",
        "prefix length that is not a plain number from 1 to 32",
    ),
    (
        "203.0.113.0/",
        "prefix length that is not a plain number from 1 to 32",
    ),
    (
        "203.0.113.0/024",
        "prefix length that is not a plain number from 1 to 32",
    ),
    (
        "203.0.113.0/00",
        "prefix length that is not a plain number from 1 to 32",
    ),
    (
        "203.0.113.0/01",
        "prefix length that is not a plain number from 1 to 32",
    ),
    ("203.0.113.0/+24", "is not an address"),
    ("203.0.113.0/-1", "is not an address"),
    (
        "203.0.113.0/255.255.255.0",
        "prefix length that is not a plain number from 1 to 32",
    ),
    (
        "203.0.113.0/24/24",
        "prefix length that is not a plain number from 1 to 32",
    ),
    ("203.0.113.256", "has a number above 255"),
    ("203.0.113.7.1", "is not four numbers"),
    ("203.0.113.", "is not four numbers"),
    ("203.0..7", "is not four numbers"),
    ("203.0.113.*", "is not an address"),
    ("203.0.113.1-203.0.113.9", "is not an address"),
    ("-203.0.113.7", "is not an address"),
    ("vault.example.com", "is not an address"),
    ("２０３.0.113.7", "is not an address"),
    ("203.0.113.1/24", "has bits set beyond its prefix"),
    ("203.0.113.5/30", "has bits set beyond its prefix"),
];

/// Address prefixes of a subnet.
const SUBNET_PREFIXES: &[(&str, &str)] = &[
    ("10.0.0.0/8", ACCEPTED),
    ("10.20.0.0/16", ACCEPTED),
    ("172.16.0.0/12", ACCEPTED),
    ("192.168.7.9", ACCEPTED),
    ("192.168.7.9/32", ACCEPTED),
    ("100.64.0.0/10", ACCEPTED),
    ("127.0.0.0/8", ACCEPTED),
    ("127.0.0.2", ACCEPTED),
    ("203.0.113.0/24", "belong into spec.ipRules"),
    ("8.8.8.8", "belong into spec.ipRules"),
    ("8.0.0.0/6", "is not wholly inside"),
    ("172.0.0.0/8", "is not wholly inside"),
    ("100.0.0.0/8", "is not wholly inside"),
    ("169.254.0.0/16", "is not wholly inside"),
    ("0.0.0.0/0", "is every address"),
    ("10.20.0.1/16", "has bits set beyond its prefix"),
    ("010.20.0.0/16", "octal"),
    ("10.20/16", "short form"),
    ("fd00::/8", "only IPv4 is supported"),
    ("::ffff:10.0.0.1", "only IPv4 is supported"),
    ("", "is empty"),
];

/// Trusted proxies.
const TRUSTED_PROXIES: &[(&str, &str)] = &[
    ("203.0.113.7", ACCEPTED),
    ("10.0.0.0/8", ACCEPTED),
    ("127.0.0.1/32", ACCEPTED),
    ("192.168.1.6/31", ACCEPTED),
    (
        "0.0.0.0/0",
        "is every address; anybody could send a client address",
    ),
    ("0.0.0.0", "touches 0.0.0.0/8"),
    ("128.0.0.0/1", "touches 224.0.0.0/4"),
    ("224.0.0.1", "touches 224.0.0.0/4"),
    ("255.255.255.255", "touches 240.0.0.0/4"),
    ("10.0.0.1/8", "has bits set beyond its prefix"),
    ("2001:db8::1", "only IPv4 is supported"),
    ("10.0.0.1 ", "holds white space"),
];

struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    fn new() -> Self {
        Self(
            api::custom_resource_definitions()
                .into_iter()
                .map(|crd| {
                    let schema = crd.spec.versions[0]
                        .schema
                        .clone()
                        .unwrap()
                        .open_api_v3_schema
                        .unwrap();
                    (crd.spec.names.kind, serde_json::to_value(schema).unwrap())
                })
                .collect(),
        )
    }

    /// Field paths and messages of all refusals.
    fn refusals(&self, object: &Value) -> Vec<(String, String)> {
        let schema = &self.0[object["kind"].as_str().unwrap()];
        match Validator::new().validate(schema, object, None) {
            Ok(()) => Vec::new(),
            Err(errors) => errors
                .into_iter()
                .map(|error| {
                    let text = format!("{:?}", error.kind);
                    assert_eq!(
                        text, "ValidationFailure",
                        "a rule must not fail by itself: {error}"
                    );
                    (error.field_path, error.message)
                })
                .collect(),
        }
    }

    /// Checks one row: the rules' verdict and message, and that validation has the same verdict.
    fn check(&self, label: &str, object: &Value, field: &str, expected: &str) {
        let refusals = self.refusals(object);
        let violations = violations(object);
        if expected == ACCEPTED {
            assert_eq!(refusals, [], "{label}: refused by the CRD");
            assert_eq!(
                violations,
                Vec::<String>::new(),
                "{label}: refused by validation"
            );
            return;
        }
        assert!(
            refusals
                .iter()
                .any(|(path, message)| path == field && message.contains(expected)),
            "{label}: expected {expected:?} at {field}, got {refusals:#?}"
        );
        assert!(
            !violations.is_empty(),
            "{label}: accepted by validation, the CRD says {refusals:#?}"
        );
    }
}

/// Fields that `policy::validate` refuses.
fn violations(object: &Value) -> Vec<String> {
    let fields = |violations: Vec<vaultwall::policy::Violation>| {
        violations
            .into_iter()
            .map(|violation| format!("{}: {}", violation.field, violation.message))
            .collect()
    };
    if object["kind"] == "VirtualNetwork" {
        let network: VirtualNetwork = serde_json::from_value(object.clone()).unwrap();
        validate_virtual_network(&network).map_or_else(fields, |_| Vec::new())
    } else {
        let policy: VaultNetworkPolicy = serde_json::from_value(object.clone()).unwrap();
        validate_policy(&policy, &Limits::default()).map_or_else(fields, |_| Vec::new())
    }
}

fn policy(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VaultNetworkPolicy",
        "metadata": {"name": "openbao", "namespace": "vault"},
        "spec": {"targetRef": {"name": "openbao", "port": 8200}},
    });
    object["spec"]
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    object
}

fn network(subnet: &Value) -> Value {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VirtualNetwork",
        "metadata": {"name": "corp"},
        "spec": {"subnets": [subnet]},
    })
}

#[test]
fn values_of_ip_rules() {
    let schemas = Schemas::new();
    for (value, expected) in IP_RULE_VALUES {
        let object = policy(&json!({"ipRules": [{"value": value}]}));
        schemas.check(
            &format!("{value:?}"),
            &object,
            "spec.ipRules[0].value",
            expected,
        );
    }
}

#[test]
fn prefixes_of_subnets() {
    let schemas = Schemas::new();
    for (value, expected) in SUBNET_PREFIXES {
        let object = network(&json!({"name": "dc", "addressPrefixes": [value]}));
        schemas.check(
            &format!("{value:?}"),
            &object,
            "spec.subnets[0].addressPrefixes[0]",
            expected,
        );
    }
}

#[test]
fn trusted_proxies() {
    let schemas = Schemas::new();
    for (value, expected) in TRUSTED_PROXIES {
        let object = policy(
            &json!({"clientAddress": {"source": "XForwardedFor", "trustedProxies": [value]}}),
        );
        schemas.check(
            &format!("{value:?}"),
            &object,
            "spec.clientAddress.trustedProxies[0]",
            expected,
        );
    }
}

#[test]
fn shapes_of_policies() {
    let selector = |requirement: Value| json!({"podSelector": {"matchExpressions": [requirement]}});
    let requirement = "spec.virtualNetworkRules[0].pods.podSelector.matchExpressions[0]";
    let rules = [
        (
            json!({"subnet": {"virtualNetwork": "corp", "name": "build"}}),
            "",
            ACCEPTED,
        ),
        (json!({"pods": {"podSelector": {}}}), "", ACCEPTED),
        (json!({"pods": {"namespaceSelector": {}}}), "", ACCEPTED),
        (
            json!({}),
            "spec.virtualNetworkRules[0]",
            "has neither subnet nor pods",
        ),
        (
            json!({"subnet": {"virtualNetwork": "corp", "name": "build"}, "pods": {"podSelector": {}}}),
            "spec.virtualNetworkRules[0]",
            "has both subnet and pods",
        ),
        (
            json!({"pods": {}}),
            "spec.virtualNetworkRules[0].pods",
            "selects nothing",
        ),
        (
            json!({"subnet": {"virtualNetwork": "corp", "name": "Build"}}),
            "spec.virtualNetworkRules[0].subnet.name",
            "DNS label",
        ),
        (
            json!({"subnet": {"virtualNetwork": "corp_", "name": "build"}}),
            "spec.virtualNetworkRules[0].subnet.virtualNetwork",
            "DNS name",
        ),
        (
            json!({"pods": selector(json!({"key": "app", "operator": "In", "values": ["a"]}))}),
            "",
            ACCEPTED,
        ),
        (
            json!({"pods": selector(json!({"key": "app", "operator": "Exists"}))}),
            "",
            ACCEPTED,
        ),
        (
            json!({"pods": selector(json!({"key": "app", "operator": "In"}))}),
            requirement,
            "need at least one value",
        ),
        (
            json!({"pods": selector(json!({"key": "app", "operator": "NotIn", "values": []}))}),
            requirement,
            "need at least one value",
        ),
        (
            json!({"pods": selector(json!({"key": "app", "operator": "DoesNotExist", "values": ["a"]}))}),
            requirement,
            "take no values",
        ),
    ];
    let schemas = Schemas::new();
    for (rule, field, expected) in rules {
        let object = policy(&json!({"virtualNetworkRules": [rule]}));
        schemas.check(&rule.to_string(), &object, field, expected);
    }
    let proxies = "spec.clientAddress.trustedProxies";
    let specs = [
        (json!({}), "", ACCEPTED),
        (
            json!({"ipRules": [{"name": "hq", "value": "203.0.113.7"}]}),
            "",
            ACCEPTED,
        ),
        (
            json!({"ipRules": [{"name": "head office", "value": "203.0.113.7"}]}),
            "spec.ipRules[0].name",
            "cannot name a rule",
        ),
        (
            json!({"ipRules": [{}]}),
            "spec.ipRules[0]",
            "has neither value nor serviceTag",
        ),
        (
            json!({"ipRules": [{"value": "203.0.113.7", "serviceTag": "AzureDevOps"}]}),
            "spec.ipRules[0]",
            "has both value and serviceTag",
        ),
        (
            json!({"ipRules": [{"value": "203.0.113.7", "cloud": "Public"}]}),
            "spec.ipRules[0].cloud",
            "belongs to a service tag",
        ),
        (json!({"clientAddress": {}}), "", ACCEPTED),
        (
            json!({"clientAddress": {"source": "XForwardedFor"}}),
            proxies,
            "believed from listed proxies only",
        ),
        (
            json!({"clientAddress": {"source": "ProxyProtocol"}}),
            proxies,
            "believed from listed proxies only",
        ),
        (
            json!({"clientAddress": {"trustedProxies": ["203.0.113.7"]}}),
            proxies,
            "nobody is believed",
        ),
        (
            json!({"targetRef": {"name": "Open.Bao", "port": 8200}}),
            "spec.targetRef.name",
            "DNS label",
        ),
    ];
    for (spec, field, expected) in specs {
        schemas.check(&spec.to_string(), &policy(&spec), field, expected);
    }
}

#[test]
fn shapes_of_virtual_networks() {
    let rows = [
        (
            json!({"name": "build", "pods": {"namespaceSelector": {}, "podSelector": {}}}),
            "",
            ACCEPTED,
        ),
        (
            json!({"name": "dc", "addressPrefixes": ["10.0.0.0/8"], "serviceEndpoints": ["Vault"]}),
            "",
            ACCEPTED,
        ),
        (
            json!({"name": "build", "pods": {"podSelector": {}}}),
            "spec.subnets[0].pods",
            "namespaceSelector is missing",
        ),
        (
            json!({"name": "build", "pods": {}}),
            "spec.subnets[0].pods",
            "selects nothing",
        ),
        (
            json!({"name": "build"}),
            "spec.subnets[0]",
            "has neither pods nor addressPrefixes",
        ),
        (
            json!({"name": "dc", "pods": {"namespaceSelector": {}}, "addressPrefixes": ["10.0.0.0/8"]}),
            "spec.subnets[0]",
            "has both pods and addressPrefixes",
        ),
        (
            json!({"name": "a b", "addressPrefixes": ["10.0.0.0/8"]}),
            "spec.subnets[0].name",
            "DNS label",
        ),
    ];
    let schemas = Schemas::new();
    for (subnet, field, expected) in rows {
        schemas.check(&subnet.to_string(), &network(&subnet), field, expected);
    }
}

/// Random values near the edges of the special ranges: the rules and validation never differ. The seed is fixed, so a
/// failure comes again.
#[test]
fn rules_and_validation_agree_on_random_values() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let firsts = [
        0, 1, 9, 10, 11, 100, 126, 127, 128, 169, 172, 191, 192, 198, 203, 223, 224, 239, 240, 255,
    ];
    let seconds = [
        0, 1, 15, 16, 17, 18, 19, 20, 31, 32, 63, 64, 127, 128, 167, 168, 169, 253, 254, 255,
    ];
    let values: Vec<String> = (0..1000)
        .map(|_| {
            let address = format!(
                "{}.{}.{}.{}",
                firsts[random.random_range(0..firsts.len())],
                seconds[random.random_range(0..seconds.len())],
                [0, 0, 1, 2, 255][random.random_range(0..5)],
                [0, 0, 0, 1, 8, 255][random.random_range(0..6)],
            );
            match random.random_range(0..3) {
                0 => address,
                1 => format!("{address}/{}", random.random_range(0..=34)),
                _ => {
                    let network = format!("{address}/{}", random.random_range(1..=30));
                    network
                        .parse::<ipnet::Ipv4Net>()
                        .unwrap()
                        .trunc()
                        .to_string()
                }
            }
        })
        .collect();
    let schemas = Schemas::new();
    let rules: Vec<Value> = values.iter().map(|value| json!({"value": value})).collect();
    let refused = schemas.refusals(&policy(&json!({"ipRules": rules})));
    let mut accepted = 0;
    for (index, value) in values.iter().enumerate() {
        let field = format!("spec.ipRules[{index}].value");
        let by_rules = !refused.iter().any(|(path, _)| *path == field);
        let by_validation = vaultwall::policy::address::public_prefix(value).is_ok();
        assert_eq!(
            by_rules, by_validation,
            "{value}: accepted by the CRD and by validation, or by neither"
        );
        accepted += usize::from(by_rules);
    }
    assert!(
        (100..900).contains(&accepted),
        "both verdicts must occur often, {accepted} accepted"
    );
}

/// R5: the schema holds the ceilings.
#[test]
fn ceilings() {
    let schemas = Schemas::new();
    let spec = &schemas.0["VaultNetworkPolicy"]["properties"]["spec"]["properties"];
    assert_eq!(
        spec["virtualNetworkRules"]["maxItems"],
        Limits::VIRTUAL_NETWORK_RULES_CEILING
    );
    assert_eq!(spec["ipRules"]["maxItems"], Limits::IP_RULES_CEILING);
}

/// R5: the admission policy holds the limits of the installation.
#[test]
fn limits() {
    let default = Limits::default();
    let raised = Limits {
        virtual_network_rules: 200,
        ip_rules: 1000,
    };
    let rows = [
        (default, 127, 127, ACCEPTED),
        (
            default,
            0,
            128,
            "spec.ipRules has 128 rules, and the limit is 127",
        ),
        (
            default,
            128,
            0,
            "spec.virtualNetworkRules has 128 rules, and the limit is 127",
        ),
        (default, 0, 128, "vaultwall crds --max-ip-rules N"),
        (
            default,
            128,
            0,
            "vaultwall crds --max-virtual-network-rules N",
        ),
        (raised, 200, 1000, ACCEPTED),
        (
            raised,
            0,
            1001,
            "spec.ipRules has 1001 rules, and the limit is 1000",
        ),
        (raised, 0, 1001, "the highest limit there is"),
    ];
    for (limits, virtual_network_rules, ip_rules, expected) in rows {
        let object = with_rules(virtual_network_rules, ip_rules);
        let refusals = refused_by_limits(&limits, &object);
        if expected == ACCEPTED {
            assert_eq!(refusals, Vec::<String>::new());
        } else {
            assert!(
                refusals.iter().any(|message| message.contains(expected)),
                "{expected}: {refusals:?}"
            );
        }
        let parsed: VaultNetworkPolicy = serde_json::from_value(object).unwrap();
        assert_eq!(
            validate_policy(&parsed, &limits).is_ok(),
            expected == ACCEPTED,
            "{expected}"
        );
    }
}

/// After a limit was lowered, a policy above it can still be labelled and finalized.
#[test]
fn limits_look_at_changes_of_the_spec_alone() {
    let conditions = api::limits_policy(&Limits::default())
        .spec
        .unwrap()
        .match_conditions
        .unwrap();
    assert_eq!(conditions.len(), 1);
    let looks_at = |old: Option<Value>, new: Value| {
        let evaluator = VapEvaluator::builder().object(new);
        let evaluator = old
            .into_iter()
            .fold(evaluator, kube_cel::VapEvaluatorBuilder::old_object)
            .build();
        let results = evaluator.evaluate(&[VapExpression {
            expression: conditions[0].expression.clone(),
            message: None,
            message_expression: None,
        }]);
        results[0].passed
    };
    let mut labelled = with_rules(0, 200);
    labelled["metadata"]["labels"] = json!({"team": "a"});
    assert!(looks_at(None, with_rules(0, 1)), "a new policy");
    assert!(
        looks_at(Some(with_rules(0, 1)), with_rules(0, 2)),
        "another spec"
    );
    assert!(
        !looks_at(Some(with_rules(0, 200)), labelled),
        "another label"
    );
}

/// A policy with so many valid rules.
fn with_rules(virtual_network_rules: usize, ip_rules: usize) -> Value {
    let subnets: Vec<Value> = (0..virtual_network_rules)
        .map(|n| json!({"subnet": {"virtualNetwork": "corp", "name": format!("s{n}")}}))
        .collect();
    let addresses: Vec<Value> = (0..ip_rules)
        .map(|n| json!({"value": format!("8.8.{}.{}", n / 250, n % 250)}))
        .collect();
    policy(&json!({"virtualNetworkRules": subnets, "ipRules": addresses}))
}

fn refused_by_limits(limits: &Limits, object: &Value) -> Vec<String> {
    let expressions: Vec<VapExpression> = api::limits_policy(limits)
        .spec
        .unwrap()
        .validations
        .unwrap()
        .into_iter()
        .map(|validation| VapExpression {
            expression: validation.expression,
            message: validation.message,
            message_expression: validation.message_expression,
        })
        .collect();
    VapEvaluator::builder()
        .object(object.clone())
        .request(AdmissionRequest {
            operation: "CREATE".into(),
            ..AdmissionRequest::default()
        })
        .build()
        .evaluate(&expressions)
        .into_iter()
        .filter(|result| !result.passed)
        .map(|result| result.message.unwrap())
        .collect()
}
