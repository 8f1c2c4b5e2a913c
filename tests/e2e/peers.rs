//! A vault of several peers behind its wall: they reach each other by both ports, and nobody else reaches them.

use crate::scene::Scene;
use crate::shared;

#[test]
fn three_peers_join_behind_the_wall_and_two_leave() {
    let _stage = shared();
    let scene = Scene::protected("e2e-peers");
    let vault = &scene.vault;
    let asked = scene.under_load("1, 3 and 1 peers", || {
        // A peer joins by another's API port, and is asked by its cluster port from then on.
        vault.scale(1, 3);
        assert_eq!(vault.voters(3), ["openbao-0", "openbao-1", "openbao-2"]);
        // Those that wait forward what they are asked, by the cluster port.
        scene.shop("client", 200);
        // The new ones are behind the wall as the first is.
        scene.is_walled_in(3);

        for peer in ["openbao-2", "openbao-1"] {
            vault.bao(&["operator", "raft", "remove-peer", peer]);
        }
        vault.scale(3, 1);
        assert_eq!(vault.voters(1), ["openbao-0"]);
        scene.shop("client", 200);
    });
    assert_eq!(asked.other.answers.get(&200), None, "{}", asked.other.said);
    // A peer that is taken out takes the requests with it that it was asked.
    let served = asked.shop.answers.get(&200).copied().unwrap_or_default();
    assert!(
        served * 20 > asked.shop.requests * 19,
        "{}",
        asked.shop.said
    );
}
