//! The address of the client: the table of `client_address.txt`.

use std::net::IpAddr;

use vaultwall::policy::{ClientAddressSource, client_address};

use crate::decisions::table::{optional, rows};

/// Source, peer, lines of `X-Forwarded-For` (`/` between lines), client.
const COLUMNS: usize = 4;

#[test]
fn client_addresses_are_as_in_the_table() {
    let mut wrong = Vec::new();
    for row in rows("client_address.txt", COLUMNS) {
        let [source, peer, lines, client] = row.cells.as_slice() else {
            panic!("{}: columns", row.place)
        };
        let source = match source.as_str() {
            "Direct" => ClientAddressSource::Direct,
            proxies => ClientAddressSource::XForwardedFor {
                trusted_proxies: proxies
                    .strip_prefix("XFF")
                    .unwrap()
                    .split_whitespace()
                    .map(|proxy| proxy.parse().unwrap())
                    .collect(),
            },
        };
        let lines: Vec<&str> = optional(lines).map_or(Vec::new(), |lines| {
            lines
                .split(" / ")
                .map(|line| line.trim_matches('"'))
                .collect()
        });
        let got = client_address::resolve(&source, peer.parse().unwrap(), &lines);
        if got != client.parse::<IpAddr>().unwrap() {
            wrong.push(format!("{}: expected {client}, got {got}", row.place));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
