//! Callers in groups: all callers of a group are alike to both firewalls. Computed on the boundaries of prefixes, never
//! by listing addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv4Subnets};

use crate::policy::client_address;
use crate::policy::decide::Caller;
use crate::policy::identity::ObjectName;
use crate::policy::model::{AddressRules, Firewall};
use crate::policy::token::{TokenIdentity, TokenProof};

/// Callers as people know them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Known pods of a namespace, under one service account.
    Pods {
        /// Namespace of the pods.
        namespace: String,
        /// Name of their service account; empty for mirrors of static pods.
        service_account: String,
    },
    /// Pods that a selector selects, of which none is known. Text of the selector.
    Selected(Arc<str>),
    /// Pods of a service account, of which none is known.
    Account(ObjectName),
    /// Addresses that a rule or a list of the old or the new firewall has, and of no known pod.
    Addresses,
    /// IPv6 addresses, which no rule has.
    V6,
    /// All other addresses.
    Others,
}

/// Pods at their addresses.
pub type KnownPods = BTreeMap<Ipv4Addr, Who>;

/// A set of IPv4 addresses: first and last address of each range, sorted, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Adds a range after all others or before them; [`Self::joined`] puts them in order.
    fn push(&mut self, range: (u32, u32)) {
        self.0.push(range);
    }

    /// Joins ranges that touch.
    pub(super) fn joined(mut self) -> Self {
        self.0.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::new();
        for (first, last) in self.0 {
            match joined.last_mut() {
                Some((_, end)) if u64::from(first) <= u64::from(*end) + 1 => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// Whether it has the address.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let address = address.to_bits();
        self.0
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&address))
    }

    /// The fewest prefixes that have exactly these addresses.
    pub fn prefixes(&self) -> Vec<Ipv4Net> {
        let subnets = |(first, last): &(u32, u32)| {
            Ipv4Subnets::new(Ipv4Addr::from_bits(*first), Ipv4Addr::from_bits(*last), 0)
        };
        self.0.iter().flat_map(subnets).collect()
    }

    /// Number of addresses.
    pub fn len(&self) -> u64 {
        let length = |(first, last): &(u32, u32)| u64::from(*last) - u64::from(*first) + 1;
        self.0.iter().map(length).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn first(&self) -> Option<Ipv4Addr> {
        self.0.first().map(|(first, _)| Ipv4Addr::from_bits(*first))
    }
}

/// Everything that a firewall knows of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Facts {
    network: Option<Arc<str>>,
    ip: Option<Arc<str>>,
    is_proxy: bool,
    account: Option<Arc<ObjectName>>,
    token_account: Option<ObjectName>,
}

impl Facts {
    fn of(firewall: &Firewall, address: Ipv4Addr) -> Self {
        let rule = |rules: &AddressRules| rules.find(address).map(|(_, rule)| rule.clone());
        let proxies = firewall.client_address.trusted_proxies();
        let tokens = firewall.tokens.as_ref();
        let pod = tokens.and_then(|tokens| tokens.pods.get(&address));
        Self {
            network: rule(&firewall.virtual_networks),
            ip: rule(&firewall.ip_rules),
            is_proxy: proxies.is_some_and(|proxies| proxies.contains(address)),
            account: firewall.grants.pods.get(&address).cloned(),
            token_account: pod.map(|pod| pod.account.clone()),
        }
    }

    /// The part that counts for an address in `X-Forwarded-For`.
    fn of_client(&self) -> Self {
        Self {
            ip: self.ip.clone(),
            is_proxy: self.is_proxy,
            ..Self::default()
        }
    }
}

/// A group of callers without a token.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) who: Who,
    /// Addresses: of the direct peer, or of the client behind the proxies.
    pub(super) ranges: Ranges,
    /// Addresses of the trusted proxies that send for them.
    pub(super) through: Option<Ranges>,
    /// One of them.
    peer: IpAddr,
    forwarded: Option<IpAddr>,
}

impl Group {
    /// A caller of the group, to one firewall.
    pub(super) fn caller<'a>(
        &self,
        firewall: &Firewall,
        vault_token: bool,
        proof: &'a TokenProof,
    ) -> Caller<'a> {
        caller(firewall, self.peer, self.forwarded, vault_token, proof)
    }
}

/// The caller that a firewall sees: a peer, and the only entry of its `X-Forwarded-For`.
pub fn caller<'a>(
    firewall: &Firewall,
    peer: IpAddr,
    forwarded: Option<IpAddr>,
    vault_token: bool,
    proof: &'a TokenProof,
) -> Caller<'a> {
    let line = forwarded.map(|address| address.to_string());
    let lines: Vec<&str> = line.iter().map(String::as_str).collect();
    let client = client_address::resolve(&firewall.client_address, peer, &lines);
    Caller {
        peer,
        client,
        vault_token,
        proof,
    }
}

/// All groups. Every caller without a token is in exactly one.
pub(super) fn groups(firewalls: &[&Firewall], pods: &KnownPods) -> Vec<Group> {
    let mut alike: BTreeMap<(Who, Vec<Facts>), Ranges> = BTreeMap::new();
    let starts: Vec<u32> = boundaries(firewalls, pods).into_iter().collect();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([u32::MAX]);
    for (first, last) in starts.iter().copied().zip(ends) {
        let address = Ipv4Addr::from_bits(first);
        let facts: Vec<Facts> = firewalls
            .iter()
            .map(|firewall| Facts::of(firewall, address))
            .collect();
        let who = pods.get(&address).cloned().unwrap_or_else(|| who(&facts));
        alike.entry((who, facts)).or_default().push((first, last));
    }
    let mut groups = Vec::new();
    let mut proxies: BTreeMap<Vec<Facts>, Ranges> = BTreeMap::new();
    let mut clients: BTreeMap<(Who, Vec<Facts>), Ranges> = BTreeMap::new();
    for ((known, facts), ranges) in alike {
        if facts.iter().any(|facts| facts.is_proxy) {
            proxies.entry(facts.clone()).or_default().extend(&ranges);
        }
        let as_client: Vec<Facts> = facts.iter().map(Facts::of_client).collect();
        let client = who(&as_client);
        clients
            .entry((client, as_client))
            .or_default()
            .extend(&ranges);
        groups.extend(direct(known, ranges));
    }
    for proxies in proxies.into_values() {
        for ((client, _), ranges) in &clients {
            groups.extend(forwarded(client, ranges, &proxies));
        }
        groups.extend(proxies.first().map(|proxy| Group {
            who: Who::V6,
            ranges: Ranges::default(),
            through: Some(proxies.clone().joined()),
            peer: proxy.into(),
            // Documentation range, RFC 3849.
            forwarded: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
        }));
    }
    groups
}

fn direct(who: Who, ranges: Ranges) -> Option<Group> {
    let peer = ranges.first()?;
    Some(Group {
        who,
        ranges: ranges.joined(),
        through: None,
        peer: peer.into(),
        forwarded: None,
    })
}

fn forwarded(client: &Who, ranges: &Ranges, proxies: &Ranges) -> Option<Group> {
    Some(Group {
        who: client.clone(),
        ranges: ranges.clone().joined(),
        through: Some(proxies.clone().joined()),
        peer: proxies.first()?.into(),
        forwarded: Some(ranges.first()?.into()),
    })
}

fn who(facts: &[Facts]) -> Who {
    if facts.iter().all(|facts| *facts == Facts::default()) {
        Who::Others
    } else {
        Who::Addresses
    }
}

/// First addresses of the ranges between which nothing changes.
fn boundaries(firewalls: &[&Firewall], pods: &KnownPods) -> BTreeSet<u32> {
    let mut starts = BTreeSet::from([0]);
    let mut add = |prefix: Ipv4Net| {
        starts.insert(prefix.network().to_bits());
        starts.extend(prefix.broadcast().to_bits().checked_add(1));
    };
    for firewall in firewalls {
        for rules in [&firewall.virtual_networks, &firewall.ip_rules] {
            rules.0.keys().copied().for_each(&mut add);
        }
        if let Some(proxies) = firewall.client_address.trusted_proxies() {
            proxies.addresses().into_iter().for_each(&mut add);
        }
        let tokens = firewall.tokens.iter().flat_map(|tokens| tokens.pods.keys());
        let addresses = firewall.grants.pods.keys().chain(tokens);
        addresses.copied().map(Ipv4Net::from).for_each(&mut add);
    }
    pods.keys().copied().map(Ipv4Net::from).for_each(&mut add);
    starts
}

/// Identities that a token can prove to one of the firewalls.
pub(super) fn identities(firewalls: &[&Firewall]) -> BTreeSet<TokenIdentity> {
    let tokens = firewalls
        .iter()
        .filter_map(|firewall| firewall.tokens.as_ref());
    tokens
        .flat_map(|tokens| tokens.identities.iter().cloned())
        .collect()
}
