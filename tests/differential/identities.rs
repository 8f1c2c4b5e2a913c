//! Requests of callers with identities, to firewalls in which little else allows them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vaultwall::policy::token::TokenProof;
use vaultwall::policy::{
    AddressRules, ClientAddressSource, DefaultAction, EngineNamespace, EngineType, Firewall,
    Identity, Listener, ObjectName, VaultApi,
};
use vaultwall::vault_api::Engine;

use crate::differential::addresses::LOOPBACK;
use crate::differential::firewalls;
use crate::differential::grants::{ACCOUNTS, grants, tokens};
use crate::differential::requests::ordinary;
use crate::differential::run::Case;
use crate::differential::token_cases::{self, Scene};
use crate::differential::wire::Sent;

/// Seeds of the cases.
const SEEDS: std::ops::RangeInclusive<u64> = 101..=118;
/// Requests sent to each firewall.
const REQUESTS: usize = 300;

/// Paths of critical operations.
const CRITICAL: &[&str] = &["sys/init", "sys/unseal", "sys/raw/core", "sys/nobody/knows"];

/// One case a seed. Each is made when it is needed, because its tokens are valid for some time only.
pub fn cases() -> impl Iterator<Item = Case> {
    SEEDS.map(case)
}

fn case(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scene = Scene::new();
    let firewall = firewall(&mut rng, &scene);
    // Longer headers than a caller in no rule may send, and tokens that expire within seconds, are other tests.
    let mut tokens = scene.cases();
    tokens.retain(|case| case.token.len() < 8 * 1024 && case.name != "just expired");
    let requests = (0..REQUESTS).map(|_| request(&mut rng, &firewall, &tokens));
    Case {
        name: format!("identities, seed {seed}"),
        requests: requests.collect(),
        firewall,
    }
}

fn firewall(rng: &mut ChaCha8Rng, scene: &Scene) -> Firewall {
    let mut firewall = firewalls::firewall(rng);
    firewall.api = VaultApi::OpenBao;
    firewall.default_action = if rng.random_bool(0.15) {
        DefaultAction::Allow
    } else {
        DefaultAction::Deny
    };
    firewall.virtual_networks = AddressRules::default();
    firewall.ip_rules = AddressRules::default();
    if rng.random_bool(0.3) {
        let rule: Arc<str> = "policy/virtualNetworkRules/some".into();
        let some = "127.40.0.0/22".parse().unwrap();
        firewall.virtual_networks.claim(some, &rule);
    }
    firewall.client_address = ClientAddressSource::Direct;
    for (path, engine_type) in [
        ("own-kv", EngineType::KvV2),
        ("own-transit", EngineType::Transit),
        ("own-pki", EngineType::Pki),
    ] {
        firewall.engines.push(Engine {
            path: path.into(),
            engine_type,
            namespace: EngineNamespace::Root,
        });
    }
    firewall.grants = grants(rng);
    if rng.random_bool(0.8) {
        firewall.tokens = Some(scene.rules.clone());
        let proven: Vec<Identity> = scene
            .rules
            .identities
            .iter()
            .cloned()
            .map(Identity::Token)
            .chain([Identity::PodAndToken(token_cases::account("sync"))])
            .collect();
        let services = firewall.grants.services.iter_mut().flatten();
        let listed = firewall.grants.operators.iter_mut();
        let listed = listed.chain(&mut firewall.grants.deployers);
        let lists = services.map(|grant| &mut grant.holders).chain(listed);
        for holders in lists {
            let count = rng.random_range(0..=2);
            holders.extend(proven.choose_multiple(rng, count).cloned());
        }
    }
    // The pod of the tokens is one of a service by its address, too.
    let account: ObjectName = ACCOUNTS.choose(rng).unwrap().parse().unwrap();
    firewall
        .grants
        .pods
        .insert(token_cases::POD, Arc::new(account));
    firewall
}

fn request(rng: &mut ChaCha8Rng, firewall: &Firewall, cases: &[token_cases::Case]) -> Sent {
    let (method, path, namespace) = if rng.random_bool(0.1) {
        let path = *CRITICAL.choose(rng).unwrap();
        ("PUT".into(), path.into(), None)
    } else {
        ordinary(rng, firewall)
    };
    let mut headers = tokens(rng);
    if let Some(namespace) = namespace {
        headers.push(("X-Vault-Namespace".into(), namespace.into_bytes()));
    }
    let mut proof = TokenProof::None;
    let mut from = peer(rng, firewall);
    if rng.random_bool(0.5) {
        let case = cases.choose(rng).unwrap();
        headers.push(("X-Vaultwall-Token".into(), case.token.clone().into_bytes()));
        proof = case.proof.clone();
        if rng.random_bool(0.7) {
            from = case.peer;
        }
    }
    Sent {
        listener: if rng.random_bool(0.7) {
            Listener::Data
        } else {
            Listener::Management
        },
        from,
        method: method.into_bytes(),
        target: format!("/v1/{path}").into_bytes(),
        host: "vault",
        headers,
        version: "1.1",
        proof,
    }
}

/// A pod with an identity, or another address.
fn peer(rng: &mut ChaCha8Rng, firewall: &Firewall) -> Ipv4Addr {
    let pods: Vec<Ipv4Addr> = firewall.grants.pods.keys().copied().collect();
    let pod = pods.choose(rng).copied().filter(|_| rng.random_bool(0.9));
    pod.unwrap_or_else(|| {
        let number = LOOPBACK.network().to_bits() + rng.random_range(2..60_000);
        Ipv4Addr::from_bits(number)
    })
}
