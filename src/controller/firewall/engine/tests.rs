//! Events in; snapshots and state out.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::objects::decode;

fn engine() -> (Engine, Arc<SnapshotStore>) {
    engine_with(BTreeMap::new())
}

fn engine_with(local: BTreeMap<VaultId, LocalProxy>) -> (Engine, Arc<SnapshotStore>) {
    let (metrics, _) = Metrics::new();
    let store = Arc::new(SnapshotStore::new());
    let mut engine = Engine::new(
        Limits::default(),
        local,
        Arc::clone(&store),
        Arc::new(FirewallState::default()),
        StatusOnlyKinds::default(),
        Arc::new(metrics),
        Clock::system(),
    );
    for kind in Kind::ALL {
        engine.handle(Seen::Listed(*kind));
    }
    (engine, store)
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

/// A policy that allows these addresses; `None` makes it invalid.
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

/// Number of IP prefixes in the newest snapshot's firewall, and whether it is a cold-start snapshot.
fn in_force(engine: &Engine, store: &SnapshotStore) -> (usize, bool) {
    let entry = engine.state.vault(&vault()).unwrap();
    let snapshot = store.snapshot(&vault().to_string()).unwrap();
    assert_eq!(entry.cold_start, snapshot.is_cold_start());
    assert_eq!(entry.version, snapshot.version());
    let firewall = &entry.resolution.resolution.firewall;
    (firewall.ip_rules.len(), entry.cold_start)
}

#[tokio::test]
async fn an_earlier_form_stays_in_force_only_after_a_mistake() {
    let (mut engine, store) = engine();
    engine.handle(policy("a", 1, None));
    publish(&mut engine);
    assert_eq!(in_force(&engine, &store), (0, true), "never accepted");
    engine.handle(policy("a", 2, Some(&["203.0.113.1"])));
    publish(&mut engine);
    assert_eq!(in_force(&engine, &store), (1, false));
    engine.handle(policy("a", 3, None));
    publish(&mut engine);
    assert_eq!(in_force(&engine, &store), (1, false), "the earlier form");
    // Deleted and created again between two lists: it has no earlier form.
    engine.handle(policy("b", 4, None));
    publish(&mut engine);
    assert_eq!(in_force(&engine, &store), (0, false), "another policy");
    engine.handle(Seen::Deleted(Key::new(Kind::VaultNetworkPolicy, id())));
    publish(&mut engine);
    assert!(engine.state.vault(&vault()).is_none());
    engine.handle(policy("c", 5, None));
    publish(&mut engine);
    assert_eq!(
        in_force(&engine, &store),
        (0, false),
        "this process accepted a policy before"
    );
}

#[tokio::test]
async fn a_virtual_network_made_anew_has_no_earlier_form() {
    let (mut engine, _) = engine();
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
    engine.handle(network("a", "10.1.0.0/16"));
    engine.handle(seen(Kind::VaultNetworkPolicy, id(), "a", 1, object));
    let subnets = |engine: &mut Engine| {
        publish(engine);
        let entry = engine.state.vault(&vault()).unwrap();
        entry.resolution.resolution.firewall.virtual_networks.len()
    };
    assert_eq!(subnets(&mut engine), 1);
    engine.handle(network("a", "10.1.2.3/16"));
    assert_eq!(subnets(&mut engine), 1, "refused: the earlier form");
    engine.handle(network("b", "10.1.2.3/16"));
    assert_eq!(subnets(&mut engine), 0, "another network");
}

#[tokio::test]
async fn a_trusted_service_that_was_created_again_has_no_earlier_form() {
    let (mut engine, _) = engine();
    let service = |uid: &str, operation: &str| {
        let object = json!({
            "apiVersion": "vaultwall.dev/v1alpha1",
            "kind": "TrustedService",
            "metadata": {"name": "agent", "uid": uid},
            "spec": {
                "scenarios": [{"name": "read", "operations": [operation]}],
                "identities": [{"serviceAccount": {"namespace": "shop", "name": "agent"}}],
            },
        });
        let name = ObjectName::cluster_scoped("agent");
        seen(Kind::TrustedService, name, uid, 1, object)
    };
    let is_in_force = |engine: &mut Engine, seen| {
        engine.handle(seen);
        engine.status_only.commit(&mut engine.index);
        engine.index.trusted_service("agent").is_some()
    };
    assert!(is_in_force(&mut engine, service("a", "secrets/get")));
    assert!(is_in_force(&mut engine, service("a", "secret/get")));
    assert!(!is_in_force(&mut engine, service("b", "secret/get")));
    assert!(is_in_force(&mut engine, service("b", "secrets/get")));
    // Both events in one batch.
    engine.handle(service("b", "secret/get"));
    assert!(!is_in_force(&mut engine, service("c", "secret/get")));
}

#[tokio::test]
async fn an_older_event_does_not_replace_a_written_status() {
    let (mut engine, store) = engine();
    engine.handle(policy("a", 5, Some(&[])));
    publish(&mut engine);
    let known = engine.state.policy(&id()).unwrap();
    let written = crate::api::VaultNetworkPolicyStatus {
        observed_generation: Some(1),
        ..Default::default()
    };
    engine.state.status_written(&known, Some(written), 7);
    // An event from before the write arrives after it.
    engine.handle(policy("a", 6, Some(&["203.0.113.1"])));
    publish(&mut engine);
    let stored = engine.state.policy(&id()).unwrap();
    assert_eq!(stored.version, 7);
    assert_eq!(stored.status.as_ref().unwrap().observed_generation, Some(1));
    assert_eq!(in_force(&engine, &store), (1, false), "and its rules count");
}

#[tokio::test]
async fn accepted_policies_are_counted() {
    let (mut engine, store) = engine();
    engine.handle(policy("a", 1, Some(&[])));
    publish(&mut engine);
    assert_eq!(engine.state.count_policies(), (1, 0));
    // Its earlier form stays in force; what is stored is invalid.
    engine.handle(policy("a", 2, None));
    publish(&mut engine);
    assert_eq!(in_force(&engine, &store), (0, false));
    assert_eq!(engine.state.count_policies(), (0, 1));
    engine.handle(policy("b", 3, None));
    publish(&mut engine);
    assert_eq!(engine.state.count_policies(), (0, 1));
    engine.handle(Seen::Deleted(Key::new(Kind::VaultNetworkPolicy, id())));
    publish(&mut engine);
    assert_eq!(engine.state.count_policies(), (0, 0));
}

#[tokio::test]
async fn only_a_removed_firewall_is_announced_and_only_once() {
    for (has_service, announced) in [(false, false), (true, true)] {
        let (mut engine, _) = engine();
        if has_service {
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "openbao", "namespace": "vault"},
                "spec": {"selector": {"app": "openbao"}, "ports": [{"port": 8200}]},
            });
            let name = vault().service_name();
            engine.handle(seen(Kind::Service, name, "s", 1, service));
        }
        engine.handle(policy("a", 1, Some(&[])));
        publish(&mut engine);
        assert!(!engine.state.take_unprotected(&vault()));
        engine.handle(Seen::Deleted(Key::new(Kind::VaultNetworkPolicy, id())));
        publish(&mut engine);
        assert_eq!(engine.state.take_unprotected(&vault()), announced);
        assert!(!engine.state.take_unprotected(&vault()));
    }
}

/// Proxies next to the operator have no Service, whether they discover the vault's pods or not.
#[tokio::test]
async fn ready_proxies_are_counted_behind_a_service_only() {
    let local = LocalProxy {
        listen: std::net::Ipv4Addr::LOCALHOST,
        upstream: None,
    };
    for (local, ready) in [(None, Some(1)), (Some(local), None)] {
        let local = local.map(|local| (vault(), local));
        let (mut engine, _) = engine_with(local.into_iter().collect());
        engine.handle(policy("a", 1, Some(&[])));
        publish(&mut engine);
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "one", "namespace": "vault",
                "labels": {"kubernetes.io/service-name": "openbao-firewall"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.9"], "conditions": {"ready": true}}],
            "ports": [{"name": "data", "port": 8200}],
        });
        let name = ObjectName {
            namespace: "vault".into(),
            name: "one".into(),
        };
        let key = Key::new(Kind::EndpointSlice, name.clone());
        engine.handle(seen(Kind::EndpointSlice, name, "s", 1, slice));
        publish(&mut engine);
        assert_eq!(engine.state.vault(&vault()).unwrap().ready, ready);
        engine.handle(Seen::Deleted(key));
        publish(&mut engine);
        let none = ready.map(|_| 0);
        assert_eq!(engine.state.vault(&vault()).unwrap().ready, none);
    }
}

/// A vault writes its state to labels of its own pods, and another policy may select by them.
#[tokio::test]
async fn a_policy_of_others_is_reported_while_it_selects_a_pod_of_the_vault() {
    let (mut engine, _) = engine();
    let name = |name: &str| ObjectName {
        namespace: "vault".into(),
        name: name.into(),
    };
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "openbao", "namespace": "vault"},
        "spec": {"selector": {"app": "openbao"}, "ports": [{"port": 8200}]},
    });
    let active = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "active", "namespace": "vault"},
        "spec": {"podSelector": {"matchLabels": {"active": "true"}}, "ingress": [{}]},
    });
    let pod = |version, active: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "openbao-0", "namespace": "vault", "labels": {"app": "openbao", "active": active}},
            "spec": {"containers": []},
            "status": {"phase": "Running", "podIP": "10.0.0.7"},
        });
        seen(Kind::Pod, name("openbao-0"), "p", version, object)
    };
    engine.handle(seen(Kind::Service, name("openbao"), "s", 1, service));
    engine.handle(seen(Kind::NetworkPolicy, name("active"), "n", 1, active));
    engine.handle(policy("a", 1, Some(&[])));
    for (version, label, openings) in [(1, "false", 0), (2, "true", 1), (3, "false", 0)] {
        engine.handle(pod(version, label));
        publish(&mut engine);
        let entry = engine.state.vault(&vault()).unwrap();
        assert_eq!(
            entry.openings.len(),
            openings,
            "{label}: {:?}",
            entry.openings
        );
    }
}
