//! `X-Forwarded-For` from a proxy whose own address is in an office's range: no client may pass as the proxy.

use std::net::Ipv4Addr;
use std::sync::Arc;

use vaultwall::policy::{ClientAddressSource, Firewall, Listener};

use crate::differential::firewalls::vault;
use crate::differential::hostile::sent;
use crate::differential::run::Case;
use crate::differential::wire::Sent;

/// An address in a rule, one in none, and ones of listed proxies.
const INSIDE: &str = "203.0.113.7";
const OUTSIDE: &str = "192.0.2.9";
const PROXY: &str = "127.20.0.3";
/// Chains by hand; each is a list of lines.
const CHAINS: &[&[&str]] = &[
    &[],
    &[""],
    &["", ""],
    &[INSIDE],
    &[OUTSIDE],
    &[INSIDE, OUTSIDE],
    &[OUTSIDE, INSIDE],
    &[INSIDE, ""],
    &["", INSIDE],
    &["203.0.113.7, 127.20.0.3"],
    &["203.0.113.7,\t127.20.0.3 ,"],
    &["203.0.113.7,,127.20.0.3"],
    &["203.0.113.7, 192.0.2.9, 127.20.0.3"],
    &["127.20.0.3, 127.20.0.4"],
    &["127.20.0.3", "127.20.9.9"],
    &["127.20.9.9"],
    &["203.0.113.7:80"],
    &["203.0.113.7:80, 127.20.0.3:9000"],
    &["192.0.2.9:1, ::ffff:203.0.113.7, [::ffff:127.20.0.3]:5"],
    &["192.0.2.9:80"],
    &["203.0.113.7, 192.0.2.9:80"],
    &["203.0.113.7:123456"],
    &["203.0.113.7:"],
    &["[::ffff:203.0.113.7]"],
    &["::FFFF:203.0.113.7"],
    &["::ffff:cb00:7107"],
    &["[2001:db8::1]:443, 203.0.113.7"],
    &["203.0.113.7, [2001:db8::1]:443"],
    &["203.0.113.7, \u{e9}"],
    &["[203.0.113.7]"],
    &["\"203.0.113.7\""],
    &["203.0.113.07"],
    &["::ffff:203.0.113.7"],
    &["::ffff:127.20.0.3"],
    &["203.0.113.7, ::1"],
    &["unknown"],
    &["unknown, 203.0.113.7"],
    &["203.0.113.7, unknown"],
];

/// The case: chains by hand and of every length around the longest that Envoy reads, from a proxy and from others.
pub fn case() -> Case {
    let mut firewall = Firewall {
        policies: vec!["policy".into()],
        client_address: ClientAddressSource::XForwardedFor {
            trusted_proxies: ["127.20.0.0/24".parse().unwrap()].into_iter().collect(),
        },
        ..Firewall::deny_all(vault(), 8200)
    };
    let rule = |name: &str| -> Arc<str> { format!("policy/ipRules/{name}").into() };
    let ranges = [
        ("127.20.0.0/16", "office"),
        ("127.20.0.5/32", "inside"),
        ("203.0.113.0/29", "hq"),
    ];
    for (range, name) in ranges {
        firewall.ip_rules.claim(range.parse().unwrap(), &rule(name));
    }
    let mut chains: Vec<Vec<String>> = CHAINS
        .iter()
        .map(|lines| lines.iter().map(ToString::to_string).collect())
        .collect();
    // Entries around the longest that is read, and one that patterns could take long for.
    for blanks in [50, 52, 53, 54, 3_000] {
        let blank = " ".repeat(blanks);
        for entry in [
            format!("x, {blank}{INSIDE}"),
            format!("{INSIDE}{blank},{PROXY}"),
            format!("1{blank}2"),
        ] {
            chains.push(vec![entry]);
        }
    }
    for length in 1..=25 {
        for last in [INSIDE, OUTSIDE, PROXY] {
            let mut chain = vec![PROXY; length - 1];
            chain.push(last);
            chains.push(vec![chain.join(",")]);
            chains.push(chain.iter().map(ToString::to_string).collect());
        }
    }
    let peers = [
        [127, 20, 0, 1],
        [127, 20, 0, 5],
        [127, 20, 1, 1],
        [127, 21, 0, 1],
    ]
    .map(Ipv4Addr::from);
    let requests = chains
        .iter()
        .flat_map(|chain| peers.map(|peer| request(chain, peer)));
    Case {
        name: "chains".into(),
        requests: requests.collect(),
        firewall,
    }
}

fn request(chain: &[String], peer: Ipv4Addr) -> Sent {
    let mut request = sent(Listener::Data, "GET", b"/v1/secret/data/a", &[]);
    request.from = peer;
    let lines = chain
        .iter()
        .map(|line| ("X-Forwarded-For".to_owned(), line.clone().into_bytes()));
    request.headers.extend(lines);
    request
}
