//! The charts agree with the program: definitions, admission policies, limits, images, ports and versions.

use std::fs;

use serde_json::{Value, json};
use vaultwall::api;
use vaultwall::compile::kubernetes::proxies::{ENVOY_IMAGE, OPERATOR_ADDRESS};
use vaultwall::limits::Limits;
use vaultwall::runtime::issuer_keys::KeyOptions;

use crate::charts::helm::{
    DEFINITIONS, NAMESPACE, OPERATOR, chart, documents, find, helm, objects,
};

#[test]
fn definitions() {
    let rendered = objects(DEFINITIONS, &[]);
    let ours = api::custom_resource_definitions();
    assert_eq!(rendered.len(), ours.len());
    for definition in ours {
        let name = definition.metadata.name.clone().unwrap();
        let object = find(&rendered, "CustomResourceDefinition", &name);
        let wanted = serde_json::to_value(&definition).unwrap();
        assert_eq!(object["spec"], wanted["spec"], "{name}");
        assert_eq!(kept(object), "keep", "{name}");
    }
}

#[test]
fn admission_policies_with_several_limits() {
    for (virtual_network_rules, ip_rules) in [(127, 127), (1, 2), (200, 1000)] {
        let limits = Limits {
            virtual_network_rules,
            ip_rules,
            ..Limits::default()
        };
        let value =
            format!("limits.virtualNetworkRules={virtual_network_rules},limits.ipRules={ip_rules}");
        let rendered = objects(OPERATOR, &["--set", &value]);
        let mut count = 0;
        for policy in api::admission_policies(&limits) {
            let name = policy.metadata.name.clone().unwrap();
            let binding = serde_json::to_value(api::binding_of(&policy)).unwrap();
            let policy = serde_json::to_value(policy).unwrap();
            for (kind, wanted) in [
                ("ValidatingAdmissionPolicy", policy),
                ("ValidatingAdmissionPolicyBinding", binding),
            ] {
                let object = find(&rendered, kind, &name);
                assert_eq!(object["apiVersion"], wanted["apiVersion"]);
                assert_eq!(object["spec"], wanted["spec"], "{kind} {name}");
                assert_eq!(kept(object), "keep", "{kind} {name}");
                count += 1;
            }
        }
        let admission = rendered
            .iter()
            .filter(|object| object["apiVersion"] == "admissionregistration.k8s.io/v1");
        assert_eq!(admission.count(), count, "others are there");
        let arguments = container(&rendered)["args"].as_array().unwrap();
        for flag in [
            format!("--max-virtual-network-rules={virtual_network_rules}"),
            format!("--max-ip-rules={ip_rules}"),
        ] {
            assert!(arguments.contains(&json!(flag)), "{flag}: {arguments:?}");
        }
    }
}

#[test]
fn the_proxies_image_is_pinned_by_its_digest() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let set = format!("--set=proxy.digest={digest}");
    let rendered = objects(OPERATOR, &[&set]);
    let argument = json!(format!("--proxy-image={ENVOY_IMAGE}@{digest}"));
    let arguments = container(&rendered)["args"].as_array().unwrap();
    assert!(arguments.contains(&argument), "{arguments:?}");
    // An image with two digests would be a name that no node can pull.
    let image = format!("--set=proxy.image=envoy@{digest}");
    let output = helm(&["template", chart(OPERATOR).to_str().unwrap(), &image, &set]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("proxy.image has a digest already"),
        "{message}"
    );
    assert!(!output.status.success());
}

#[test]
fn arguments_are_the_defaults_of_the_program() {
    let rendered = objects(OPERATOR, &[]);
    let expected = [
        "controller".to_owned(),
        format!("--xds-address={OPERATOR_ADDRESS}"),
        format!("--proxy-image={ENVOY_IMAGE}"),
        format!("--max-virtual-network-rules={}", Limits::DEFAULT),
        format!("--max-ip-rules={}", Limits::DEFAULT),
        format!("--keys-poll-interval={}m", KeyOptions::POLL.as_secs() / 60),
        format!(
            "--keys-expire-after={}h",
            KeyOptions::EXPIRE_AFTER.as_secs() / 3600
        ),
    ];
    assert_eq!(container(&rendered)["args"], json!(expected));
    let service = find(&rendered, "Service", "vaultwall");
    let (host, port) = OPERATOR_ADDRESS.split_once(':').unwrap();
    assert_eq!(host, format!("vaultwall.{NAMESPACE}.svc"));
    assert_eq!(
        service["spec"]["ports"][0]["port"],
        json!(port.parse::<u16>().unwrap())
    );
}

/// The operator's `NetworkPolicy` admits the proxies by the labels that the operator gives them.
#[test]
fn proxies_are_let_in() {
    let rendered = objects(OPERATOR, &[]);
    let policy = find(&rendered, "NetworkPolicy", "vaultwall");
    let ingress = policy["spec"]["ingress"].as_array().unwrap();
    assert_eq!(ingress.len(), 1, "monitoring is nobody's by default");
    let proxies = &ingress[0]["from"][0];
    assert_eq!(proxies["namespaceSelector"], json!({}));
    let labels = api::proxy_labels("openbao");
    let wanted = proxies["podSelector"]["matchLabels"].as_object().unwrap();
    assert_eq!(wanted.len(), 1);
    for (key, value) in wanted {
        assert_eq!(labels.get(key).map(String::as_str), value.as_str(), "{key}");
    }
    let exists = &proxies["podSelector"]["matchExpressions"][0];
    assert!(labels.contains_key(exists["key"].as_str().unwrap()));
    // The operator's own pods are no proxies.
    let deployment = find(&rendered, "Deployment", "vaultwall");
    let own = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_ne!(own[api::NAME_LABEL], json!(api::PROXY_NAME));
    assert_ne!(own[api::MANAGED_BY_LABEL], json!(api::MANAGED_BY));
    assert_eq!(
        deployment["spec"]["selector"]["matchLabels"],
        policy["spec"]["podSelector"]["matchLabels"]
    );
}

/// The charts are the program's: one version.
#[test]
fn versions() {
    for name in [OPERATOR, DEFINITIONS] {
        let text = fs::read_to_string(chart(name).join("Chart.yaml")).unwrap();
        let about = documents(&text);
        assert_eq!(about[0]["name"], json!(name));
        assert_eq!(about[0]["version"], json!(env!("CARGO_PKG_VERSION")));
        assert_eq!(about[0]["appVersion"], json!(env!("CARGO_PKG_VERSION")));
    }
    let rendered = objects(OPERATOR, &[]);
    let image = concat!("vaultwall:", env!("CARGO_PKG_VERSION"));
    assert_eq!(container(&rendered)["image"], json!(image));
}

fn container(rendered: &[Value]) -> &Value {
    let deployment = find(rendered, "Deployment", "vaultwall");
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

fn kept(object: &Value) -> &str {
    object["metadata"]["annotations"]["helm.sh/resource-policy"]
        .as_str()
        .unwrap_or_default()
}
