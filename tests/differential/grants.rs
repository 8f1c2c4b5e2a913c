//! Identities of a firewall and what they are granted, and the tokens of requests.

use std::sync::Arc;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use vaultwall::api::OPERATIONS;
use vaultwall::policy::{
    Grants, Holders, Identity, ObjectName, ServiceGrant, ValidatedScenario, ValidatedTrustedService,
};

use crate::differential::addresses::within;

/// Namespaces and names that are the beginnings of others.
pub const ACCOUNTS: &[&str] = &[
    "sql/tde",
    "sql/tde2",
    "sq/tde",
    "sql/td",
    "backup/agent",
    "backup/agent-1",
    "b/a.b-c",
    "eso/eso",
    "ops/unsealer",
    "ci/deploy",
];

/// Identities, or none at all.
pub fn grants(rng: &mut ChaCha8Rng) -> Grants {
    let mut grants = Grants::default();
    if rng.random_bool(0.3) {
        return grants;
    }
    if rng.random_bool(0.8) {
        let count = rng.random_range(0..=6);
        grants.services = Some((0..count).map(|number| service(rng, number)).collect());
    }
    if rng.random_bool(0.6) {
        grants.operators = Some(holders(rng));
    }
    if rng.random_bool(0.6) {
        grants.deployers = Some(holders(rng));
    }
    for account in ACCOUNTS {
        let account: Arc<ObjectName> = Arc::new(account.parse().unwrap());
        for _ in 0..rng.random_range(0..=3) {
            let network = "127.40.0.0/20".parse().unwrap();
            grants
                .pods
                .insert(within(rng, network), Arc::clone(&account));
        }
    }
    grants
}

fn service(rng: &mut ChaCha8Rng, number: usize) -> ServiceGrant {
    let scenarios = (0..rng.random_range(1..=3)).map(|number| {
        let count = rng.random_range(1..=12);
        ValidatedScenario {
            name: format!("scenario-{number}"),
            operations: OPERATIONS
                .choose_multiple(rng, count)
                .map(ToString::to_string)
                .collect(),
        }
    });
    ServiceGrant {
        service: Arc::new(ValidatedTrustedService {
            name: format!("service-{number}").into(),
            scenarios: scenarios.collect(),
            identities: Vec::new(),
        }),
        holders: holders(rng),
    }
}

fn holders(rng: &mut ChaCha8Rng) -> Holders {
    let count = rng.random_range(0..=5);
    let accounts = ACCOUNTS.choose_multiple(rng, count);
    accounts
        .map(|account| Identity::Pod(Arc::new(account.parse().unwrap())))
        .collect()
}

/// Headers with the vault's token, in the forms that the vault accepts and in others.
pub fn tokens(rng: &mut ChaCha8Rng) -> Vec<(String, Vec<u8>)> {
    const TOKENS: &[&[u8]] = &[
        b"s.token",
        b"s.token",
        b"s.token",
        b"",
        b" ",
        b",",
        b",s.token",
        b"\xfftoken",
        b"\xc3\xa9",
        b" s.token ",
    ];
    const AUTHORIZATIONS: &[&[u8]] = &[
        b"Bearer s.token",
        b"Bearer s.token",
        b"bearer s.token",
        b"Bearer",
        b"Bearer ",
        b"Bearer\ts.token",
        b"Bearer  x",
        b"Basic eDp5",
        b"Basic x,Bearer y",
        b"",
        b"BearerX y",
        b"Bearer \xff",
    ];
    let mut headers = Vec::new();
    let mut add = |rng: &mut ChaCha8Rng, name: &str, values: &[&[u8]], most| {
        for _ in 0..rng.random_range(1..=most) {
            let value = values.choose(rng).unwrap();
            headers.push((name.to_owned(), value.to_vec()));
        }
    };
    if rng.random_bool(0.6) {
        add(rng, "X-Vault-Token", TOKENS, 2);
    }
    if rng.random_bool(0.2) {
        add(rng, "Authorization", AUTHORIZATIONS, 2);
    }
    headers
}
