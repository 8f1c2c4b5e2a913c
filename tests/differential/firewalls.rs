//! Firewalls that validation would accept, but for their IP rules, which may be loopback addresses so that peers of a
//! test can be in them.

use std::sync::Arc;

use ipnet::Ipv4Net;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use vaultwall::policy::{
    AddressRules, ClientAddressSource, DefaultAction, Engine, EngineNamespace, EngineType,
    Firewall, ManagementAccess, Mode, TokenCreation, TrustedProxies, VaultId,
};

use crate::differential::addresses::within;
use crate::differential::grants::grants;

/// Mounts with beginnings in common, with each other and with the vault's own paths.
const MOUNTS: &[&str] = &[
    "secret",
    "secrets",
    "kv",
    "kv2",
    "kv-v2",
    "kv.v2",
    "team/kv",
    "team/kv2",
    "team",
    "tea",
    "transit",
    "transit2",
    "pki",
    "pki_int",
    "cubbyhole",
    "db",
    "s",
    "sysx",
    "authz",
    "identities",
    "deep/er/mount",
    "kv/nested",
];
const NAMESPACES: &[&str] = &[
    "ns1",
    "ns",
    "ns1/sub",
    "team-a",
    "a",
    "a/b",
    "a/b/c",
    "dev.x~y_z",
    "rooted",
    "system",
    "b",
    "NS1",
    "authors",
    "identity-x",
    "team-a/kv3",
];
const AUTH_MOUNTS: &[&str] = &[
    "eu/k8s",
    "eu/c1/k8s",
    "cluster1/team-a.jwt",
    "a/b/c/d",
    "x-y/ns1",
];
const TYPES: [EngineType; 7] = [
    EngineType::KvV1,
    EngineType::KvV2,
    EngineType::Cubbyhole,
    EngineType::Transit,
    EngineType::Pki,
    EngineType::Database,
    EngineType::Other,
];

/// A firewall.
pub fn firewall(rng: &mut ChaCha8Rng) -> Firewall {
    let namespaces = namespaces(rng);
    let engines = engines(rng, &namespaces);
    Firewall {
        policies: vec!["policy".into()],
        engines,
        auth_mounts: auth_mounts(rng),
        token_creation: *[
            TokenCreation::Disabled,
            TokenCreation::ChildTokens,
            TokenCreation::AllTokens,
        ]
        .choose(rng)
        .unwrap(),
        namespaces,
        default_action: if rng.random_bool(0.35) {
            DefaultAction::Allow
        } else {
            DefaultAction::Deny
        },
        virtual_networks: rules(rng, "virtualNetworkRules", &["127.0.0.0/8", "10.0.0.0/8"]),
        ip_rules: rules(
            rng,
            "ipRules",
            &["127.0.0.0/8", "203.0.113.0/24", "198.51.100.0/22"],
        ),
        grants: grants(rng),
        client_address: client_address(rng),
        management: *[
            ManagementAccess::Unrestricted,
            ManagementAccess::NetworkRules,
            ManagementAccess::NetworkRules,
            ManagementAccess::Disabled,
        ]
        .choose(rng)
        .unwrap(),
        mode: mode(rng),
        ..Firewall::deny_all(vault(), 8200)
    }
}

/// The mode. It takes no number from the generator, so that requests and firewalls are as without it.
fn mode(rng: &ChaCha8Rng) -> Mode {
    if rng.clone().random_bool(0.3) {
        Mode::Audit
    } else {
        Mode::Enforced
    }
}

/// The vault of all these firewalls.
pub fn vault() -> VaultId {
    VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    }
}

fn auth_mounts(rng: &mut ChaCha8Rng) -> Vec<String> {
    let count = rng.random_range(0..=3);
    AUTH_MOUNTS
        .choose_multiple(rng, count)
        .map(|mount| (*mount).to_owned())
        .collect()
}

fn namespaces(rng: &mut ChaCha8Rng) -> Vec<String> {
    let count = rng.random_range(0..=4);
    NAMESPACES
        .choose_multiple(rng, count)
        .map(|name| (*name).to_owned())
        .collect()
}

fn engines(rng: &mut ChaCha8Rng, namespaces: &[String]) -> Vec<Engine> {
    let mut engines: Vec<Engine> = Vec::new();
    for _ in 0..rng.random_range(0..=9) {
        let namespace = match rng.random_range(0..4) {
            0 if !namespaces.is_empty() => EngineNamespace::EveryListed,
            1 if !namespaces.is_empty() => {
                EngineNamespace::Named(namespaces.choose(rng).unwrap().clone())
            }
            _ => EngineNamespace::Root,
        };
        let engine = Engine {
            path: (*MOUNTS.choose(rng).unwrap()).to_owned(),
            engine_type: *TYPES.choose(rng).unwrap(),
            namespace,
        };
        let overlaps = engines.iter().any(|other| {
            let apart = match (&engine.namespace, &other.namespace) {
                (EngineNamespace::Named(one), EngineNamespace::Named(other)) => one != other,
                (one, other) => {
                    (*one == EngineNamespace::Root) != (*other == EngineNamespace::Root)
                }
            };
            !apart && (beneath(&engine.path, &other.path) || beneath(&other.path, &engine.path))
        });
        let mistaken = namespaces
            .iter()
            .any(|name| beneath(&engine.path, name) || beneath(name, &engine.path));
        if !overlaps && !mistaken {
            engines.push(engine);
        }
    }
    engines
}

fn beneath(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Prefixes of every length, many of them inside one another, of rules that may have several.
fn rules(rng: &mut ChaCha8Rng, kind: &str, roots: &[&str]) -> AddressRules {
    let mut rules = AddressRules::default();
    let mut prefixes: Vec<Ipv4Net> = roots.iter().map(|root| root.parse().unwrap()).collect();
    for _ in 0..rng.random_range(0..=14) {
        let parent = *prefixes.choose(rng).unwrap();
        let longest = if rng.random_bool(0.4) { 32 } else { 31 };
        let length = rng.random_range(parent.prefix_len().min(longest)..=longest);
        let prefix = Ipv4Net::new(within(rng, parent), length).unwrap().trunc();
        prefixes.push(prefix);
        let rule: Arc<str> = format!("policy/{kind}/rule {}", rng.random_range(0..8)).into();
        rules.claim(prefix, &rule);
    }
    rules
}

fn client_address(rng: &mut ChaCha8Rng) -> ClientAddressSource {
    if rng.random_bool(0.4) {
        return ClientAddressSource::Direct;
    }
    let proxies = [
        "127.20.0.0/16",
        "127.0.0.1/32",
        "127.20.30.0/24",
        "127.64.0.0/10",
        "10.0.0.0/8",
        "203.0.113.128/25",
    ];
    // Ranges, pods, or both. Some pods are in a range, next to one another, or in IP rules.
    let ranges = rng.random_range(0..=3);
    let pods = if ranges == 0 {
        rng.random_range(1..=40)
    } else {
        rng.random_range(0..=5)
    };
    let mut trusted_proxies: TrustedProxies = proxies
        .choose_multiple(rng, ranges)
        .map(|proxy| proxy.parse().unwrap())
        .collect();
    for _ in 0..pods {
        let network = ["127.20.0.0/16", "127.30.0.0/27", "203.0.113.0/24"]
            .choose(rng)
            .unwrap();
        let address = within(rng, network.parse().unwrap());
        trusted_proxies.pods.insert(address);
    }
    ClientAddressSource::XForwardedFor { trusted_proxies }
}
