//! A vault with `denial: Drop` and a trusted service: the label of service accounts is introduced on a cluster whose
//! pods run already, mirror pods among them.
//!
//! No other test can use the operator meanwhile.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::cluster::operator::Release;
use testkit::cluster::{apply, eventually, get_object, kubectl, list_objects, run, try_apply};

use crate::scene::Scene;
use crate::{alone, pod_labels};

const LABEL: &str = "vaultwall.dev/service-account";
/// Name of both admission policies.
const POLICY: &str = "service-account-label.vaultwall.dev";

/// Removes the label's admission policies, which Helm keeps, and installs the release without the label.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        for kind in ["validating", "mutating"] {
            let kinds = format!("{kind}admissionpolicy,{kind}admissionpolicybinding");
            kubectl(&["delete", &kinds, POLICY, "--ignore-not-found"]);
        }
        Release::current().install();
    }
}

/// Label of a pod.
fn label_of(namespace: &str, pod: &str) -> Value {
    let object = get_object("v1/pods", namespace, pod).unwrap_or_default();
    object["metadata"]["labels"][LABEL].clone()
}

/// Ready pods of the control plane and their uids.
fn control_plane() -> BTreeMap<String, Value> {
    let pods = list_objects("v1/pods", "kube-system", "tier=control-plane");
    let ready = pods.iter().filter(|pod| {
        let conditions = pod["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    });
    ready
        .map(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap();
            (name.to_owned(), pod["metadata"]["uid"].clone())
        })
        .collect()
}

/// A pod of the trusted service with a label that somebody chose.
fn mislabelled(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL: "agent"}},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "probe", "image": "vaultwall.local/probe:dev", "args": ["hold"]}],
        },
    })
}

#[test]
fn drop_lets_trusted_services_in_by_a_label_that_is_introduced_on_a_running_cluster() {
    let scene = Scene::start("e2e-labels");
    let apps = &scene.other;
    let namespace = apps.namespace.name.clone();
    apps.namespace.create_accounts(&["agent"]);
    apps.start_as("before", "app", "agent", &[]);
    apply(&mislabelled(&namespace, "mislabelled").to_string());
    let service = json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "TrustedService",
        "metadata": {"name": "e2e-labels", "ownerReferences": [scene.vault.namespace.as_owner()]},
        "spec": {
            "scenarios": [{"name": "read", "operations": ["secrets/get"]}],
            "identities": [{"serviceAccount": {"namespace": namespace, "name": "agent"}}],
        },
    });

    let _labels = pod_labels();
    let _operator = alone();
    apply(&service.to_string());
    let bypass = json!({"bypass": "TrustedServices", "trustedServices": {"names": ["e2e-labels"]}});
    let mut dropping = bypass.clone();
    dropping["denial"] = "Drop".into();
    let asks = |pod: &str, status: Option<u16>| {
        apps.eventually_gets(pod, &scene.vault.token, &scene.url, status);
    };
    scene.protect(&bypass);
    asks("before", Some(200));
    asks("client", Some(403));
    // Without the label nobody but the rule's pods passes, and the status says why.
    scene.protect(&dropping);
    scene.shop("client", 200);
    asks("before", None);
    asks("client", None);
    let kind = "vaultwall.dev/v1alpha1/vaultnetworkpolicies";
    let warning = eventually("a warning", || {
        let policy = get_object(kind, &scene.vault.namespace.name, "openbao").unwrap();
        let warnings = policy["status"]["warnings"].as_array().cloned();
        let mut warnings = warnings.unwrap_or_default().into_iter();
        let found = warnings.find(|warning| warning["reason"] == "AccountLabelMissing");
        found.ok_or_else(|| policy["status"].to_string())
    });
    let message = warning["message"].as_str().unwrap();
    assert!(message.contains("serviceAccountLabel.create"), "{message}");

    let _restore = Restore;
    let control_plane_before = control_plane();
    assert!(!control_plane_before.is_empty());
    Release::current().install_with(&["serviceAccountLabel.create=true"]);
    // The pod that was there before, and one that comes later.
    asks("before", Some(200));
    assert_eq!(label_of(&namespace, "before"), "agent");
    eventually("the wrong label is corrected", || {
        let label = label_of(&namespace, "mislabelled");
        (label == "default")
            .then_some(())
            .ok_or_else(|| label.to_string())
    });
    apps.start_as("later", "app", "agent", &[]);
    assert_eq!(label_of(&namespace, "later"), "agent");
    asks("later", Some(200));
    // Everybody else is still dropped, also with the permission to label pods.
    asks("client", None);
    let refusal = "names its own service account";
    let created = try_apply(&mislabelled(&namespace, "mislabelled-later").to_string());
    assert!(created.stderr.contains(refusal), "{}", created.stderr);
    let label = format!("{LABEL}=agent");
    let relabel = [
        "label",
        "--overwrite",
        "pod",
        "client",
        &label,
        "--namespace",
        &namespace,
    ];
    let relabelled = run("kubectl", &relabel);
    assert!(relabelled.stderr.contains(refusal), "{}", relabelled.stderr);
    asks("client", None);
    scene.shop("client", 200);

    // The kubelet reports every pod, and makes the mirrors of its static pods again.
    let mirror = control_plane_before
        .keys()
        .find(|name| name.starts_with("kube-scheduler"))
        .unwrap();
    kubectl(&[
        "delete",
        "pod",
        mirror,
        "--namespace=kube-system",
        "--wait=false",
    ]);
    eventually("every mirror pod is ready, one of them a new one", || {
        let now = control_plane();
        let is_complete = now.keys().eq(control_plane_before.keys());
        let is_new = now.get(mirror) != control_plane_before.get(mirror);
        (is_complete && is_new)
            .then_some(())
            .ok_or_else(|| format!("{now:?}"))
    });
    assert_eq!(label_of("kube-system", mirror), Value::Null);
}
