//! Addresses and ranges, wherever a policy or network takes one.

use serde_json::{Value, json};

use super::{ACCEPTED, Row, network, policy};

/// Values of an IP rule.
const IP_RULE_VALUES: &[(&str, &str)] = &[
    // Single addresses and ranges of the public internet up to the edges of the special ranges.
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
    // Prefixes longer than /30, which are written as single addresses.
    ("203.0.113.6/31", "write single addresses"),
    ("203.0.113.7/32", "write single addresses"),
    // Private ranges.
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
    // Ranges that contain a private one.
    ("8.0.0.0/6", "overlaps 10.0.0.0/8 (private, RFC 1918)"),
    ("172.0.0.0/8", "overlaps 172.16.0.0/12 (private, RFC 1918)"),
    ("192.0.0.0/8", "overlaps 192.168.0.0/16 (private, RFC 1918)"),
    ("128.0.0.0/1", "overlaps 192.168.0.0/16 (private, RFC 1918)"),
    // Everything else that is not publicly routable.
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
    // IPv6.
    ("2001:db8::1", "only IPv4 is supported"),
    ("2001:db8::/32", "only IPv4 is supported"),
    ("::", "only IPv4 is supported"),
    ("::/0", "only IPv4 is supported"),
    ("::ffff:203.0.113.7", "only IPv4 is supported"),
    ("::ffff:203.0.113.0/120", "only IPv4 is supported"),
    ("64:ff9b::203.0.113.7", "only IPv4 is supported"),
    ("fe80::1%eth0", "only IPv4 is supported"),
    ("203.0.113.7:443", "without a port"),
    // Malformed.
    ("", "is empty"),
    ("203.0.113.7%eth0", "has a zone id"),
    (" 203.0.113.7", "contains white space"),
    ("203.0.113.7 ", "contains white space"),
    ("203.0.113.0 /24", "contains white space"),
    ("203.0.113.7\n", "contains white space"),
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
    ("203.0.113.0/24", "belong in spec.ipRules"),
    ("8.8.8.8", "belong in spec.ipRules"),
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
        "is every address; any caller could choose its client address",
    ),
    ("0.0.0.0", "overlaps 0.0.0.0/8"),
    ("128.0.0.0/1", "overlaps 224.0.0.0/4"),
    ("224.0.0.1", "overlaps 224.0.0.0/4"),
    ("255.255.255.255", "overlaps 240.0.0.0/4"),
    ("10.0.0.1/8", "has bits set beyond its prefix"),
    ("2001:db8::1", "only IPv4 is supported"),
    ("10.0.0.1 ", "contains white space"),
];

fn rows(
    values: &[(&'static str, &'static str)],
    field: &str,
    object: fn(&str) -> Value,
) -> Vec<Row> {
    values
        .iter()
        .map(|(value, expected)| Row {
            label: format!("{value:?}"),
            object: object(value),
            field: field.to_owned(),
            expected,
        })
        .collect()
}

pub fn ip_rules() -> Vec<Row> {
    rows(IP_RULE_VALUES, "spec.ipRules[0].value", |value| {
        policy(&json!({"ipRules": [{"value": value}]}))
    })
}

pub fn subnet_prefixes() -> Vec<Row> {
    let field = "spec.subnets[0].addressPrefixes[0]";
    rows(SUBNET_PREFIXES, field, |value| {
        network(&json!({"name": "dc", "addressPrefixes": [value]}))
    })
}

/// Refusals by the admission policy, for which the API server names no field.
pub fn trusted_proxies() -> Vec<Row> {
    let behind = |proxies: Value| {
        policy(&json!({"clientAddress": {"source": "XForwardedFor", "trustedProxies": proxies}}))
    };
    let texts = TRUSTED_PROXIES.iter().map(|(value, expected)| Row {
        label: format!("{value:?}"),
        object: behind(json!(["192.0.2.1", value])),
        field: String::new(),
        expected,
    });
    let selectors = selectors_of_proxies()
        .into_iter()
        .map(|(entry, expected)| Row {
            label: entry.to_string(),
            object: behind(json!(["192.0.2.1", entry, {"pods": {"podSelector": {}}}])),
            field: String::new(),
            expected,
        });
    let lists = [
        (
            json!({"source": "XForwardedFor"}),
            "is empty, but this source is trusted only from listed proxies",
        ),
        (
            json!({"source": "ProxyProtocol"}),
            "is empty, but this source is trusted only from listed proxies",
        ),
        (
            json!({"trustedProxies": ["203.0.113.7"]}),
            "is not used when the source is Direct",
        ),
        (
            json!({"source": "Direct", "trustedProxies": [{"pods": {"podSelector": {}}}]}),
            "is not used when the source is Direct",
        ),
    ];
    let lists = lists.into_iter().map(|(value, expected)| Row {
        label: value.to_string(),
        object: policy(&json!({"clientAddress": value})),
        field: String::new(),
        expected,
    });
    texts.chain(selectors).chain(lists).collect()
}

/// Trusted proxies that are pods.
fn selectors_of_proxies() -> Vec<(Value, &'static str)> {
    let with =
        |requirement: Value| json!({"pods": {"podSelector": {"matchExpressions": [requirement]}}});
    let labels = |labels: Value| json!({"pods": {"namespaceSelector": {"matchLabels": labels}}});
    let name = "kubernetes.io/metadata.name";
    vec![
        (labels(json!({name: "ingress-nginx"})), ACCEPTED),
        (
            json!({"pods": {"namespaceSelector": {}, "podSelector": {}}}),
            ACCEPTED,
        ),
        (
            with(json!({"key": "app", "operator": "In", "values": ["a"]})),
            ACCEPTED,
        ),
        (with(json!({"key": "app", "operator": "Exists"})), ACCEPTED),
        (json!({"pods": {}}), "has pods that select nothing"),
        (
            with(json!({"key": "app", "operator": "In"})),
            "these operators need at least one",
        ),
        (
            with(json!({"key": "app", "operator": "NotIn", "values": []})),
            "these operators need at least one",
        ),
        (
            with(json!({"key": "app", "operator": "Exists", "values": ["a"]})),
            "remove the values",
        ),
    ]
}
