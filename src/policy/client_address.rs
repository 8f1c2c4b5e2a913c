//! Who the client is behind load balancers (R29): the address that IP rules are judged by.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::ClientAddressSource;

/// Finds the client's address from the connection's peer and the lines of `X-Forwarded-For`, in order.
///
/// Only a listed proxy is believed. From one, the rightmost address that is not a listed proxy's counts; when every
/// address is a proxy's, the leftmost. An entry that is not an address ends the search, and the peer itself counts.
pub fn resolve(source: &ClientAddressSource, peer: IpAddr, forwarded_for: &[&str]) -> IpAddr {
    let ClientAddressSource::XForwardedFor { trusted_proxies } = source else {
        return peer;
    };
    if !is_listed(trusted_proxies, peer) {
        return peer;
    }
    let mut client = peer;
    let entries: Vec<&str> = forwarded_for
        .iter()
        .flat_map(|line| line.split(','))
        .collect();
    for entry in entries.iter().rev() {
        let Ok(address) = entry.trim_matches([' ', '\t']).parse::<IpAddr>() else {
            return peer;
        };
        client = address;
        if !is_listed(trusted_proxies, address) {
            break;
        }
    }
    client
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
