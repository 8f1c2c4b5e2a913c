//! Exceptions from `HTTPS_PROXY`: API servers in `NO_PROXY`, which is read as kubectl does, and those on this machine.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether `host` is reached directly in spite of `HTTPS_PROXY`. `no_proxy` holds names (with their subdomains), names
/// that begin with a dot (subdomains only), addresses and prefixes, each with or without a port, or `*`.
pub(super) fn is_direct(host: &str, port: u16, no_proxy: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    if host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback()) {
        return true;
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    no_proxy
        .split(',')
        .map(str::trim)
        .any(|entry| matches(&host, address, port, entry))
}

fn matches(host: &str, address: Option<IpAddr>, port: u16, entry: &str) -> bool {
    if entry == "*" {
        return true;
    }
    if let (Some(address), Ok(net)) = (address, entry.parse::<IpNet>()) {
        return net.contains(&address);
    }
    if let (Some(address), Ok(other)) = (address, entry.parse::<IpAddr>()) {
        return address == other;
    }
    let name = match entry.rsplit_once(':') {
        Some((name, digits)) if digits.parse() == Ok(port) => name,
        Some((_, digits)) if digits.parse::<u16>().is_ok() => return false,
        _ => entry,
    };
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix('*').unwrap_or(&name);
    match name.strip_prefix('.') {
        Some(parent) => !parent.is_empty() && host.ends_with(name),
        None => !name.is_empty() && (host == name || host.ends_with(&format!(".{name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // a table
    fn no_proxy_and_local_servers_are_reached_directly() {
        for (host, no_proxy, direct) in [
            ("localhost", "", true), ("127.0.0.2", "", true), ("[::1]", "", true),
            ("10.0.0.1", "", false), ("api.example.com", "", false),
            ("api.example.com", "*", true),
            ("api.example.com", "example.com", true), ("api.example.com", ".example.com", true),
            ("api.example.com", "*.example.com", true), ("API.example.com.", "Example.COM", true),
            ("example.com", ".example.com", false), ("badexample.com", "example.com", false),
            ("api.example.com", "other.com, example.com:6443", true), ("api.example.com", "example.com:443", false),
            ("10.1.2.3", "10.0.0.0/8", true), ("10.1.2.3", "10.1.2.3", true), ("10.1.2.3", "10.1.2.3:6443", true),
            ("11.1.2.3", "10.0.0.0/8,", false), ("10.1.2.3", ".", false),
        ] {
            assert_eq!(is_direct(host, 6443, no_proxy), direct, "{host} with {no_proxy}");
        }
    }
}
