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

    let load = shop.load("client", &vault.token, &url);
    // A peer joins by another's API port, and is asked by its cluster port from then on.
    vault.scale(1, 3);
    assert_eq!(vault.voters(3), ["openbao-0", "openbao-1", "openbao-2"]);
    // Those that wait forward what they are asked, by the cluster port.
    shop.comes_to("client", &vault.token, &url, Some(200));

    for peer in ["openbao-2", "openbao-1"] {
        vault.bao(&["operator", "raft", "remove-peer", peer]);
    }
    vault.scale(3, 1);
    assert_eq!(vault.voters(1), ["openbao-0"]);
    shop.comes_to("client", &vault.token, &url, Some(200));
    let counts = load.end();
    // Peers that are sealed or leave answer by themselves; nothing is let through that the rules do not allow, and most is served.
    assert!(
        counts
            .answers
            .get(&200)
            .is_some_and(|served| *served * 2 > counts.requests),
        "{}",
        counts.said
    );
}
