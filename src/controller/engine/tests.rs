//! Events in; snapshots and state out.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::objects::decode;

fn engine() -> Engine {
    let (metrics, _) = Metrics::new();
    let mut engine = Engine::new(
        Limits::default(),
        BTreeMap::new(),
        Arc::new(SnapshotStore::new()),
        Arc::new(FirewallState::default()),
        Arc::new(metrics),
    );
    for kind in Kind::ALL {
        engine.take(Seen::Listed(*kind));
    }
    engine
}

fn publish(engine: &mut Engine) {
    engine.publish_changed(Instant::now());
    engine.state.commit(std::mem::take(&mut engine.delta));
}

fn vault() -> VaultId {
    VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    }
}

/// A policy that lets these addresses in; `None` makes it invalid.
fn policy(uid: &str, version: u64, addresses: Option<&[&str]>) -> Seen {
    let rules: Vec<Value> = addresses.map_or_else(
        || vec![json!({"value": "10.0.0.1"})],
        |addresses| {
            let rule = |value: &&str| json!({"value": value});
            addresses.iter().map(rule).collect()
        },
    );
    let object = json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VaultNetworkPolicy",
        "metadata": {"name": "web", "namespace": "vault", "uid": uid},
        "spec": {"targetRef": {"name": "openbao", "port": 8200}, "ipRules": rules},
    });
    let seen = seen(Kind::VaultNetworkPolicy, id(), uid, version, object);
    let Seen::Applied(observed) = &seen else {
        return seen;
    };
    let read = &observed.read;
    assert_eq!(read.is_ok(), addresses.is_some(), "{read:?}");
    seen
}

fn seen(kind: Kind, name: ObjectName, uid: &str, version: u64, object: Value) -> Seen {
    Seen::Applied(Box::new(Observed {
        key: Key::new(kind, name),
        uid: uid.into(),
        version,
        generation: i64::try_from(version).unwrap(),
        status: None,
        read: decode(kind, object, &Limits::default()),
    }))
}

fn id() -> ObjectName {
    ObjectName {
        namespace: "vault".into(),
        name: "web".into(),
    }
}

/// How many addresses are let in by the newest snapshot's firewall, and whether that is for new proxies alone.
fn in_force(engine: &Engine) -> (usize, bool) {
    let entry = engine.state.vault(&vault()).unwrap();
    let snapshot = engine.store.snapshot(&vault().to_string()).unwrap();
    assert_eq!(entry.cold_start, snapshot.is_cold_start());
    assert_eq!(entry.version, snapshot.version());
    let firewall = &entry.resolution.resolution.firewall;
    (firewall.ip_rules.len(), entry.cold_start)
}

#[tokio::test]
async fn an_earlier_form_outlives_a_mistake_and_nothing_else() {
    let mut engine = engine();
    engine.take(policy("a", 1, None));
    publish(&mut engine);
    assert_eq!(in_force(&engine), (0, true), "never accepted");
    engine.take(policy("a", 2, Some(&["203.0.113.1"])));
    publish(&mut engine);
    assert_eq!(in_force(&engine), (1, false));
    engine.take(policy("a", 3, None));
    publish(&mut engine);
    assert_eq!(in_force(&engine), (1, false), "the earlier form");
    // Deleted and made anew between two lists: it has no earlier form.
    engine.take(policy("b", 4, None));
    publish(&mut engine);
    assert_eq!(in_force(&engine), (0, false), "another policy");
    engine.take(Seen::Deleted(Key::new(Kind::VaultNetworkPolicy, id())));
    publish(&mut engine);
    assert!(engine.state.vault(&vault()).is_none());
    engine.take(policy("c", 5, None));
    publish(&mut engine);
    assert_eq!(in_force(&engine), (0, false), "this process knows");
}

#[tokio::test]
async fn a_virtual_network_made_anew_has_no_earlier_form() {
    let mut engine = engine();
    let network = |uid: &str, prefix: &str| {
        let object = json!({
            "apiVersion": "vaultwall.dev/v1alpha1",
            "kind": "VirtualNetwork",
            "metadata": {"name": "corp", "uid": uid},
            "spec": {"subnets": [{"name": "dc", "serviceEndpoints": ["Vault"], "addressPrefixes": [prefix]}]},
        });
        let name = ObjectName::cluster_scoped("corp");
        seen(Kind::VirtualNetwork, name, uid, 1, object)
    };
    let object = json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VaultNetworkPolicy",
        "metadata": {"name": "web", "namespace": "vault", "uid": "a"},
        "spec": {
            "targetRef": {"name": "openbao", "port": 8200},
            "virtualNetworkRules": [{"subnet": {"virtualNetwork": "corp", "name": "dc"}}],
        },
    });
    engine.take(network("a", "10.1.0.0/16"));
    engine.take(seen(Kind::VaultNetworkPolicy, id(), "a", 1, object));
    let subnets = |engine: &mut Engine| {
        publish(engine);
        let entry = engine.state.vault(&vault()).unwrap();
        entry.resolution.resolution.firewall.virtual_networks.len()
    };
    assert_eq!(subnets(&mut engine), 1);
    engine.take(network("a", "10.1.2.3/16"));
    assert_eq!(subnets(&mut engine), 1, "refused: the earlier form");
    engine.take(network("b", "10.1.2.3/16"));
    assert_eq!(subnets(&mut engine), 0, "another network");
}

#[tokio::test]
async fn a_written_status_is_not_forgotten_for_an_older_event() {
    let mut engine = engine();
    engine.take(policy("a", 5, Some(&[])));
    publish(&mut engine);
    let known = engine.state.policy(&id()).unwrap().stored;
    let written = crate::api::VaultNetworkPolicyStatus {
        observed_generation: Some(1),
        ..Default::default()
    };
    engine.state.status_written(&known, Some(written), 7);
    // An event of before the write comes after it.
    engine.take(policy("a", 6, Some(&["203.0.113.1"])));
    publish(&mut engine);
    let stored = engine.state.policy(&id()).unwrap().stored;
    assert_eq!(stored.version, 7);
    assert_eq!(stored.status.as_ref().unwrap().observed_generation, Some(1));
    assert_eq!(in_force(&engine), (1, false), "and its rules count");
}

#[tokio::test]
async fn accepted_policies_are_counted() {
    let mut engine = engine();
    engine.take(policy("a", 1, Some(&[])));
    publish(&mut engine);
    assert_eq!(engine.state.count_policies(), (1, 0));
    // Its earlier form stays in force; it is not what is stored.
    engine.take(policy("a", 2, None));
    publish(&mut engine);
    assert_eq!(in_force(&engine), (0, false));
    assert_eq!(engine.state.count_policies(), (0, 1));
    engine.take(policy("b", 3, None));
    publish(&mut engine);
    assert_eq!(engine.state.count_policies(), (0, 1));
    engine.take(Seen::Deleted(Key::new(Kind::VaultNetworkPolicy, id())));
    publish(&mut engine);
    assert_eq!(engine.state.count_policies(), (0, 0));
}
