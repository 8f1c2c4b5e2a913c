//! Every printed line against [`decide`]: random firewalls, random callers, whole requests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::Ipv4Net;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::api::{DefaultAction, EngineType, ManagementAccess, TokenCreation, VaultApi};
use crate::policy::resolve::fixtures::vault;
use crate::policy::token::{PodIdentity, TokenRules};
use crate::policy::{
    AddressRules, ClientAddressSource, Identity, ObjectName, ServiceGrant, TrustedProxies,
    ValidatedScenario, ValidatedTrustedService, decide,
};
use crate::vault_api::{Engine, EngineNamespace, Request};

const PREFIXES: [&str; 8] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3/32",
    "198.51.100.0/24",
    "198.51.100.128/25",
    "203.0.113.7/32",
    "203.0.113.6/31",
];
const ADDRESSES: [&str; 16] = [
    "0.0.0.0",
    "9.255.255.255",
    "10.0.0.0",
    "10.1.0.0",
    "10.1.2.2",
    "10.1.2.3",
    "10.1.2.4",
    "10.2.0.1",
    "10.255.255.255",
    "11.0.0.0",
    "198.51.100.1",
    "198.51.100.200",
    "203.0.113.6",
    "203.0.113.7",
    "203.0.113.8",
    "255.255.255.255",
];
/// Listener, method, path, vault namespace.
const REQUESTS: [(Listener, &str, &str, Option<&str>); 14] = [
    (Listener::Data, "GET", "/v1/secret/data/a", None),
    (Listener::Data, "POST", "/v1/secret/data/a", None),
    (Listener::Data, "GET", "/v1/secret/data/a", Some("team")),
    (Listener::Data, "LIST", "/v1/secret/metadata/a", None),
    (Listener::Data, "POST", "/v1/transit/sign/k", None),
    (Listener::Data, "POST", "/v1/auth/kubernetes/login", None),
    (Listener::Data, "POST", "/v1/auth/token/create", None),
    (Listener::Data, "GET", "/v1/sys/mounts", None),
    (Listener::Data, "POST", "/v1/sys/seal", None),
    (Listener::Data, "GET", "/v1/sys/health", None),
    (Listener::Management, "GET", "/v1/sys/mounts", None),
    (Listener::Management, "GET", "/v1/sys/mounts", Some("team")),
    (Listener::Management, "POST", "/v1/sys/seal", None),
    (Listener::Management, "POST", "/v1/secret/data/a", None),
];

fn account(name: &str) -> ObjectName {
    ObjectName {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

fn identity(name: &str) -> TokenIdentity {
    TokenIdentity {
        issuer: "https://issuer.example".to_owned(),
        subject: crate::policy::token::subject(&account(name)),
        audience: "vaultwall:vault/openbao".to_owned(),
        account_uid: None,
    }
}

struct Chance(ChaCha8Rng);

impl Chance {
    fn yes(&mut self) -> bool {
        self.0.random_bool(0.5)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())]
    }

    fn rules(&mut self, kind: &str) -> AddressRules {
        let mut rules = AddressRules::default();
        for prefix in PREFIXES {
            if self.0.random_bool(0.3) {
                let name = self.pick(&["one", "two", "three"]);
                rules.claim(
                    prefix.parse().unwrap(),
                    &format!("main/{kind}/{name}").into(),
                );
            }
        }
        rules
    }

    fn holders(&mut self) -> BTreeSet<Identity> {
        let mut holders = BTreeSet::new();
        for name in ["web", "job"] {
            match self.pick(&[0, 1, 2, 3]) {
                0 => holders.insert(Identity::Pod(Arc::new(account(name)))),
                1 => holders.insert(Identity::Token(identity(name))),
                2 => holders.insert(Identity::PodAndToken(account(name))),
                _ => false,
            };
        }
        holders
    }

    fn firewall(&mut self) -> Firewall {
        let mut firewall = Firewall::deny_all(vault(), 8200);
        firewall.default_action = self.pick(&[
            DefaultAction::Deny,
            DefaultAction::Deny,
            DefaultAction::Allow,
        ]);
        firewall.api = if self.0.random_bool(0.1) {
            VaultApi::AzureKeyVault
        } else {
            VaultApi::OpenBao
        };
        firewall.virtual_networks = self.rules("virtualNetworkRules");
        firewall.ip_rules = self.rules("ipRules");
        firewall.management = self.pick(&[
            ManagementAccess::Disabled,
            ManagementAccess::NetworkRules,
            ManagementAccess::Unrestricted,
        ]);
        firewall.token_creation = self.pick(&[
            TokenCreation::Disabled,
            TokenCreation::Disabled,
            TokenCreation::AllTokens,
        ]);
        if self.yes() {
            firewall.engines = vec![Engine {
                path: "secret".to_owned(),
                engine_type: EngineType::KvV2,
                namespace: if self.yes() {
                    EngineNamespace::Root
                } else {
                    EngineNamespace::EveryListed
                },
            }];
        }
        if self.yes() {
            firewall.namespaces = vec!["team".to_owned()];
        }
        if self.yes() {
            let prefix: Ipv4Net = self.pick(&PREFIXES).parse().unwrap();
            let trusted_proxies = TrustedProxies::from_iter([prefix]);
            firewall.client_address = ClientAddressSource::XForwardedFor { trusted_proxies };
        }
        if self.yes() {
            let operations = ["secrets/get", "secrets/set"]
                .into_iter()
                .map(str::to_owned);
            let service = ValidatedTrustedService {
                name: "backup".into(),
                scenarios: vec![ValidatedScenario {
                    name: "read".to_owned(),
                    operations: operations.take(self.0.random_range(1..=2)).collect(),
                }],
                identities: Vec::new(),
            };
            let holders = self.holders();
            firewall.grants.services = Some(vec![ServiceGrant {
                service: Arc::new(service),
                holders,
            }]);
        }
        firewall.grants.operators = self.yes().then(|| self.holders());
        firewall.grants.deployers = self.yes().then(|| self.holders());
        for (address, name) in [("10.1.2.3", "web"), ("10.2.0.1", "job")] {
            if self.yes() {
                firewall
                    .grants
                    .pods
                    .insert(address.parse().unwrap(), Arc::new(account(name)));
            }
        }
        if self.yes() {
            let pod = PodIdentity {
                account: account("web"),
                uid: "1".to_owned(),
            };
            firewall.tokens = Some(TokenRules {
                issuers: BTreeMap::from([("https://issuer.example".to_owned(), "{}".into())]),
                identities: BTreeSet::from([identity("web"), identity("job")]),
                pods: BTreeMap::from([("10.1.2.3".parse().unwrap(), pod)]),
                cluster_issuer: Some("https://issuer.example".to_owned()),
            });
        }
        firewall
    }
}

fn verdict(
    firewall: &Firewall,
    peer: IpAddr,
    forwarded: Option<IpAddr>,
    token: Option<&TokenIdentity>,
    vault_token: bool,
    (listener, method, target, namespace): (Listener, &str, &str, Option<&str>),
) -> (Verdict, Option<Class>) {
    let verified = |token: &TokenIdentity| TokenProof::Verified(token.claims());
    let proof = token.map_or(TokenProof::None, verified);
    let request = Request {
        method,
        target,
        announced: None,
        namespace,
        has_body: false,
        several_tokens: false,
    };
    let caller = caller(firewall, peer, forwarded, vault_token, &proof);
    let decision = decide(firewall, &firewall.table(), listener, caller, &request);
    let operations = decision.operations.clone();
    let class = decision.plane.map(|plane| Class { plane, operations });
    (decision.verdict(), class)
}

/// Whether a line has a request with these classes.
fn has_request(
    found: &Difference,
    line: &Line,
    listener: Listener,
    vault_token: bool,
    (old, new): (&Option<Class>, &Option<Class>),
) -> bool {
    let has_token = |sample: &Sample| {
        let is_data = |class: &Option<Class>| {
            class
                .as_ref()
                .is_some_and(|class| class.plane == Plane::Data)
        };
        sample.vault_token == vault_token || !is_data(&sample.old) && !is_data(&sample.new)
    };
    // Without trusted services and deployers, all operations of a plane are one.
    let fits = |sample: &Option<Class>, class: &Option<Class>| match (sample, class) {
        (Some(sample), Some(class)) => {
            sample.plane == class.plane
                && (sample.operations.names.is_empty() || sample.operations == class.operations)
        }
        (None, None) => true,
        _ => false,
    };
    line.requests
        .iter()
        .map(|index| &found.samples[*index])
        .any(|sample| {
            sample.listener == listener
                && has_token(sample)
                && fits(&sample.old, old)
                && fits(&sample.new, new)
        })
}

#[test]
fn a_request_is_in_one_line_if_its_verdict_changes_and_in_none_if_it_does_not() {
    let mut counts = BTreeMap::new();
    for seed in 0..60_u64 {
        println!("seed {seed}");
        let mut chance = Chance(ChaCha8Rng::seed_from_u64(seed));
        let old = (seed % 10 != 0).then(|| chance.firewall());
        let mut new = chance.firewall();
        if let (Some(old), true) = (&old, chance.yes()) {
            // Also differences of a few settings only.
            let changed = new;
            new = old.clone();
            new.ip_rules = changed.ip_rules;
            new.grants.operators = changed.grants.operators;
        }
        let pods = KnownPods::from([(
            Ipv4Addr::new(10, 1, 2, 4),
            Who::Pods {
                namespace: "shop".to_owned(),
                service_account: "default".to_owned(),
            },
        )]);
        let found = difference(old.as_ref(), &new, &pods);
        for _ in 0..300 {
            let peer: IpAddr = chance.pick(&ADDRESSES).parse().unwrap();
            let is_proxy = |firewall: &Firewall| {
                let proxies = firewall.client_address.trusted_proxies();
                proxies
                    .is_some_and(|proxies| crate::policy::client_address::is_listed(proxies, peer))
            };
            let through = old.iter().chain([&new]).any(is_proxy);
            let forwarded: Option<IpAddr> = (through && chance.yes()).then(|| {
                if chance.0.random_bool(0.1) {
                    "2001:db8::7".parse().unwrap()
                } else {
                    chance.pick(&ADDRESSES).parse().unwrap()
                }
            });
            let tokens = [identity("web"), identity("job")];
            let token = chance.pick(&[None, Some(&tokens[0]), Some(&tokens[1])]);
            let vault_token = chance.yes();
            let request = chance.pick(&REQUESTS);
            let (after, new_class) = verdict(&new, peer, forwarded, token, vault_token, request);
            let (before, old_class) = match &old {
                None => (Verdict::Allow, new_class.clone()),
                Some(old) => verdict(old, peer, forwarded, token, vault_token, request),
            };
            let lines: Vec<&Line> = found
                .lines
                .iter()
                .filter(|line| line.has(peer, forwarded, token))
                .filter(|line| {
                    has_request(
                        &found,
                        line,
                        request.0,
                        vault_token,
                        (&old_class, &new_class),
                    )
                })
                .collect();
            let is_open = |class: &Class| {
                matches!(class.plane, Plane::Data | Plane::Session | Plane::Control)
            };
            let is_compared = old.is_some()
                || request.0 == Listener::Data && new_class.as_ref().is_some_and(is_open);
            let expected = match (before, after) {
                _ if !is_compared => Vec::new(),
                (Verdict::Allow, Verdict::Deny) => vec![Effect::Loses],
                (Verdict::Deny, Verdict::Allow) => vec![Effect::Gains],
                _ => Vec::new(),
            };
            let effects: Vec<Effect> = lines.iter().map(|line| line.effect).collect();
            assert_eq!(
                effects, expected,
                "seed {seed}: {request:?} of {peer} for {forwarded:?}, token {token:?}, {vault_token}\n{lines:#?}"
            );
            *counts.entry(expected).or_insert(0) += 1;
        }
        check_words(&found);
    }
    assert!(
        counts.len() == 3 && counts.values().all(|count| *count > 200),
        "{counts:?}"
    );
}

/// The words of a line are exactly its requests, or more if the change classifies requests differently.
fn check_words(found: &Difference) {
    for line in &found.lines {
        let accesses = found.accesses(line);
        assert!(!accesses.is_empty(), "{line:?}");
        for (index, sample) in found.samples.iter().enumerate() {
            let class = match line.effect {
                Effect::Loses => &sample.old,
                Effect::Gains => &sample.new,
            };
            let Some(class) = class else { continue };
            let is_said = accesses.iter().any(|access| {
                access.listener == sample.listener.name()
                    && access.plane == class.plane.name()
                    && (access.operations.is_empty()
                        || access.operations.contains(&class.operations.to_string()))
                    && access
                        .vault_token
                        .is_none_or(|token| token == sample.vault_token)
            });
            let is_meant = line.requests.contains(&index);
            // Several classes after the change may have one before it.
            let is_exact = found.samples.iter().all(|sample| sample.old == sample.new);
            assert!(
                is_said == is_meant || is_said && !is_exact,
                "{sample:?} of {line:?}: {accesses:?}"
            );
        }
    }
}

#[test]
fn ranges_are_split_and_joined_exactly() {
    let mut old = Firewall::deny_all(vault(), 8200);
    let mut new = old.clone();
    let rule: Arc<str> = "main/ipRules/office".into();
    old.ip_rules
        .claim("198.51.100.0/24".parse().unwrap(), &rule);
    new.ip_rules
        .claim("198.51.100.64/26".parse().unwrap(), &rule);
    let found = difference(Some(&old), &new, &KnownPods::new());
    let [line] = found.lines.as_slice() else {
        panic!("{:#?}", found.lines);
    };
    let prefixes: Vec<String> = line
        .ranges
        .prefixes()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(prefixes, ["198.51.100.0/26", "198.51.100.128/25"]);
    assert_eq!((line.effect, line.ranges.len()), (Effect::Loses, 192));
    // A range in place of its halves is no change.
    new.ip_rules = AddressRules::default();
    for half in ["198.51.100.0/25", "198.51.100.128/25"] {
        new.ip_rules.claim(half.parse().unwrap(), &rule);
    }
    assert_eq!(difference(Some(&old), &new, &KnownPods::new()).lines, []);
}

#[test]
fn samples_reach_every_row_of_a_changed_table() {
    for api in [VaultApi::OpenBao, VaultApi::AzureKeyVault] {
        let mut old = Firewall::deny_all(vault(), 8200);
        old.api = api;
        old.grants.deployers = Some(BTreeSet::new());
        let mut new = old.clone();
        new.namespaces = vec!["team".to_owned()];
        new.auth_mounts = vec!["team/k8s".to_owned()];
        new.engines = vec![Engine {
            path: "secret".to_owned(),
            engine_type: EngineType::KvV2,
            namespace: EngineNamespace::EveryListed,
        }];
        let samples = super::requests::samples(Some(&old), &new);
        for (side, table) in [("old", old.table()), ("new", new.table())] {
            for row in table.rows {
                let reached = samples.iter().any(|sample| {
                    let class = if side == "old" {
                        &sample.old
                    } else {
                        &sample.new
                    };
                    class.as_ref() == Some(&row.class)
                });
                assert!(reached, "{api:?}, {side}: {row:?}");
            }
        }
    }
}
