//! A vault of several peers behind its `NetworkPolicy`: the peers reach each other on both ports, and no other pod
//! reaches them.

use crate::scene::Scene;
use crate::shared;

#[test]
fn two_peers_join_behind_the_network_policy_and_leave() {
    let (scene, _operator) = Scene::protected("e2e-peers", shared);
    let vault = &scene.vault;
    let asked = scene.under_load("1, 3 and 1 peers", || {
        // A peer joins by another peer's API port; after that they use the cluster ports.
        vault.scale(1, 3);
        assert_eq!(vault.voters(3), ["openbao-0", "openbao-1", "openbao-2"]);
        // Standby peers forward requests to the active one, by the cluster port.
        scene.shop("client", 200);
        // The NetworkPolicy holds for the new peers too.
        scene.vault_is_unreachable(3);

        for peer in ["openbao-2", "openbao-1"] {
            vault.bao(&["operator", "raft", "remove-peer", peer]);
        }
        vault.scale(3, 1);
        assert_eq!(vault.voters(1), ["openbao-0"]);
        scene.shop("client", 200);
    });
    assert_eq!(asked.other.answers.get(&200), None, "{}", asked.other.json);
    // Requests that a removed peer was serving are lost.
    let served = asked.shop.answers.get(&200).copied().unwrap_or_default();
    assert!(
        served * 20 > asked.shop.requests * 19,
        "{}",
        asked.shop.json
    );
}
