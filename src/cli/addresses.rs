//! Addresses on the command line. Each form that people write is understood, or refused with the form to write instead.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::compile::envoy::Upstream;

/// Parses `HOST:PORT`.
pub(super) fn upstream(text: &str) -> Result<Upstream, String> {
    let wanted = "write HOST:PORT, for example 127.0.0.1:8200";
    let (host, port) = match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') || host.contains('[') => {
            return Err(format!(
                "only IPv4 is supported; {wanted}, with an IPv4 address or a DNS name"
            ));
        }
        Some(("", port)) => {
            return Err(format!(
                "the host is missing; write 127.0.0.1:{port}, or the vault's own address"
            ));
        }
        Some((host, "")) => {
            return Err(format!("the port is missing; write HOST:PORT, {host}:8200"));
        }
        Some(parts) => parts,
        None if text.is_empty() => return Err(wanted.into()),
        None if is_number(text) => {
            return Err(format!(
                "the host is missing; write HOST:PORT, 127.0.0.1:{text}"
            ));
        }
        None => return Err(format!("the port is missing; write HOST:PORT, {text}:8200")),
    };
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if host.len() > 253 || !name.split('.').all(is_label) {
        return Err(format!(
            "{wanted}; the host is neither a DNS name nor an IPv4 address"
        ));
    }
    if name.rsplit('.').next().is_some_and(is_number) && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{wanted}; the host is not an IPv4 address"));
    }
    match port.parse() {
        Ok(port) if port > 0 => Ok(Upstream {
            host: host.into(),
            port,
        }),
        _ => Err(format!("{wanted}; the port is a number from 1 to 65535")),
    }
}

/// Parses the address of a vault that is reached by plain HTTP: `HOST:PORT`, also as a URL.
pub(super) fn plain_http(text: &str) -> Result<Upstream, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return upstream(text);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (address, path) = rest.split_at(end);
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => {
            return Err(
                "the connection to the vault is plain HTTP in standalone mode: give the vault a listener without TLS \
                 on loopback and write its HOST:PORT, or protect it on a cluster, where spec.proxy.upstreamTls \
                 enables TLS"
                    .into(),
            );
        }
        _ => {
            return Err(format!(
                "{scheme}:// is not supported; write HOST:PORT, for example 127.0.0.1:8200"
            ));
        }
    }
    if let Some((_, address)) = address.rsplit_once('@') {
        return Err(format!("an address has no user; write {address}"));
    }
    if !["", "/"].contains(&path) {
        return Err(format!(
            "an address has no path; write {address}, without {path}"
        ));
    }
    upstream(address)
}

/// Parses the address of an endpoint.
pub(super) fn listen(text: &str) -> Result<SocketAddrV4, String> {
    if let Ok(address) = text.parse::<SocketAddrV4>()
        && address.port() > 0
    {
        return Ok(address);
    }
    let wanted = "write an IPv4 address and a port";
    if let Some((_, rest)) = text.split_once("://") {
        let end = rest.find('/').unwrap_or(rest.len());
        let (address, _) = rest.split_at(end);
        return Err(format!("{wanted} without a scheme: {address}"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some(parts) => parts,
        None if is_number(text) => ("", text),
        None => (text, ""),
    };
    let known_port = if is_number(port) && port != "0" {
        port
    } else {
        "8300"
    };
    Err(match host {
        "" | "*" => format!(
            "{wanted}: 127.0.0.1:{known_port} for this machine alone, 0.0.0.0:{known_port} for every IPv4 network"
        ),
        "localhost" => format!("{wanted}, not a name: 127.0.0.1:{known_port}"),
        _ if host.contains(':') || host.contains('[') => {
            format!("{wanted}, for example 127.0.0.1:{known_port}; IPv6 is not supported")
        }
        _ if host.parse::<Ipv4Addr>().is_err() => format!(
            "{wanted}, for example 127.0.0.1:{known_port}; {host} is not an IPv4 address, and a name is not accepted"
        ),
        _ if port.is_empty() => format!("{wanted}; the port is missing: {host}:{known_port}"),
        _ => format!(
            "{wanted}, for example {host}:{known_port}; the port is a number from 1 to 65535"
        ),
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    #[rustfmt::skip] // a table
    fn an_upstream_is_a_host_and_a_port() {
        let long = format!("{}:8200", "a".repeat(64));
        for (text, good) in [
            ("127.0.0.1:8200", true), ("openbao:8200", true), ("openbao.vault.svc.:1", true), ("a-b_c.d:65535", true),
            ("", false), (":8200", false), ("openbao", false), ("openbao:", false), ("openbao:0", false),
            ("openbao:65536", false), ("openbao:+1x", false), ("open bao:8200", false), ("a..b:8200", false),
            ("[::1]:8200", false), ("::1:8200", false), ("999.1.1.1:8200", false), ("1.2.3:8200", false),
            ("http://openbao:8200", false), ("openbao/x:8200", false), (&long, false),
        ] {
            assert_eq!(upstream(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_url_of_plain_http_is_an_address() {
        for (text, host) in [
            ("127.0.0.1:8200", "127.0.0.1"),
            ("http://127.0.0.1:8200", "127.0.0.1"),
            ("http://127.0.0.1:8200/", "127.0.0.1"),
            ("HTTP://vault.example:8200", "vault.example"),
        ] {
            let found = plain_http(text).unwrap();
            assert_eq!((found.host.as_str(), found.port), (host, 8200), "{text}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table
    fn a_refused_address_comes_with_the_one_to_write() {
        type Parser = fn(&str) -> Option<String>;
        let vault: Parser = |text| plain_http(text).err();
        let endpoint: Parser = |text| listen(text).err();
        for (parser, text, expected) in [
            (vault, "vault.example",              "port is missing; write HOST:PORT, vault.example:8200"),
            (vault, "vault.example:",             "vault.example:8200"),
            (vault, "http://vault.example",       "port is missing; write HOST:PORT, vault.example:8200"),
            (vault, "http://vault.example/",      "vault.example:8200"),
            (vault, ":8200",                      "host is missing; write 127.0.0.1:8200"),
            (vault, "8200",                       "127.0.0.1:8200"),
            (vault, "https://127.0.0.1:8200",     "plain HTTP in standalone mode"),
            (vault, "https://127.0.0.1:8200",     "spec.proxy.upstreamTls"),
            (vault, "unix:///run/bao.sock",       "unix:// is not supported"),
            (vault, "http://h:8200/v1",           "write h:8200, without /v1"),
            (vault, "http://h:8200/?a=b",         "write h:8200, without /?a=b"),
            (vault, "http://me:pw@h:8200",        "no user; write h:8200"),
            (vault, "http://[::1]:8200",          "only IPv4"),
            (vault, "::1",                        "only IPv4"),
            (endpoint, ":8300",                   "127.0.0.1:8300 for this machine alone, 0.0.0.0:8300 for"),
            (endpoint, "*:8300",                  "0.0.0.0:8300"),
            (endpoint, "8300",                    "0.0.0.0:8300"),
            (endpoint, "localhost:8201",          "not a name: 127.0.0.1:8201"),
            (endpoint, "vault.example:8300",      "vault.example is not an IPv4 address"),
            (endpoint, "0.0.0.0",                 "port is missing: 0.0.0.0:8300"),
            (endpoint, "127.0.0.1:0",             "1 to 65535"),
            (endpoint, "127.0.0.1:70000",         "1 to 65535"),
            (endpoint, "[::1]:8300",              "IPv6 is not supported"),
            (endpoint, "http://127.0.0.1:8300/",  "without a scheme: 127.0.0.1:8300"),
            (endpoint, "010.0.0.1:8300",          "010.0.0.1 is not an IPv4 address"),
        ] {
            let message = parser(text).unwrap_or_else(|| format!("{text} is accepted"));
            assert!(message.contains(expected), "{text}: {expected} is not in: {message}");
        }
    }

    #[test]
    fn an_endpoint_is_an_ipv4_address_and_a_port() {
        for text in ["127.0.0.1:8300", "0.0.0.0:1"] {
            assert_eq!(listen(text).unwrap().to_string(), text);
        }
    }
}
