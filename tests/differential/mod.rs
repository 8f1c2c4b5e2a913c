//! The strongest proof of the project: a real Envoy, configured by the compiler, decides every generated request as
//! `policy::decide` does, with the same reason, rule, plane and operations; and no denied request reaches the vault.
//!
//! Requests are raw bytes from chosen source addresses. A pair is a firewall and a request; a seed makes one firewall
//! and its requests. `VAULTWALL_SEED=7,8` runs those seeds instead of the fixed ones, `VAULTWALL_SEED=random` takes
//! fresh ones and prints them.

mod addresses;
mod azure;
mod chains;
mod clients;
mod compare;
mod envoy;
mod firewalls;
mod framing;
mod grants;
mod headers;
mod hop;
mod hostile;
mod identities;
mod profile;
mod requests;
mod run;
mod shapes;
mod token_cases;
mod tokens;
mod vault;
mod wire;

use std::sync::Arc;

use ipnet::Ipv4Net;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use vaultwall::policy::{Grants, Reason, Verdict};
use vaultwall::vault_api::Plane;

use run::{Case, Tally};

/// The seeds of an ordinary run.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=16;
/// Requests sent to each generated firewall.
const REQUESTS: usize = 220;
/// Number of seeds that also make a firewall for the API of Azure Key Vault.
const AZURE: usize = 6;

fn seeds() -> Vec<u64> {
    match std::env::var("VAULTWALL_SEED").as_deref() {
        Err(_) => SEEDS.collect(),
        Ok("random") => (0..16).map(|_| rand::random()).collect(),
        Ok(list) => list
            .split(',')
            .map(|seed| {
                seed.trim()
                    .parse()
                    .expect("VAULTWALL_SEED is `random` or numbers with commas between")
            })
            .collect(),
    }
}

fn generated(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let firewall = firewalls::firewall(&mut rng);
    let requests = (0..REQUESTS)
        .map(|_| requests::request(&mut rng, &firewall))
        .collect();
    Case {
        name: format!("seed {seed}"),
        firewall,
        requests,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_decides_as_decide_does() {
    let seeds = seeds();
    println!("seeds: {seeds:?}");
    let mut tally = Tally::default();
    for case in seeds
        .iter()
        .map(|seed| generated(*seed))
        .chain(seeds.iter().take(AZURE).map(|seed| azure::generated(*seed)))
        .chain(azure::cases())
        .chain(hostile::cases())
        .chain([shapes::case(), chains::case()])
        .chain(identities::cases())
    {
        tally.add(run::run(&case).await);
    }
    tally.print(&format!("seeds {seeds:?}"));
    assert!(
        tally.mismatches.is_empty(),
        "Envoy and decide differ, see above"
    );
    assert_eq!(tally.denied_that_reached_the_hop, 0);
    if std::env::var_os("VAULTWALL_SEED").is_none() {
        assert!(tally.pairs >= 2_000, "{} pairs", tally.pairs);
        for reason in Reason::ALL {
            let seen = tally.reasons.get(&reason).copied().unwrap_or_default();
            assert!(seen >= 20, "{reason:?} was seen {seen} times only");
        }
        for reason in [
            Reason::ForbiddenByFirewall,
            Reason::ForbiddenByScenario,
            Reason::ForbiddenByMissingToken,
            Reason::ForbiddenByPlane,
        ] {
            let seen = tally.would_deny.get(&reason).copied().unwrap_or_default();
            assert!(seen >= 5, "{reason:?} was recorded {seen} times only");
        }
        for plane in Plane::ALL {
            let seen = tally.planes.get(&plane).copied().unwrap_or_default();
            assert!(seen >= 20, "{plane} was seen {seen} times only");
        }
    }
}

/// The comparison has to be able to fail: Envoy gets another firewall than `decide`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_rule_is_noticed() {
    let mut case = generated(3);
    let everyone: Ipv4Net = "127.0.0.0/8".parse().unwrap();
    case.firewall.virtual_networks.0.clear();
    case.firewall.ip_rules.0.clear();
    case.firewall.grants = Grants::default();
    let mut flipped = case.firewall.clone();
    let rule = Arc::from("other/virtualNetworkRules/everyone");
    flipped.virtual_networks.claim(everyone, &rule);
    let tally = run::run_against(&case, &flipped).await;
    let denied_by_rules = |reason| tally.reasons.get(&reason).copied().unwrap_or_default();
    let decided_by_default = denied_by_rules(Reason::DefaultAction)
        + denied_by_rules(Reason::ForbiddenByFirewall)
        + denied_by_rules(Reason::AuditMode);
    assert!(decided_by_default > 20);
    assert_eq!(tally.mismatches.len(), decided_by_default);
    if case.firewall.default_action == vaultwall::policy::DefaultAction::Deny {
        assert_eq!(
            tally.denied_that_reached_the_hop,
            denied_by_rules(Reason::ForbiddenByFirewall)
        );
    }
    assert_eq!(Reason::ForbiddenByFirewall.verdict(), Verdict::Deny);
}
