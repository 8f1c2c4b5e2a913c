//! After any sequence of events, the identities of each vault equal a computation without the index, and a vault that
//! is not reported as changed has the same ones as before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::api::SERVICE_ACCOUNT_LABEL;
use crate::policy::{
    AccountLabels, BypassSettings, Identity, ServiceIdentity, ValidatedScenario,
    ValidatedTrustedService,
};

const NAMESPACES: [&str; 4] = ["red", "green", "shop", "blog"];
const NAMES: [&str; 3] = ["a", "b", "c"];
const SUBSCRIPTIONS: [&str; 3] = ["", "one", "two"];
/// Few, so that several pods often have the same address.
const ADDRESSES: [&str; 4] = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"];

/// Current objects.
#[derive(Clone, Default)]
struct World {
    /// Subscription of each namespace, `""` for none.
    namespaces: BTreeMap<&'static str, &'static str>,
    /// Account and address of each pod, by namespace and name.
    pods: BTreeMap<(&'static str, &'static str), (&'static str, &'static str)>,
    services: BTreeMap<&'static str, ValidatedTrustedService>,
    policies: BTreeMap<(&'static str, &'static str), ValidatedPolicy>,
}

struct Chance(ChaCha8Rng);

impl Chance {
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        *list.choose(&mut self.0).unwrap()
    }

    fn identities(&mut self) -> Vec<ServiceIdentity> {
        let count = self.0.random_range(0..=2);
        let identity = |_| {
            if self.0.random_bool(0.5) {
                ServiceIdentity::RegisteredResource(self.of(&NAMES).into())
            } else {
                ServiceIdentity::ServiceAccount(name(self.of(&NAMESPACES), self.of(&NAMES)))
            }
        };
        (0..count).map(identity).collect()
    }

    fn service(&mut self) -> ValidatedTrustedService {
        ValidatedTrustedService {
            name: self.of(&NAMES).into(),
            scenarios: vec![ValidatedScenario {
                name: "read".into(),
                operations: ["secrets/get".to_owned()].into(),
            }],
            identities: self.identities(),
        }
    }

    fn policy(&mut self) -> ValidatedPolicy {
        let names = match self.0.random_range(0..3) {
            0 => None,
            count => Some((0..count).map(|_| self.of(&NAMES).to_owned()).collect()),
        };
        let bypass = self.0.random_bool(0.7).then_some(BypassSettings { names });
        let operators = self.identities();
        on(self.of(&NAMESPACES), self.of(&NAMES)).with(|policy| {
            policy.bypass = bypass;
            policy.operators = operators;
        })
    }

    /// Changes an object in the index and in the world.
    fn change(&mut self, index: &mut Index, world: &mut World) {
        let (namespace, own) = (self.of(&NAMESPACES), self.of(&NAMES));
        match self.0.random_range(0..12) {
            0..=4 => {
                let (account, address) = (self.of(&NAMES), self.of(&ADDRESSES));
                let label = [("", ""), (SERVICE_ACCOUNT_LABEL, self.of(&NAMES))];
                let (key, value) = self.of(&label);
                let labels = [(key.to_owned(), value.to_owned())];
                world.pods.insert((namespace, own), (account, address));
                index.apply(ObservedPod::Counted(PodFact {
                    namespace: namespace.into(),
                    name: own.into(),
                    uid: None,
                    labels: labels.into(),
                    service_account: account.into(),
                    addresses: vec![address.parse().unwrap()],
                }));
            }
            5 => {
                world.pods.remove(&(namespace, own));
                index.delete(&Key::new(Kind::Pod, name(namespace, own)));
            }
            6..=7 => {
                let subscription = self.of(&SUBSCRIPTIONS);
                world.namespaces.insert(namespace, subscription);
                let label = format!("vaultwall.dev/subscription={subscription}");
                index.apply(NamespaceFact {
                    name: namespace.into(),
                    labels: labels(&label),
                    terminating: false,
                });
            }
            8 => {
                let service = self.service();
                world.services.insert(own, service.clone());
                index.apply(ValidatedTrustedService {
                    name: own.into(),
                    ..service
                });
            }
            9 => {
                world.services.remove(own);
                let key = Key::new(Kind::TrustedService, ObjectName::cluster_scoped(own));
                index.delete(&key);
            }
            10 => {
                let policy = self.policy();
                let namespace = NAMESPACES
                    .into_iter()
                    .find(|one| *one == policy.vault.namespace);
                let own = NAMES.into_iter().find(|one| *one == policy.name);
                let key = (namespace.unwrap(), own.unwrap());
                world.policies.insert(key, policy.clone());
                index.apply(policy);
            }
            _ => {
                world.policies.remove(&(namespace, own));
                index.delete(&Key::new(Kind::VaultNetworkPolicy, name(namespace, own)));
            }
        }
    }
}

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

impl World {
    /// Accounts that identities name for a vault in a namespace.
    fn accounts(&self, identities: &[ServiceIdentity], vault: &str) -> BTreeSet<Identity> {
        let own = self.namespaces.get(vault).copied().unwrap_or_default();
        let mut accounts = BTreeSet::new();
        for identity in identities {
            match identity {
                ServiceIdentity::ServiceAccount(account) => {
                    accounts.insert(Identity::Pod(Arc::new(account.clone())));
                }
                ServiceIdentity::RegisteredResource(account) => {
                    for (namespace, subscription) in &self.namespaces {
                        if !own.is_empty() && *subscription == own {
                            let account = name(namespace, account);
                            accounts.insert(Identity::Pod(Arc::new(account)));
                        }
                    }
                }
                ServiceIdentity::FederatedCredential(_) => panic!("not in this test"),
            }
        }
        accounts
    }

    /// Holders of each service and of critical operations, and the addresses of all holders.
    fn expected(&self, vault: &VaultId) -> Expected {
        let policies = self
            .policies
            .values()
            .filter(|policy| policy.vault == *vault);
        let mut policies: Vec<&ValidatedPolicy> = policies.collect();
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        let mut services = BTreeMap::new();
        for policy in &policies {
            for (service, validated) in &self.services {
                let lets_in = policy.bypass.as_ref().is_some_and(|bypass| {
                    let names = bypass.names.as_ref();
                    names.is_none_or(|names| names.contains(*service))
                });
                if lets_in {
                    let holders = self.accounts(&validated.identities, &vault.namespace);
                    services.insert((*service).to_owned(), holders);
                }
            }
        }
        let oldest = policies.first().unwrap();
        let operators = self.accounts(&oldest.operators, &vault.namespace);
        let holders: BTreeSet<&Identity> = services.values().flatten().chain(&operators).collect();
        let mut pods = BTreeMap::new();
        for address in ADDRESSES {
            let claims = self.pods.iter().filter(|(_, (_, own))| *own == address);
            let accounts = claims.map(|((namespace, _), (account, _))| name(namespace, account));
            let accounts: BTreeSet<ObjectName> = accounts.collect();
            let only = accounts.first().filter(|_| accounts.len() == 1);
            if let Some(account) = only
                && holders.contains(&Identity::Pod(Arc::new(account.clone())))
            {
                pods.insert(address.parse().unwrap(), account.clone());
            }
        }
        (services, operators, pods)
    }
}

type Expected = (
    BTreeMap<String, BTreeSet<Identity>>,
    BTreeSet<Identity>,
    BTreeMap<Ipv4Addr, ObjectName>,
);

fn found(index: &mut Index, vault: &VaultId) -> Expected {
    let grants = index.resolve(vault).unwrap().resolution.firewall.grants;
    let services = grants.services();
    let services = services.map(|grant| (grant.service.name.to_string(), grant.holders.clone()));
    let pods = grants.pods.iter();
    let pods = pods.map(|(address, account)| (*address, (**account).clone()));
    (
        services.collect(),
        grants.operators.clone().unwrap_or_default(),
        pods.collect(),
    )
}

#[test]
fn every_step_equals_a_computation_without_the_index() {
    let mut seen = [0, 0];
    for seed in 0..20_u64 {
        println!("seed {seed}");
        let mut chance = Chance(ChaCha8Rng::seed_from_u64(seed));
        let (mut index, mut world) = (Index::default(), World::default());
        index.keep_labels(AccountLabels::InForce);
        let mut before: BTreeMap<VaultId, Expected> = BTreeMap::new();
        for step in 0..200 {
            chance.change(&mut index, &mut world);
            let changed = index.take_changed();
            let vaults: Vec<VaultId> = index.vaults().cloned().collect();
            let mut after = BTreeMap::new();
            for vault in vaults {
                let expected = world.expected(&vault);
                let found = found(&mut index, &vault);
                assert_eq!(found, expected, "seed {seed}, step {step}: {vault}");
                if !changed.contains(&vault) {
                    let known = before.get(&vault);
                    assert_eq!(known, Some(&found), "seed {seed}, step {step}: {vault}");
                }
                seen[0] += found.2.len();
                seen[1] += usize::from(changed.contains(&vault));
                after.insert(vault, found);
            }
            before = after;
            index.check_labels();
        }
    }
    // The comparison means something only if there are identities, and vaults that are not reported.
    assert!(seen[0] > 1000 && seen[1] > 100, "{seen:?}");
}

/// Everybody behind a trusted proxy has its address.
#[test]
fn a_pod_that_is_a_trusted_proxy_proves_nothing() {
    let mut index = Index::default();
    let pod = |name: &str, address: &str| {
        ObservedPod::Counted(PodFact {
            namespace: "shop".into(),
            name: name.into(),
            uid: None,
            labels: Labels::new(),
            service_account: "a".into(),
            addresses: vec![address.parse().unwrap()],
        })
    };
    index.apply(pod("proxy", "10.1.0.1"));
    index.apply(pod("client", "10.1.0.2"));
    let policy = on("red", "p").behind(crate::policy::ProxySource::Range(net("10.1.0.1")));
    index.apply(policy.with(|policy| {
        policy.operators = vec![ServiceIdentity::ServiceAccount(name("shop", "a"))];
    }));
    let vault = "red/vault".parse().unwrap();
    let (_, operators, pods) = found(&mut index, &vault);
    assert_eq!(operators.len(), 1);
    let client: Ipv4Addr = "10.1.0.2".parse().unwrap();
    assert_eq!(pods, BTreeMap::from([(client, name("shop", "a"))]));
}
