//! A vault in `mode: Audit` under load: nothing is blocked, and exactly what `Enforced` denies is recorded. A change of
//! the mode costs no request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::scene::Scene;
use crate::shared;
use testkit::cluster::client::Counts;
use testkit::cluster::{eventually, get_object, kubectl};

#[test]
fn audit_blocks_nothing_and_records_what_enforced_denies() {
    let scene = Scene::start("e2e-audit");
    let _operator = shared();
    scene.protect(&json!({"mode": "Audit"}));
    scene.shop("client", 200);
    scene.other(Some(200));
    // Clients cannot pass the firewall, so that nobody is missing in its log.
    scene.vault_is_unreachable(1);
    shows(&scene, "Audit", true);
    let proxies = scene.proxies();

    let asked = scene.under_load("in Audit", || {
        eventually("requests that would be denied are recorded", || {
            let seen = reasons(&scene);
            let marked = seen.contains_key("AuditMode ForbiddenByFirewall");
            marked.then_some(()).ok_or_else(|| format!("{seen:?}"))
        });
    });
    only(&asked.shop, &[200]);
    only(&asked.other, &[200]);
    let seen = reasons(&scene);
    let is_expected = |(reason, _): (&String, &u64)| {
        ["AuditMode ForbiddenByFirewall", "VirtualNetworkRule -"].contains(&reason.as_str())
    };
    assert!(seen.iter().all(is_expected), "{seen:?}");

    // The answers change in the middle; each request has one.
    let asked = scene.under_load("Audit to Enforced and back", || {
        scene.protect(&json!({}));
        scene.other(Some(403));
        shows(&scene, "Enforced", false);
        scene.protect(&json!({"mode": "Audit"}));
        scene.other(Some(200));
        shows(&scene, "Audit", true);
    });
    only(&asked.shop, &[200]);
    only(&asked.other, &[200, 403]);
    let seen = reasons(&scene);
    assert!(seen.contains_key("ForbiddenByFirewall -"), "{seen:?}");

    // Nothing is dropped, because the proxies could not record it.
    scene.protect(&json!({"mode": "Audit", "denial": "Drop"}));
    scene.other(Some(200));
    scene.shop("client", 200);
    assert_eq!(scene.proxies(), proxies, "no proxy was replaced");
}

/// Checks that every request was answered, with each of these status codes.
fn only(counts: &Counts, expected: &[u16]) {
    let seen: Vec<u16> = counts.answers.keys().copied().collect();
    assert!(counts.failures == 0 && seen == expected, "{}", counts.json);
}

/// Waits until the status has this mode, and the warning or not.
fn shows(scene: &Scene, mode: &str, warns: bool) {
    let kind = "vaultwall.dev/v1alpha1/vaultnetworkpolicies";
    eventually("the status has the mode", || {
        let policy = get_object(kind, &scene.vault.namespace.name, "openbao").unwrap();
        let status = &policy["status"];
        let warnings = status["warnings"].as_array();
        let has = warnings
            .into_iter()
            .flatten()
            .any(|found| found["reason"] == "AuditMode");
        (status["mode"] == mode && has == warns)
            .then_some(())
            .ok_or_else(|| status.to_string())
    });
}

/// How often the proxies' access logs have each pair of `reason` and `wouldDeny` for reads of the data plane.
fn reasons(scene: &Scene) -> BTreeMap<String, u64> {
    let log = kubectl(&[
        "logs",
        "--namespace",
        &scene.vault.namespace.name,
        "--selector=app.kubernetes.io/name=vaultwall-firewall",
        "--tail=-1",
    ]);
    let mut counts = BTreeMap::new();
    let records = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for record in records.filter(|record| record["plane"] == "data") {
        let text = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
        let key = format!("{} {}", text("reason"), text("wouldDeny"));
        *counts.entry(key).or_default() += 1;
    }
    counts
}
