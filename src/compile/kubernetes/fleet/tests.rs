#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
//! What follows from what; how the objects look as a whole is in the golden files.

use serde_json::{Value, json};

use super::*;
use crate::policy::{ExternalTrafficPolicy, ProxyResources, ProxyService, ServiceType};

/// The Deployment and the Service of a vault at a port, as JSON.
fn made(port: u16, settings: &ProxySettings, files: &[(&str, &str)], key: &str) -> (Value, Value) {
    let vault = VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    };
    let files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let fleet = objects(&FleetInputs {
        vault: &vault,
        ports: ProxyPorts::of(port),
        settings,
        image: "envoy:1",
        files: files.collect(),
        identity: &Identity {
            certificate: "c".into(),
            key: key.into(),
            authority: "a".into(),
        },
        owners: &[],
    });
    (
        serde_json::to_value(fleet.deployment).unwrap(),
        serde_json::to_value(fleet.service).unwrap(),
    )
}

#[test]
fn proxies_are_replaced_for_a_new_bootstrap_and_not_for_a_new_certificate() {
    let settings = ProxySettings::default();
    let template = |files, key| made(8200, &settings, files, key).0["spec"]["template"].clone();
    let one = template(&[("bootstrap.json", "{}")], "one");
    assert_eq!(one, template(&[("bootstrap.json", "{}")], "two"));
    let others: [&[(&str, &str)]; 4] = [
        &[("bootstrap.json", "{ }")],
        &[("bootstrap.json", "{}"), ("a", "")],
        &[("bootstrap.json{}", "")],
        &[],
    ];
    for other in others {
        assert_ne!(one, template(other, "one"), "{other:?}");
    }
}

/// A proxy that was started without TLS must not come to have the files that lead to certificates which it has not.
#[test]
fn proxies_are_given_no_files_that_come_later() {
    let items = |files: &[(&str, &str)]| {
        let (deployment, _) = made(8200, &ProxySettings::default(), files, "");
        let volumes = &deployment["spec"]["template"]["spec"]["volumes"];
        let config_map = &volumes[0]["configMap"];
        assert_eq!(config_map["optional"], true, "some may go");
        let items = config_map["items"].as_array().unwrap();
        let paths = items.iter().map(|item| {
            assert_eq!(item["key"], item["path"]);
            item["path"].as_str().unwrap().to_owned()
        });
        paths.collect::<Vec<_>>()
    };
    assert_eq!(items(&[("bootstrap.json", "")]), ["bootstrap.json"]);
    assert_eq!(
        items(&[("sds-clients.json", ""), ("bootstrap.json", "")]),
        ["bootstrap.json", "sds-clients.json"]
    );
}

#[test]
fn low_ports_are_opened_to_a_user_and_to_no_lower_port() {
    for (port, expected) in [
        (8200, Value::Null),
        (1024, Value::Null),
        (
            443,
            json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "443"}]),
        ),
    ] {
        let (deployment, _) = made(port, &ProxySettings::default(), &[], "");
        let security = &deployment["spec"]["template"]["spec"]["securityContext"];
        assert_eq!(security["sysctls"], expected, "{port}");
    }
}

#[test]
fn workers_follow_the_cpu() {
    let amounts = |cpu: Option<&str>| {
        cpu.map(|cpu| ("cpu".to_owned(), cpu.to_owned()))
            .into_iter()
            .collect()
    };
    for (request, limit, expected) in [
        (None, None, "2"),
        (Some("100m"), None, "2"),
        (Some("3500m"), None, "4"),
        (Some("1"), Some("8"), "8"),
        (Some("8"), Some("500m"), "2"),
    ] {
        let settings = ProxySettings {
            resources: Some(ProxyResources {
                requests: amounts(request),
                limits: amounts(limit),
            }),
            ..ProxySettings::default()
        };
        let (deployment, _) = made(8200, &settings, &[], "");
        let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        assert_eq!(arguments[2], "--concurrency");
        assert_eq!(arguments[3], expected, "{request:?}");
    }
}

#[test]
fn ports_of_the_service() {
    use ExternalTrafficPolicy::{Cluster, Local};
    let all = ["data", "management", "metrics"].as_slice();
    // type, policy | its ports, externalTrafficPolicy
    for (service_type, policy, ports, expected) in [
        (ServiceType::ClusterIP, None, all, Value::Null),
        (
            ServiceType::NodePort,
            Some(Cluster),
            &all[..2],
            json!("Cluster"),
        ),
        (
            ServiceType::LoadBalancer,
            Some(Local),
            &all[..2],
            json!("Local"),
        ),
    ] {
        let settings = ProxySettings {
            service: Some(ProxyService {
                service_type,
                external_traffic_policy: policy,
                annotations: [("a".to_owned(), "b".to_owned())].into(),
            }),
            ..ProxySettings::default()
        };
        let (_, service) = made(8200, &settings, &[], "");
        let found: Vec<_> = service["spec"]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, ports);
        assert_eq!(service["spec"]["externalTrafficPolicy"], expected);
        assert_eq!(service["metadata"]["annotations"], json!({"a": "b"}));
    }
}

#[test]
fn owners_are_sorted_and_bind_nobody() {
    let pair = |name: &str, uid: &str| (name.to_owned(), uid.to_owned());
    let owners = owner_references([pair("b", "1"), pair("a", "2"), pair("b", "1")]);
    let found = serde_json::to_value(&owners).unwrap();
    let owner = |name, uid| json!({"apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy", "name": name, "uid": uid});
    assert_eq!(found, json!([owner("a", "2"), owner("b", "1")]));
}

#[test]
fn an_identity_does_not_print_its_key() {
    let identity = Identity {
        key: "secret".into(),
        ..Identity::default()
    };
    assert!(!format!("{identity:?}").contains("secret"));
}
