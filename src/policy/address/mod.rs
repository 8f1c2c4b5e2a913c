//! IPv4 addresses and ranges as people write them: one strict notation, nothing reinterpreted (R6, R7, R8).
//!
//! [`SPECIAL_RANGES`] is the single truth of what is not public; validation reads it and the CRD's rules are generated
//! from it. Only syntax and ranges are judged here, not where a value stands.

#[cfg(test)]
#[rustfmt::skip] // tables are read by eye
mod tests;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::violation::{ViolationReason, quoted};

/// A range that an IP rule may not touch, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialRange {
    /// The range.
    pub prefix: Ipv4Net,
    /// What it is, for people, with the document that says so.
    pub name: &'static str,
    /// [`ViolationReason::PrivateAddress`] for RFC 1918, else [`ViolationReason::NotPublic`].
    pub reason: ViolationReason,
    /// What to do instead.
    pub advice: &'static str,
}

const SUBNET_RULE: &str = "use a subnet rule (spec.virtualNetworkRules) on a VirtualNetwork subnet with this address prefix";
const NEVER_A_CLIENT: &str = "no client on the internet has such an address; remove the rule";

const fn range(octets: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn not_public(
    octets: [u8; 4],
    length: u8,
    name: &'static str,
    advice: &'static str,
) -> SpecialRange {
    SpecialRange {
        prefix: range(octets, length),
        name,
        reason: ViolationReason::NotPublic,
        advice,
    }
}

const fn private(octets: [u8; 4], length: u8) -> SpecialRange {
    SpecialRange {
        prefix: range(octets, length),
        name: "private, RFC 1918",
        reason: ViolationReason::PrivateAddress,
        advice: SUBNET_RULE,
    }
}

/// What the IANA IPv4 special-purpose address registry calls not globally reachable, and multicast (RFC 5771). Entries
/// that lie in a listed range (192.0.0.8/32, 255.255.255.255/32, …) are not repeated; all of 192.0.0.0/24 is refused; the
/// documentation ranges 192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24 are left out, because examples use them.
pub const SPECIAL_RANGES: [SpecialRange; 11] = [
    private([10, 0, 0, 0], 8),
    private([172, 16, 0, 0], 12),
    private([192, 168, 0, 0], 16),
    not_public([0, 0, 0, 0], 8, "\"this network\", RFC 791", NEVER_A_CLIENT),
    not_public(
        [100, 64, 0, 0],
        10,
        "shared address space of carriers (CGNAT), RFC 6598",
        SUBNET_RULE,
    ),
    not_public([127, 0, 0, 0], 8, "loopback, RFC 1122", SUBNET_RULE),
    not_public([169, 254, 0, 0], 16, "link-local, RFC 3927", NEVER_A_CLIENT),
    not_public(
        [192, 0, 0, 0],
        24,
        "IETF protocol assignments, RFC 6890",
        NEVER_A_CLIENT,
    ),
    not_public(
        [198, 18, 0, 0],
        15,
        "benchmarking, RFC 2544",
        NEVER_A_CLIENT,
    ),
    not_public([224, 0, 0, 0], 4, "multicast, RFC 5771", NEVER_A_CLIENT),
    not_public(
        [240, 0, 0, 0],
        4,
        "reserved and broadcast, RFC 1112",
        NEVER_A_CLIENT,
    ),
];

/// Where a subnet's prefix must lie, wholly in one of them: RFC 1918, shared (RFC 6598), loopback.
pub const SUBNET_RANGES: [Ipv4Net; 5] = [
    range([10, 0, 0, 0], 8),
    range([172, 16, 0, 0], 12),
    range([192, 168, 0, 0], 16),
    range([100, 64, 0, 0], 10),
    range([127, 0, 0, 0], 8),
];

/// What no peer of a connection can have as its address; a trusted proxy's range may not touch them.
pub(crate) const NEVER_A_PEER: [Ipv4Net; 3] = [
    range([0, 0, 0, 0], 8),
    range([224, 0, 0, 0], 4),
    range([240, 0, 0, 0], 4),
];

/// Longest prefix of an IP rule that is written as a range (R6).
pub const LONGEST_IP_RULE_PREFIX: u8 = 30;

/// What is wrong with an address or range, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFault {
    /// Why, for programs.
    pub reason: ViolationReason,
    /// Why and what to do, for people.
    pub message: String,
}

impl AddressFault {
    fn new(reason: ViolationReason, message: String) -> Self {
        Self { reason, message }
    }
}

/// An address or range that is well formed; its bits are not judged yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Notation {
    address: Ipv4Addr,
    /// None: a single address.
    length: Option<u8>,
}

impl Notation {
    /// The range with its host bits cleared; a single address is a /32.
    fn range(self) -> Ipv4Net {
        // The length was read as at most 32, so the fallback is never taken; it would be the smallest range.
        Ipv4Net::new(self.address, self.length.unwrap_or(32))
            .map_or_else(|_| Ipv4Net::from(self.address), |n| n.trunc())
    }

    fn host_bits(self, shown: &str) -> Option<AddressFault> {
        let range = self.range();
        (range.network() != self.address).then(|| {
            AddressFault::new(
                ViolationReason::HostBitsSet,
                format!("{shown} has bits set beyond its prefix; write {range}, or the single address {}", self.address),
            )
        })
    }
}

/// Reads an IP rule's value: one public address, or a public range of /30 or shorter.
///
/// # Errors
/// Everything that is wrong with it.
pub fn public_prefix(text: &str) -> Result<Ipv4Net, Vec<AddressFault>> {
    let shown = quoted(text);
    let notation = parse(text).map_err(|fault| vec![fault])?;
    let range = notation.range();
    let mut faults = Vec::new();
    match notation.length {
        Some(0) => {
            return Err(vec![AddressFault::new(
                ViolationReason::AllAddresses,
                format!("{shown} is every address; list the ranges that you mean, or set defaultAction: Allow"),
            )]);
        }
        Some(32) => faults.push(AddressFault::new(
            ViolationReason::PrefixTooLong,
            format!("{shown}: a /32 is not taken in an IP rule; write the single address {}", range.network()),
        )),
        Some(length) if length > LONGEST_IP_RULE_PREFIX => faults.push(AddressFault::new(
            ViolationReason::PrefixTooLong,
            format!(
                "{shown}: a /{length} is not taken in an IP rule; write single addresses, {} and {}, as two rules",
                range.network(),
                range.broadcast()
            ),
        )),
        _ => faults.extend(notation.host_bits(&shown)),
    }
    faults.extend(special_range_fault(range, &shown));
    if faults.is_empty() {
        Ok(range)
    } else {
        Err(faults)
    }
}

/// The special range that `range` touches; private ones are named first, because their advice helps most.
fn special_range_fault(range: Ipv4Net, shown: &str) -> Option<AddressFault> {
    let mut touched = SPECIAL_RANGES
        .iter()
        .filter(|special| overlap(special.prefix, range));
    let special = touched.next()?;
    let relation = if special.prefix.contains(&range) {
        "lies in"
    } else {
        "overlaps"
    };
    let more = match touched.count() {
        0 => String::new(),
        n => format!(" (and {n} more such)"),
    };
    Some(AddressFault::new(
        special.reason,
        format!(
            "{shown} {relation} {} ({}){more}, which is not public; {}",
            special.prefix, special.name, special.advice
        ),
    ))
}

/// Whether two ranges share an address; prefixes do exactly when one holds the other.
fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// Reads an address prefix of a `VirtualNetwork`'s subnet: private, shared or loopback; one address with or without /32.
///
/// # Errors
/// Everything that is wrong with it.
pub fn subnet_prefix(text: &str) -> Result<Ipv4Net, Vec<AddressFault>> {
    let shown = quoted(text);
    let notation = parse(text).map_err(|fault| vec![fault])?;
    let range = notation.range();
    let mut faults: Vec<_> = notation.host_bits(&shown).into_iter().collect();
    if notation.length == Some(0) {
        faults = vec![AddressFault::new(
            ViolationReason::AllAddresses,
            format!("{shown} is every address; list the subnet's own prefixes"),
        )];
    } else if !SUBNET_RANGES.iter().any(|allowed| allowed.contains(&range)) {
        faults.push(AddressFault::new(
            ViolationReason::NotPrivate,
            format!(
                "{shown} is not wholly inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 or 127.0.0.0/8; \
                 a subnet takes private, shared or loopback prefixes, public addresses belong into spec.ipRules of a \
                 VaultNetworkPolicy"
            ),
        ));
    }
    if faults.is_empty() {
        Ok(range)
    } else {
        Err(faults)
    }
}

/// Reads a trusted proxy: any IPv4 address or range that a peer can have, but never every address.
///
/// # Errors
/// Everything that is wrong with it.
pub fn proxy_prefix(text: &str) -> Result<Ipv4Net, Vec<AddressFault>> {
    let shown = quoted(text);
    let notation = parse(text).map_err(|fault| vec![fault])?;
    let range = notation.range();
    if notation.length == Some(0) {
        return Err(vec![AddressFault::new(
            ViolationReason::AllAddresses,
            format!(
                "{shown} would believe a client address that anybody sends; list the proxies' own addresses"
            ),
        )]);
    }
    let mut faults: Vec<_> = notation.host_bits(&shown).into_iter().collect();
    if let Some(never) = NEVER_A_PEER.iter().find(|never| overlap(**never, range)) {
        faults.push(AddressFault::new(
            ViolationReason::Invalid,
            format!("{shown} touches {never}, addresses that no proxy has; list the proxies' own addresses"),
        ));
    }
    if faults.is_empty() {
        Ok(range)
    } else {
        Err(faults)
    }
}

/// Reads `a.b.c.d` or `a.b.c.d/n` in decimal without leading zeros; nothing else.
fn parse(text: &str) -> Result<Notation, AddressFault> {
    let malformed = |why: &str| {
        AddressFault::new(
            ViolationReason::Malformed,
            format!(
                "{} {why}; write an IPv4 address such as 203.0.113.7, or a range such as 198.51.100.0/24",
                quoted(text)
            ),
        )
    };
    if text.is_empty() {
        return Err(malformed("is empty"));
    }
    if text.chars().any(char::is_whitespace) {
        return Err(malformed("holds white space"));
    }
    if let Some((before, after)) = text.split_once(':') {
        if address(before).is_ok() && after.bytes().all(|b| b.is_ascii_digit() || b == b'/') {
            return Err(malformed("carries a port"));
        }
        let outside_zone = text.split('%').next().unwrap_or_default();
        return Err(
            if outside_zone
                .chars()
                .all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '/' | '[' | ']'))
            {
                AddressFault::new(
                    ViolationReason::OnlyIpv4,
                    format!(
                        "{} is IPv6; only IPv4 is supported, write the IPv4 address or range",
                        quoted(text)
                    ),
                )
            } else {
                malformed("is not an address (no URLs, names or ports)")
            },
        );
    }
    if text.contains('%') {
        return Err(malformed("carries a zone id"));
    }
    let (address_text, length_text) = match text.split_once('/') {
        Some((address_text, length_text)) => (address_text, Some(length_text)),
        None => (text, None),
    };
    Ok(Notation {
        address: address(address_text).map_err(malformed)?,
        length: length_text.map(length).transpose().map_err(malformed)?,
    })
}

fn address(text: &str) -> Result<Ipv4Addr, &'static str> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts
        .iter()
        .any(|part| part.starts_with("0x") || part.starts_with("0X"))
    {
        return Err("is written in hexadecimal");
    }
    if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err("is not an address (no names, wildcards, signs or a-b ranges)");
    }
    if parts
        .iter()
        .any(|part| part.len() > 1 && part.starts_with('0'))
    {
        return Err("has a number with a leading zero, which some programs read as octal");
    }
    let octets: Result<Vec<u8>, _> = parts.iter().map(|part| part.parse::<u8>()).collect();
    match (parts.len(), octets.as_deref()) {
        (1..=3, _) => Err("is a short form; all four numbers are needed"),
        (4, Ok(&[a, b, c, d])) => Ok(Ipv4Addr::new(a, b, c, d)),
        (4, _) if parts.contains(&"") => Err("has an empty number"),
        (4, _) => Err("has a number above 255"),
        _ => Err("has more than four numbers"),
    }
}

fn length(text: &str) -> Result<u8, &'static str> {
    if text.is_empty() {
        return Err("has an empty prefix length");
    }
    if text.contains('.') {
        return Err("has a netmask; the prefix length is a number from 1 to 32");
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("has a prefix length that is not a number");
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err("has a prefix length with a leading zero");
    }
    text.parse::<u8>()
        .ok()
        .filter(|length| *length <= 32)
        .ok_or("has a prefix length above 32")
}
