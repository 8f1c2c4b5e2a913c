//! After any sequence of events, the index equals a new index of the current objects, and a computation without any
//! cache. A vault that is not reported as changed has not changed.

use std::collections::BTreeMap;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::event::Event;
use crate::index::{Index, VaultResolution};
use crate::limits::Limits;
use crate::policy::fixtures::*;
use crate::policy::{
    NetworkRuleSource, PodGroup, ProxySource, SubnetMembers, ValidatedPolicy,
    ValidatedVirtualNetwork, VaultId,
};

const NAMESPACES: [&str; 4] = ["red", "green", "shop", "blog"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const LABELS: [&str; 4] = ["", "app=web", "app=api", "app=web,tier=front"];
const NAMESPACE_LABELS: [&str; 4] = [
    "",
    "team=x",
    "vaultwall.dev/service-endpoint=enabled",
    "team=x,vaultwall.dev/service-endpoint=enabled",
];
/// Few, so that several pods often have the same address.
const ADDRESSES: [&str; 6] = [
    "",
    "10.1.0.1",
    "10.1.0.2",
    "10.1.0.3",
    "10.1.0.1 10.1.0.4",
    "10.1.0.5",
];
const NETWORKS: [&str; 2] = ["corp", "lab"];
const SUBNETS: [&str; 3] = ["s", "t", "u"];

/// Current objects: kind and name → the event that created or changed the object.
type Current = BTreeMap<(&'static str, String), Event>;

struct Chance(ChaCha8Rng);

impl Chance {
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        *list.choose(&mut self.0).unwrap()
    }

    fn group(&mut self, own_namespace: bool) -> PodGroup {
        let namespaces = [
            Some(""),
            Some("team=x"),
            Some("kubernetes.io/metadata.name=shop"),
            None,
        ];
        let known = if own_namespace {
            &namespaces[..]
        } else {
            &namespaces[..3]
        };
        pods(self.of(known), self.of(&LABELS))
    }

    fn network(&mut self) -> ValidatedVirtualNetwork {
        let count = self.0.random_range(0..=3);
        let subnets = SUBNETS.into_iter().take(count).map(|name| {
            let members = if self.0.random_bool(0.7) {
                SubnetMembers::Pods(self.group(false))
            } else {
                prefixes(&[self.of(&["10.1.0.0/16", "10.1.0.0/30", "10.1.0.1/32"])])
            };
            subnet(name, self.0.random_bool(0.7), members)
        });
        let subnets = subnets.collect();
        network(self.of(&NETWORKS), subnets)
    }

    fn policy(&mut self) -> ValidatedPolicy {
        let day = self.0.random_range(1..=4);
        let mut policy = policy(self.of(&NAMES), day);
        policy.vault = VaultId {
            namespace: self.of(&NAMESPACES[..2]).into(),
            service: self.of(&["vault", "openbao"]).into(),
        };
        for _ in 0..self.0.random_range(0..=3) {
            let source = if self.0.random_bool(0.5) {
                NetworkRuleSource::Pods(self.group(true))
            } else {
                NetworkRuleSource::Subnet {
                    virtual_network: self.of(&NETWORKS).into(),
                    subnet: self.of(&SUBNETS).into(),
                }
            };
            policy = policy.rule(source, self.0.random_bool(0.3));
        }
        for _ in 0..self.0.random_range(0..=2) {
            let source = if self.0.random_bool(0.5) {
                ProxySource::Pods(self.group(true))
            } else {
                let ranges = ["10.1.0.0/16", "10.1.0.0/30", "10.1.0.4/31", "10.1.0.1"];
                ProxySource::Range(net(self.of(&ranges)))
            };
            policy = policy.behind(source);
        }
        policy
    }

    fn event(&mut self) -> Event {
        match self.0.random_range(0..20) {
            0..=9 => Event::Pod(
                self.of(&NAMESPACES),
                self.of(&NAMES),
                self.of(&LABELS),
                self.of(&ADDRESSES),
            ),
            10..=11 => Event::PodDeleted(self.of(&NAMESPACES), self.of(&NAMES)),
            12..=13 => Event::Namespace(self.of(&NAMESPACES), self.of(&NAMESPACE_LABELS)),
            14 => Event::NamespaceDeleted(self.of(&NAMESPACES)),
            15 => Event::Network(self.network()),
            16 => Event::NetworkDeleted(self.of(&NETWORKS)),
            17..=18 => Event::Policy(self.policy()),
            _ => Event::PolicyDeleted(self.of(&NAMESPACES[..2]), self.of(&NAMES)),
        }
    }
}

fn record(current: &mut Current, event: &Event) {
    let (key, exists) = match event {
        Event::Namespace(name, _) => (("namespace", (*name).to_owned()), true),
        Event::NamespaceDeleted(name) => (("namespace", (*name).to_owned()), false),
        Event::Pod(namespace, name, ..) => (("pod", format!("{namespace}/{name}")), true),
        Event::PodDeleted(namespace, name) => (("pod", format!("{namespace}/{name}")), false),
        Event::Network(network) => (("network", network.name.clone()), true),
        Event::NetworkDeleted(name) => (("network", (*name).to_owned()), false),
        Event::Policy(policy) => (
            (
                "policy",
                format!("{}/{}", policy.vault.namespace, policy.name),
            ),
            true,
        ),
        Event::PolicyDeleted(namespace, name) => (("policy", format!("{namespace}/{name}")), false),
        other => panic!("not in this test: {other:?}"),
    };
    if exists {
        current.insert(key, event.clone());
    } else {
        current.remove(&key);
    }
}

fn resolve_all(index: &mut Index) -> BTreeMap<VaultId, VaultResolution> {
    let vaults: Vec<VaultId> = index.vaults().cloned().collect();
    vaults
        .into_iter()
        .map(|vault| (vault.clone(), index.resolve(&vault).unwrap()))
        .collect()
}

/// Resolves a vault without the index.
fn resolve_without_index(current: &Current, vault: &VaultId) -> crate::policy::Resolution {
    let mut facts = PlainMembership::default();
    let (mut policies, mut networks) = (Vec::new(), Vec::new());
    for event in current.values() {
        match event {
            Event::Namespace(name, text) => {
                let mut labels = labels(text);
                labels.insert("kubernetes.io/metadata.name".into(), (*name).into());
                facts.namespaces.insert((*name).into(), labels);
            }
            Event::Pod(namespace, name, text, addresses) if !addresses.is_empty() => {
                let addresses = addresses
                    .split(' ')
                    .map(|address| address.parse().unwrap())
                    .collect();
                facts.pods.insert(
                    ((*namespace).into(), (*name).into()),
                    (labels(text), addresses),
                );
            }
            Event::Network(network) => networks.push(network.clone()),
            Event::Policy(policy) if policy.vault == *vault => policies.push(policy.clone()),
            _ => {}
        }
    }
    facts.resolve_for(vault, &policies, &networks, Limits::default(), &[])
}

#[test]
fn every_step_equals_a_new_index_of_the_same_objects() {
    for seed in 0..20_u64 {
        println!("seed {seed}");
        let mut chance = Chance(ChaCha8Rng::seed_from_u64(seed));
        let mut index = Index::default();
        let mut current = Current::new();
        let mut before = BTreeMap::new();
        let mut reported_and_same = 0;
        for step in 0..100 {
            let event = chance.event();
            let words = format!("seed {seed}, step {step}: {event:?}");
            record(&mut current, &event);
            event.apply_to(&mut index);
            let changed = index.take_changed();
            let after = resolve_all(&mut index);

            assert!(index.membership.is_tidy(), "{words}");

            let mut events: Vec<&Event> = current.values().collect();
            events.shuffle(&mut chance.0);
            let mut scratch = Index::default();
            for event in events {
                event.clone().apply_to(&mut scratch);
            }
            assert_eq!(after, resolve_all(&mut scratch), "{words}");

            for vault in after.keys().chain(before.keys()) {
                if !changed.contains(vault) {
                    assert_eq!(
                        after.get(vault),
                        before.get(vault),
                        "{words}: {vault} was not reported"
                    );
                } else if after.get(vault) == before.get(vault) {
                    reported_and_same += 1;
                }
            }
            for (vault, resolved) in &after {
                assert_eq!(
                    resolved.resolution,
                    resolve_without_index(&current, vault),
                    "{words}: {vault}"
                );
            }
            before = after;
        }
        println!("{reported_and_same} times a vault was reported and stayed the same");
    }
}
