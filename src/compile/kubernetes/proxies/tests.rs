#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
//! Dependencies of single fields; the golden files show the objects as a whole.

use serde_json::{Value, json};

use super::*;
use crate::compile::ports::ProxyPorts;
use crate::policy::{
    ExternalTrafficPolicy, ProxyResources, ProxyService, ProxySettings, ServiceType, VaultId,
};

/// The Deployment and the Service of a vault at a port, as JSON.
fn generated(
    port: u16,
    settings: &ProxySettings,
    files: &[(&str, &str)],
    key: &str,
) -> (Value, Value) {
    let vault = VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    };
    let files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let objects = objects(&ProxyInputs {
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
        serde_json::to_value(objects.deployment).unwrap(),
        serde_json::to_value(objects.service).unwrap(),
    )
}

#[test]
fn proxies_are_replaced_for_a_new_bootstrap_and_not_for_a_new_certificate() {
    let settings = ProxySettings::default();
    let template =
        |files, key| generated(8200, &settings, files, key).0["spec"]["template"].clone();
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

/// A proxy that was started without TLS must not get files that refer to certificates which it did not mount.
#[test]
fn a_proxy_mounts_only_the_files_of_its_own_revision() {
    let items = |files: &[(&str, &str)]| {
        let (deployment, _) = generated(8200, &ProxySettings::default(), files, "");
        let volumes = &deployment["spec"]["template"]["spec"]["volumes"];
        let config_map = &volumes[0]["configMap"];
        assert_eq!(config_map["optional"], true, "files may be removed later");
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
fn a_low_data_port_sets_the_sysctl_to_exactly_that_port() {
    for (port, expected) in [
        (8200, Value::Null),
        (1024, Value::Null),
        (
            443,
            json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "443"}]),
        ),
    ] {
        let (deployment, _) = generated(port, &ProxySettings::default(), &[], "");
        let security = &deployment["spec"]["template"]["spec"]["securityContext"];
        assert_eq!(security["sysctls"], expected, "{port}");
    }
}

#[test]
fn the_number_of_workers_follows_the_cpu() {
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
        let (deployment, _) = generated(8200, &settings, &[], "");
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
        let (_, service) = generated(8200, &settings, &[], "");
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
fn owners_are_sorted_and_none_is_the_controller() {
    let pair = |name: &str, uid: &str| (name.to_owned(), uid.to_owned());
    let owners = owner_references([pair("b", "1"), pair("a", "2"), pair("b", "1")]);
    let found = serde_json::to_value(&owners).unwrap();
    let kind = "VaultNetworkPolicy";
    let owner = |name, uid| json!({"apiVersion": "vaultwall.dev/v1alpha1", "kind": kind, "name": name, "uid": uid});
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
