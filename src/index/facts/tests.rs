#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::type_complexity
)]
use super::*;
use serde_json::{Value, json};

fn pod(spec: Value, status: Value) -> Result<ObservedPod, FactError> {
    let object = json!({
        "metadata": {"namespace": "shop", "name": "web", "labels": {"app": "web"}},
        "spec": spec, "status": status,
    });
    let mut object: Pod = serde_json::from_value(object).unwrap();
    object.spec.get_or_insert_default();
    ObservedPod::from_object(&object)
}

#[test]
fn pods_that_are_pending_or_running_with_an_own_ipv4_address_count() {
    let any = || json!({"containers": []});
    let host = || json!({"containers": [], "hostNetwork": true});
    let at = |phase: &str, ips: &[&str]| {
        let list: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({"phase": phase, "podIP": ips.first(), "podIPs": list})
    };
    let table: &[(&str, Value, Value, Result<&[&str], NotCounted>)] = &[
        (
            "running",
            any(),
            at("Running", &["10.1.0.1"]),
            Ok(&["10.1.0.1"]),
        ),
        (
            "pending with an address",
            any(),
            at("Pending", &["10.1.0.1"]),
            Ok(&["10.1.0.1"]),
        ),
        (
            "dual stack",
            any(),
            at("Running", &["fd00::1", "10.1.0.1"]),
            Ok(&["10.1.0.1"]),
        ),
        (
            "podIP alone",
            any(),
            json!({"phase": "Running", "podIP": "10.1.0.1"}),
            Ok(&["10.1.0.1"]),
        ),
        (
            "IPv6 only",
            any(),
            at("Running", &["fd00::1"]),
            Err(NotCounted::NoAddress),
        ),
        (
            "IPv4-mapped",
            any(),
            at("Running", &["::ffff:10.1.0.1"]),
            Err(NotCounted::NoAddress),
        ),
        (
            "no address yet",
            any(),
            at("Pending", &[]),
            Err(NotCounted::NoAddress),
        ),
        (
            "host network",
            host(),
            at("Running", &["10.1.0.1"]),
            Err(NotCounted::HostNetwork),
        ),
        (
            "done",
            any(),
            at("Succeeded", &["10.1.0.1"]),
            Err(NotCounted::Phase("Succeeded".into())),
        ),
        (
            "failed",
            any(),
            at("Failed", &["10.1.0.1"]),
            Err(NotCounted::Phase("Failed".into())),
        ),
        (
            "node lost",
            any(),
            at("Unknown", &["10.1.0.1"]),
            Err(NotCounted::Phase("Unknown".into())),
        ),
        (
            "no phase",
            any(),
            json!({"podIP": "10.1.0.1"}),
            Err(NotCounted::Phase("not given".into())),
        ),
    ];
    for (case, spec, status, expected) in table {
        match (pod(spec.clone(), status.clone()).unwrap(), expected) {
            (ObservedPod::Counted(fact), Ok(addresses)) => {
                let got: Vec<String> = fact.addresses.iter().map(ToString::to_string).collect();
                assert_eq!(got, *addresses, "{case}");
                assert_eq!(fact.service_account, "default", "{case}");
            }
            (ObservedPod::NotCounted { pod, reason, .. }, Err(expected)) => {
                assert_eq!(
                    (pod.to_string().as_str(), &reason),
                    ("shop/web", expected),
                    "{case}"
                );
            }
            (got, _) => panic!("{case}: {got:?}"),
        }
    }
}

#[test]
fn a_pod_that_is_being_deleted_counts_while_it_runs() {
    let object = json!({
        "metadata": {"namespace": "shop", "name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [], "serviceAccountName": "shopper"},
        "status": {"phase": "Running", "podIP": "10.1.0.1"},
    });
    let object: Pod = serde_json::from_value(object).unwrap();
    let ObservedPod::Counted(fact) = ObservedPod::from_object(&object).unwrap() else {
        panic!("does not count");
    };
    assert_eq!(fact.service_account, "shopper");
    assert!(fact.labels.is_empty());
}

#[test]
fn a_wrong_label_is_seen_before_the_pod_has_an_address() {
    let observed = |status: Value, host: bool, account: &str, label: &str| {
        let object = json!({
            "metadata": {"namespace": "shop", "name": "web", "labels": {"vaultwall.dev/service-account": label}},
            "spec": {"containers": [], "serviceAccountName": account, "hostNetwork": host},
            "status": status,
        });
        match ObservedPod::from_object(&serde_json::from_value(object).unwrap()).unwrap() {
            ObservedPod::NotCounted { wrong_label, .. } => {
                wrong_label.map(|correction| (correction.value.unwrap(), correction.wrong.unwrap()))
            }
            ObservedPod::Counted(pod) => panic!("{pod:?}"),
        }
    };
    let pending = || json!({"phase": "Pending"});
    let wrong = Some(("shopper".to_owned(), "agent".to_owned()));
    assert_eq!(observed(pending(), false, "shopper", "agent"), wrong);
    assert_eq!(observed(pending(), false, "shopper", "shopper"), None);
    assert_eq!(observed(pending(), true, "shopper", "agent"), None);
    let ended = json!({"phase": "Succeeded", "podIP": "10.1.0.1"});
    assert_eq!(observed(ended, false, "shopper", "agent"), None);
}

#[test]
fn a_mirror_of_a_static_pod_has_no_service_account() {
    let object = json!({
        "metadata": {"namespace": "shop", "name": "web", "annotations": {"kubernetes.io/config.mirror": "1"}},
        "spec": {"containers": []},
        "status": {"phase": "Running", "podIP": "10.1.0.1"},
    });
    let object: Pod = serde_json::from_value(object).unwrap();
    let ObservedPod::Counted(fact) = ObservedPod::from_object(&object).unwrap() else {
        panic!("does not count");
    };
    assert_eq!(fact.service_account, "");
}

#[test]
fn errors_name_object_and_field() {
    let error = pod(
        json!({"containers": []}),
        json!({"phase": "Running", "podIPs": [{"ip": "10.1.0.300"}]}),
    );
    let expected = "Pod shop/web: status.podIPs[0].ip: `10.1.0.300` is not an IP address; \
                    write the pod's address, or leave it out";
    assert_eq!(error.unwrap_err().to_string(), expected);

    let service = |object: Value| {
        ServiceFact::from_object(&serde_json::from_value(object).unwrap())
            .unwrap_err()
            .to_string()
    };
    let unnamed = service(json!({"metadata": {}}));
    assert_eq!(
        unnamed,
        "Service (unnamed): metadata.name: is missing; give the object its name"
    );
    let nowhere = service(json!({"metadata": {"name": "openbao"}}));
    assert!(
        nowhere.starts_with("Service openbao: metadata.namespace: is missing"),
        "{nowhere}"
    );
    let port = service(json!({"metadata": {"namespace": "v", "name": "openbao"},
        "spec": {"ports": [{"port": 8200}, {"port": 70000}]}}));
    assert_eq!(
        port,
        "Service v/openbao: spec.ports[1].port: 70000 is not a port; a port is 1 to 65535"
    );
}

#[test]
fn a_service_keeps_its_tcp_ports_and_its_selector() {
    let object = json!({
        "metadata": {"namespace": "v", "name": "openbao"},
        "spec": {"selector": {"app": "openbao"}, "ports": [
            {"name": "api", "port": 8200, "targetPort": "http"},
            {"name": "cluster", "port": 8201, "protocol": "TCP"},
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "other", "port": 80, "targetPort": 8080}]},
    });
    let fact = ServiceFact::from_object(&serde_json::from_value(object).unwrap()).unwrap();
    let ports: Vec<(u16, TargetPort)> = fact
        .ports
        .into_iter()
        .map(|port| (port.port, port.target))
        .collect();
    let expected = [
        (8200, TargetPort::Name("http".into())),
        (8201, TargetPort::Number(8201)),
        (80, TargetPort::Number(8080)),
    ];
    assert_eq!(ports, expected);
    assert_eq!(
        fact.selector.get("app").map(String::as_str),
        Some("openbao")
    );
}

#[test]
fn a_namespace_has_the_label_with_its_name_and_a_service_account_its_namespace() {
    let object =
        json!({"metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "other"}}});
    let fact = NamespaceFact::from_object(&serde_json::from_value(object).unwrap()).unwrap();
    assert_eq!(
        fact.labels.get(NAMESPACE_NAME_LABEL).map(String::as_str),
        Some("shop")
    );
    let object = json!({"metadata": {"namespace": "shop", "name": "shopper", "uid": "1"}});
    let fact = ServiceAccountFact::from_object(&serde_json::from_value(object).unwrap()).unwrap();
    assert_eq!(
        (&*fact.namespace, &*fact.name, fact.uid.as_deref()),
        ("shop", "shopper", Some("1"))
    );
}
