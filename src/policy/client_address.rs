//! Who the client is behind load balancers (R29): the address that IP rules are judged by.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::ClientAddressSource;

/// More addresses than this in `X-Forwarded-For`, and Envoy 1.40 reads none of them.
const LONGEST_CHAIN: usize = 20;

/// Finds the client's address from the connection's peer and the lines of `X-Forwarded-For`, in order, as Envoy does it.
///
/// Only a listed proxy is believed. From one, the rightmost address that is not a listed proxy's counts; when every
/// address is a proxy's, the leftmost. Lines are read as one, empty lines are passed over. Where there is no line, where
/// an entry is not an address (empty, with a port, in brackets, in short notation) before the search has ended, and
/// where there are more than 20 entries, the peer counts: then nobody knows the client, and no IP rule holds
/// (see [`is_unknown`]).
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
    if entries.len() > LONGEST_CHAIN {
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

/// Whether the client's address is a listed proxy's: then the proxy named nobody else, and nobody knows the client.
///
/// Such a client is in no IP rule. Otherwise a caller from anywhere, by a header too long to be read, would pass as the
/// proxy, whose address may well be in an office's range.
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

/// The IPv4 address, if it is one. An IPv6 peer, also an IPv4-mapped one, matches no rule.
pub fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
