//! IPv4 addresses and ranges in one strict notation. Nothing is reinterpreted: text in any other notation is an error.
//!
//! [`SPECIAL_RANGES`] is the only list of ranges that are not public: validation reads it, and the CRD's rules are
//! generated from it. This module judges syntax and ranges. A fault's message has no value: the
//! caller puts the quoted value in front of it.

#[cfg(test)]
#[rustfmt::skip] // tables are read by eye
mod tests;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Class of a fault. Converted to the `ViolationReason` of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultReason {
    /// The range contains every address.
    AllAddresses,
    /// The address of a range has bits set after its prefix.
    HostBitsSet,
    /// An address that a trusted proxy cannot have.
    Invalid,
    /// Not an IPv4 address or range in decimal notation.
    Malformed,
    /// A subnet's prefix that is neither private, shared nor loopback.
    NotPrivate,
    /// Addresses that are not publicly routable.
    NotPublic,
    /// An IPv6 address or range.
    OnlyIpv4,
    /// A /31 or /32 in an IP rule.
    PrefixTooLong,
    /// RFC 1918 addresses in an IP rule.
    PrivateAddress,
}

/// A range that no IP rule may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialRange {
    /// Addresses of the range.
    pub prefix: Ipv4Net,
    /// Purpose of the range and the RFC that defines it, for people: `private, RFC 1918`.
    pub name: &'static str,
    /// [`FaultReason::PrivateAddress`] for RFC 1918, else [`FaultReason::NotPublic`].
    pub reason: FaultReason,
    /// Instruction that ends a message about this range.
    pub advice: &'static str,
}

const SUBNET_RULE: &str = "use a subnet rule (spec.virtualNetworkRules) on a VirtualNetwork subnet with this address \
                           prefix";
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
        reason: FaultReason::NotPublic,
        advice,
    }
}

const fn private(octets: [u8; 4], length: u8) -> SpecialRange {
    SpecialRange {
        prefix: range(octets, length),
        name: "private, RFC 1918",
        reason: FaultReason::PrivateAddress,
        advice: SUBNET_RULE,
    }
}

/// Ranges that the IANA IPv4 special-purpose address registry marks as not globally reachable, and multicast (RFC
/// 5771).
///
/// Registry entries inside a listed range (192.0.0.8/32, 255.255.255.255/32, …) are not repeated. All of 192.0.0.0/24
/// is refused. The documentation ranges 192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24 are allowed, because examples
/// use them.
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

/// Ranges for subnets: RFC 1918, shared (RFC 6598) and loopback. A subnet's prefix must be inside one of them.
pub const SUBNET_RANGES: [Ipv4Net; 5] = [
    range([10, 0, 0, 0], 8),
    range([172, 16, 0, 0], 12),
    range([192, 168, 0, 0], 16),
    range([100, 64, 0, 0], 10),
    range([127, 0, 0, 0], 8),
];

/// Ranges that no peer of a connection can have an address in; a trusted proxy's range may not overlap them.
pub(crate) const NEVER_A_PEER: [Ipv4Net; 3] = [
    range([0, 0, 0, 0], 8),
    range([224, 0, 0, 0], 4),
    range([240, 0, 0, 0], 4),
];

/// Longest prefix length of a range in an IP rule. Single addresses are written without a prefix length, as in
/// [Azure Key Vault](https://learn.microsoft.com/azure/key-vault/general/network-security).
pub const LONGEST_IP_RULE_PREFIX: u8 = 30;

/// An error in an address or range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFault {
    /// Class of the fault, for programs.
    pub reason: FaultReason,
    /// Cause and correction, for people. It continues the quoted value: `is empty; write …`.
    pub message: String,
}

impl AddressFault {
    fn new(reason: FaultReason, message: String) -> Self {
        Self { reason, message }
    }
}

/// A well-formed address or range, possibly with host bits set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Notation {
    address: Ipv4Addr,
    /// Prefix length; `None` for a single address.
    length: Option<u8>,
}

impl Notation {
    /// Returns the range with its host bits cleared; a single address is a /32.
    fn range(self) -> Ipv4Net {
        // `parse` accepts at most 32, so the fallback is never used. It is the smallest range.
        Ipv4Net::new(self.address, self.length.unwrap_or(32))
            .map_or_else(|_| Ipv4Net::from(self.address), |n| n.trunc())
    }

    /// Returns the fault of host bits, with those of the two remedies that the field accepts.
    fn host_bits(self, accepts: impl Fn(&Ipv4Net) -> bool) -> Option<AddressFault> {
        let range = self.range();
        (range.network() != self.address).then(|| {
            let single = Ipv4Net::from(self.address);
            let remedy = match (accepts(&range), accepts(&single)) {
                (true, true) => {
                    format!("; write {range}, or the single address {}", self.address)
                }
                (true, false) => format!("; write {range}"),
                (false, true) => format!("; write the single address {}", self.address),
                (false, false) => String::new(),
            };
            AddressFault::new(
                FaultReason::HostBitsSet,
                format!("has bits set beyond its prefix{remedy}"),
            )
        })
    }
}

/// Examples for a field that takes public addresses, and for one that takes private ones.
const PUBLIC_EXAMPLES: &str =
    "write an IPv4 address such as 203.0.113.7, or a range such as 198.51.100.0/24";
const PRIVATE_EXAMPLES: &str =
    "write an IPv4 address such as 10.20.0.7, or a range such as 10.20.0.0/16";

/// Parses the value of an IP rule: one public address, or a public range with a prefix length of at most
/// [`LONGEST_IP_RULE_PREFIX`].
///
/// # Errors
/// Every fault of the value.
pub fn public_prefix(text: &str) -> Result<Ipv4Net, Vec<AddressFault>> {
    let notation = parse(text, PUBLIC_EXAMPLES).map_err(|fault| vec![fault])?;
    let range = notation.range();
    let mut faults = Vec::new();
    match notation.length {
        Some(0) => {
            return Err(vec![AddressFault::new(
                FaultReason::AllAddresses,
                "is every address; list the ranges that you mean, or set defaultAction: Allow"
                    .to_owned(),
            )]);
        }
        Some(length) if length > LONGEST_IP_RULE_PREFIX => {
            faults.push(too_long(length, range));
        }
        _ => faults.extend(notation.host_bits(|range| special_range_fault(*range).is_none())),
    }
    faults.extend(special_range_fault(range));
    if faults.is_empty() {
        Ok(range)
    } else {
        Err(faults)
    }
}

/// Returns the fault of a range that an IP rule writes as single addresses, which are the remedy if it accepts them.
fn too_long(length: u8, range: Ipv4Net) -> AddressFault {
    let remedy = match special_range_fault(range) {
        Some(_) => String::new(),
        None if length == 32 => format!("; write the single address {}", range.network()),
        None => format!(
            "; write the single addresses {} and {} as two rules",
            range.network(),
            range.broadcast()
        ),
    };
    AddressFault::new(
        FaultReason::PrefixTooLong,
        format!("is a /{length}, which an IP rule does not accept{remedy}"),
    )
}

/// Returns a fault if `range` overlaps a special range. It names the first one in the order of [`SPECIAL_RANGES`],
/// which begins with the private ones, because their advice is the most useful.
fn special_range_fault(range: Ipv4Net) -> Option<AddressFault> {
    let mut overlapping = SPECIAL_RANGES
        .iter()
        .filter(|special| overlap(special.prefix, range));
    let special = overlapping.next()?;
    let relation = if special.prefix.contains(&range) {
        "lies in"
    } else {
        "overlaps"
    };
    let more = match overlapping.count() {
        0 => String::new(),
        n => format!(" (and {n} more such ranges)"),
    };
    Some(AddressFault::new(
        special.reason,
        format!(
            "{relation} {} ({}){more}, which is not public; {}",
            special.prefix, special.name, special.advice
        ),
    ))
}

/// Whether two ranges share an address: true exactly when one prefix contains the other.
fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// Parses an address prefix of a `VirtualNetwork`'s subnet: private, shared or loopback. A single address may have the
/// prefix length 32 or none.
///
/// # Errors
/// Every fault of the value.
pub fn subnet_prefix(text: &str) -> Result<Ipv4Net, Vec<AddressFault>> {
    let notation = parse(text, PRIVATE_EXAMPLES).map_err(|fault| vec![fault])?;
    let range = notation.range();
    let is_private = |range: &Ipv4Net| SUBNET_RANGES.iter().any(|allowed| allowed.contains(range));
    let mut faults: Vec<_> = notation.host_bits(is_private).into_iter().collect();
    if notation.length == Some(0) {
        faults = vec![AddressFault::new(
            FaultReason::AllAddresses,
            "is every address; list the subnet's own prefixes".to_owned(),
        )];
    } else if !is_private(&range) {
        faults.push(AddressFault::new(
            FaultReason::NotPrivate,
            "is not wholly inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 or 127.0.0.0/8; a subnet \
             takes private, shared or loopback prefixes, public addresses belong in spec.ipRules of a \
             VaultNetworkPolicy"
                .to_owned(),
        ));
    }
    if faults.is_empty() {
        Ok(range)
    } else {
        Err(faults)
    }
}

/// Parses the address or range of a trusted proxy: any that a peer can have, but never all addresses.
///
/// # Errors
/// Every fault of the value.
pub fn proxy_prefix(text: &str) -> Result<Ipv4Net, Vec<AddressFault>> {
    let notation = parse(text, PUBLIC_EXAMPLES).map_err(|fault| vec![fault])?;
    let range = notation.range();
    if notation.length == Some(0) {
        return Err(vec![AddressFault::new(
            FaultReason::AllAddresses,
            "is every address, so that any caller could choose its own client address; list the proxies' own \
             addresses"
                .to_owned(),
        )]);
    }
    let never = |range: &Ipv4Net| NEVER_A_PEER.iter().find(|never| overlap(**never, *range));
    let can_be_peer = |range: &Ipv4Net| never(range).is_none();
    let mut faults: Vec<_> = notation.host_bits(can_be_peer).into_iter().collect();
    if let Some(never) = never(&range) {
        faults.push(AddressFault::new(
            FaultReason::Invalid,
            format!("overlaps {never}, which no proxy can have; list the proxies' own addresses"),
        ));
    }
    if faults.is_empty() {
        Ok(range)
    } else {
        Err(faults)
    }
}

/// Parses `a.b.c.d` or `a.b.c.d/n` in decimal without leading zeros.
fn parse(text: &str, examples: &str) -> Result<Notation, AddressFault> {
    let malformed =
        |why: &str| AddressFault::new(FaultReason::Malformed, format!("{why}; {examples}"));
    if text.is_empty() {
        return Err(malformed("is empty"));
    }
    if text.chars().any(char::is_whitespace) {
        return Err(malformed("contains white space"));
    }
    if let Some((before, after)) = text.split_once(':') {
        if address(before).is_ok() && after.bytes().all(|b| b.is_ascii_digit() || b == b'/') {
            return Err(malformed("has a port"));
        }
        let outside_zone = text.split('%').next().unwrap_or_default();
        return Err(
            if outside_zone
                .chars()
                .all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '/' | '[' | ']'))
            {
                AddressFault::new(
                    FaultReason::OnlyIpv4,
                    "is IPv6; only IPv4 is supported, write the IPv4 address or range".to_owned(),
                )
            } else {
                malformed("is not an address (no URLs, names or ports)")
            },
        );
    }
    if text.contains('%') {
        return Err(malformed("has a zone id"));
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
