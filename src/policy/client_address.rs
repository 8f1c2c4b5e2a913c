//! The client's address behind load balancers, to which IP rules apply. See the `clientAddress` section of
//! `docs/guide.md`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::model::ClientAddressSource;

/// Largest number of addresses in `X-Forwarded-For`. If there are more, Envoy 1.40 ignores the header.
const MAX_ENTRIES: usize = 20;

/// Finds the client's address from the peer of the connection and the lines of `X-Forwarded-For`, in the way that Envoy
/// does it.
///
/// Only the header of a listed proxy is trusted. The client is the rightmost address that is not a listed proxy's, or
/// the leftmost address if all are. The lines form one list; empty lines are skipped. The result is the peer if there
/// is no line, if the search meets an entry that is not an address (empty, with a port, in brackets, in short
/// notation), or if there are more than 20 entries. Then the client is unknown and no IP rule applies (see
/// [`is_unknown`]).
pub fn resolve(source: &ClientAddressSource, peer: IpAddr, forwarded_for: &[&str]) -> IpAddr {
    let ClientAddressSource::XForwardedFor { trusted_proxies } = source else {
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
        let Ok(address) = trim(entry).parse::<IpAddr>() else {
            return peer;
        };
        client = address;
        if !is_listed(trusted_proxies, address) {
            break;
        }
    }
    client
}

/// Whether the client's address is a listed proxy's, so that the real client is unknown.
///
/// No IP rule applies to such a client. Otherwise any caller could send a header that is too long, be treated as the
/// proxy, and match a rule for the proxy's address.
pub fn is_unknown(source: &ClientAddressSource, client: IpAddr) -> bool {
    match source {
        ClientAddressSource::Direct => false,
        ClientAddressSource::XForwardedFor { trusted_proxies } => {
            is_listed(trusted_proxies, client)
        }
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Whether an address is a listed proxy's.
pub fn is_listed(proxies: &[Ipv4Net], address: IpAddr) -> bool {
    ipv4(address).is_some_and(|address| proxies.iter().any(|proxy| proxy.contains(&address)))
}

/// Returns an IPv4 address. An IPv6 address, even an IPv4-mapped one, matches no rule.
pub fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
