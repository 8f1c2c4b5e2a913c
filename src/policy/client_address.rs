//! The client's address behind load balancers, to which IP rules apply. See the `clientAddress` section of
//! `docs/guide.md`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::{ClientAddressSource, TrustedProxies};

/// Largest number of addresses in `X-Forwarded-For`. If there are more, the header is ignored.
pub const MAX_ENTRIES: usize = 20;

/// Largest number of bytes of an entry, with the blanks around it. A longer one cannot be read.
pub const MAX_LENGTH: usize = 64;

/// Finds the client's address from the peer of the connection and the lines of `X-Forwarded-For`.
/// `compile::envoy::client` gives Envoy the same rules.
///
/// Only the header of a listed proxy is trusted. The client is the rightmost address that is not a listed proxy's, or
/// the leftmost address if all are. The lines form one list; empty lines are skipped. The result is the peer if there
/// is no line, if the search meets an entry that [`read`] cannot read, or if there are more than 20 entries. Then the
/// client is unknown and no IP rule applies (see [`is_unknown`]).
pub fn resolve(source: &ClientAddressSource, peer: IpAddr, forwarded_for: &[&str]) -> IpAddr {
    let Some(trusted_proxies) = source.trusted_proxies() else {
        return peer;
    };
    if !is_listed(trusted_proxies, peer) {
        return peer;
    }
    let entries: Vec<&str> = forwarded_for
        .iter()
        .filter(|line| !trim(line).is_empty())
        .flat_map(|line| line.split(','))
        .collect();
    if entries.len() > MAX_ENTRIES {
        return peer;
    }
    let mut client = peer;
    for entry in entries.iter().rev() {
        let Some(address) = read(entry) else {
            return peer;
        };
        client = address;
        if !is_listed(trusted_proxies, address) {
            break;
        }
    }
    client
}

/// Reads an entry of `X-Forwarded-For`: an IPv4 or IPv6 address, also with a port (`192.0.2.7:443`, `[2001:db8::7]`,
/// `[2001:db8::7]:443`). The port is not part of the address. `::ffff:192.0.2.7` is the IPv4 address 192.0.2.7. Returns
/// `None` for anything else, such as `unknown`.
pub fn read(entry: &str) -> Option<IpAddr> {
    if entry.len() > MAX_LENGTH {
        return None;
    }
    let text = trim(entry);
    if let Some(inner) = text.strip_prefix('[') {
        let (inner, after) = inner.split_once(']')?;
        let port = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return port.then(|| ipv6(inner))?;
    }
    let without_port = text.split_once(':').filter(|(_, port)| is_port(port));
    let plain = without_port.map_or(text, |(address, _)| address);
    plain.parse().map(IpAddr::V4).ok().or_else(|| ipv6(text))
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads an IPv6 address, or the IPv4 address that one of the form `::ffff:192.0.2.7` stands for.
fn ipv6(text: &str) -> Option<IpAddr> {
    let mapped = text
        .split_at_checked("::ffff:".len())
        .filter(|(start, _)| start.eq_ignore_ascii_case("::ffff:"))
        .and_then(|(_, address)| address.parse().ok());
    mapped
        .map(IpAddr::V4)
        .or_else(|| text.parse::<Ipv6Addr>().map(IpAddr::V6).ok())
}

/// Whether the client's address is a listed proxy's, so that the real client is unknown.
///
/// No IP rule applies to such a client. Otherwise any caller could send a header that is too long, be treated as the
/// proxy, and match a rule for the proxy's address.
pub fn is_unknown(source: &ClientAddressSource, client: IpAddr) -> bool {
    source
        .trusted_proxies()
        .is_some_and(|proxies| is_listed(proxies, client))
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Whether an address is a listed proxy's.
pub fn is_listed(proxies: &TrustedProxies, address: IpAddr) -> bool {
    ipv4(address).is_some_and(|address| proxies.contains(address))
}

/// Returns an IPv4 address. An IPv6 address matches no rule.
pub fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
