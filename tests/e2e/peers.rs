//! A vault of several peers behind its wall: they reach each other by both ports, and nobody else reaches them.

use serde_json::json;

use crate::on_kind::client::{Clients, OPTED_IN};
use crate::on_kind::vault::{SECRET, Vault};
use crate::{rule, shared};

const SHOP: &str = "e2e-peers-shop";

#[test]
fn three_peers_join_behind_the_wall_and_two_leave() {
    let _stage = shared();
    let vault = Vault::start("e2e-peers");
    let shop = Clients::new(SHOP, OPTED_IN, &vault);
    shop.start("client", "shop");
    vault.protect(&json!({"virtualNetworkRules": [rule(SHOP, "shop")]}));
    let url = vault.url("openbao-firewall", 8200, SECRET);
    shop.comes_to("client", &vault.token, &url, Some(200));

    let other = Clients::new("e2e-peers-other", OPTED_IN, &vault);
    other.start("client", "shop");
    let load = shop.load("client", &vault.token, &url);
    let denied = other.load("client", &vault.token, &url);
    // A peer joins by another's API port, and is asked by its cluster port from then on.
    vault.scale(1, 3);
    assert_eq!(vault.voters(3), ["openbao-0", "openbao-1", "openbao-2"]);
    // Those that wait forward what they are asked, by the cluster port.
    shop.comes_to("client", &vault.token, &url, Some(200));
    // The new ones are behind the wall as the first is.
    for peer in 0..3 {
        let direct = format!("https://{}:8200{SECRET}", vault.address_of(peer));
        for clients in [&shop, &other] {
            assert_eq!(
                clients.ask("client", &vault.token, &direct).status(),
                None,
                "{direct}"
            );
        }
    }

    for peer in ["openbao-2", "openbao-1"] {
        vault.bao(&["operator", "raft", "remove-peer", peer]);
    }
    vault.scale(3, 1);
    assert_eq!(vault.voters(1), ["openbao-0"]);
    shop.comes_to("client", &vault.token, &url, Some(200));
    let counts = load.end();
    let denied = denied.end();
    println!(
        "let in {}, not let in {}",
        counts.said.trim(),
        denied.said.trim()
    );
    assert_eq!(denied.answers.get(&200), None, "{}", denied.said);
    // A peer that is taken out takes the requests with it that it was asked.
    let served = counts.answers.get(&200).copied().unwrap_or_default();
    assert!(served * 20 > counts.requests * 19, "{}", counts.said);
}
