//! Addresses that meet a firewall's rules at their edges.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use vaultwall::policy::{Firewall, Grants};

/// Network of every peer of a test's connections.
pub const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// A random address in a prefix.
pub fn within(rng: &mut ChaCha8Rng, prefix: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from_bits(rng.random_range(prefix.network().to_bits()..=prefix.broadcast().to_bits()))
}

/// An address in one of a firewall's prefixes, at its edge, or just outside; or anywhere.
pub fn near_a_rule(rng: &mut ChaCha8Rng, firewall: &Firewall) -> Ipv4Addr {
    let proxies = proxies(firewall);
    let rules = firewall
        .virtual_networks
        .0
        .keys()
        .chain(firewall.ip_rules.0.keys());
    let prefixes: Vec<Ipv4Net> = rules.chain(&proxies).copied().collect();
    let Some(prefix) = prefixes.choose(rng).copied() else {
        return within(rng, LOOPBACK);
    };
    match rng.random_range(0..10) {
        0 => prefix.network(),
        1 => prefix.broadcast(),
        2 => Ipv4Addr::from_bits(prefix.network().to_bits().wrapping_sub(1)),
        3 => Ipv4Addr::from_bits(prefix.broadcast().to_bits().wrapping_add(1)),
        4 => within(rng, LOOPBACK),
        5 => within(rng, "203.0.113.0/24".parse().unwrap()),
        _ => within(rng, prefix),
    }
}

/// Listed ranges of proxies, and the addresses of pods that are proxies, in ranges of one.
fn proxies(firewall: &Firewall) -> Vec<Ipv4Net> {
    let Some(proxies) = firewall.client_address.trusted_proxies() else {
        return Vec::new();
    };
    let pods = proxies.pods.iter().copied().map(Ipv4Net::from);
    proxies.ranges.iter().copied().chain(pods).collect()
}

/// An address of a pod with an identity.
fn pod(rng: &mut ChaCha8Rng, grants: &Grants) -> Option<Ipv4Addr> {
    let pods: Vec<&Ipv4Addr> = grants.pods.keys().collect();
    pods.choose(rng).map(|address| **address)
}

/// An address that a connection of a test can come from. Listed proxies are likely, as only they are trusted.
pub fn peer(rng: &mut ChaCha8Rng, firewall: &Firewall) -> Ipv4Addr {
    if let Some(pod) = pod(rng, &firewall.grants)
        && rng.random_bool(0.5)
    {
        return pod;
    }
    let mut proxies = proxies(firewall);
    proxies.retain(|proxy| LOOPBACK.contains(proxy));
    if !proxies.is_empty() && rng.random_bool(0.6) {
        let proxy = *proxies.choose(rng).unwrap();
        return usable(within(rng, proxy));
    }
    usable(near_a_rule(rng, firewall))
}

/// Linux lets no connection come from the first and the last address of the loopback network.
fn usable(address: Ipv4Addr) -> Ipv4Addr {
    let edges = [LOOPBACK.network(), LOOPBACK.broadcast()];
    if LOOPBACK.contains(&address) && !edges.contains(&address) {
        address
    } else {
        Ipv4Addr::LOCALHOST
    }
}
