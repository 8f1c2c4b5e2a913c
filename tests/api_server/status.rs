//! The operator's status on a server: what it keeps of it, who owns it, and what people see.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::Resource;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use serde_json::json;
use vaultwall::api::{
    MESSAGE_LENGTH, POLICY_CONDITIONS, VaultNetworkPolicy, VaultNetworkPolicyStatus,
};
use vaultwall::controller::firewall::status::{
    Difference, PlainHttp, PolicySeen, RuleCounts, VaultSeen, difference, status_of, target_of,
};
use vaultwall::index::Index;
use vaultwall::limits::Limits;
use vaultwall::policy::{Violation, ViolationReason, validate_policy};
use vaultwall::xds;

use crate::api_server::server;
use crate::crd_tables::policy;
use testkit::ApiServer;

/// Status that the operator would write for an accepted policy, with no Service and `connected` proxies.
fn wanted(
    stored: &VaultNetworkPolicy,
    connected: usize,
    violations: &[Violation],
) -> VaultNetworkPolicyStatus {
    let mut index = Index::new(Limits::default());
    let valid = validate_policy(stored, &Limits::default()).unwrap();
    let vault = valid.vault.clone();
    index.apply(valid);
    let resolution = index.resolve(&vault);
    let policy = PolicySeen {
        name: "openbao",
        generation: stored.metadata.generation.unwrap(),
        status: stored.status.as_ref(),
        violations,
        rules: Some(RuleCounts {
            virtual_networks: 0,
            ip: 1,
        }),
    };
    let proxies = xds::Status {
        version: Some("1".into()),
        connected,
        programmed: connected,
        ..xds::Status::default()
    };
    let seen = VaultSeen {
        cold_start: false,
        kept_port: None,
        resolution: resolution.as_ref(),
        target: target_of(index.service(&vault), 8200).map(drop),
        terminating: false,
        apply_error: None,
        stalled: None,
        earlier: &[],
        openings: &[],
        plain_http: Some(PlainHttp {
            to_clients: true,
            to_vault: true,
        }),
        proxies: &proxies,
        ready: Some(connected),
        wanted: 2,
        version: Some("1"),
        endpoint: Some("openbao-firewall.status.svc:8200".into()),
        management_endpoint: Some("openbao-firewall.status.svc:8300".into()),
    };
    status_of(&policy, &seen, Timestamp::now())
}

/// A stored policy in a namespace of its own.
async fn stored(
    server: &ApiServer,
    namespace: &str,
) -> (Api<VaultNetworkPolicy>, VaultNetworkPolicy) {
    let mut object = policy(&json!({"ipRules": [{"value": "203.0.113.7"}]}));
    object["metadata"]["namespace"] = json!(namespace);
    server.apply(&object.to_string());
    let api = Api::namespaced(server.client().await, namespace);
    let stored = api.get("openbao").await.unwrap();
    (api, stored)
}

/// Replaces the status of a policy as the operator does: without its spec, for the version that was read.
async fn replace(
    server: &ApiServer,
    read: &VaultNetworkPolicy,
    status: &VaultNetworkPolicyStatus,
) -> kube::Result<VaultNetworkPolicy> {
    let metadata = &read.metadata;
    let body = json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy",
        "metadata": {
            "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        },
        "status": status,
    });
    let path = VaultNetworkPolicy::url_path(&(), metadata.namespace.as_deref());
    let parameters = PostParams {
        field_manager: Some("test-status".into()),
        ..PostParams::default()
    };
    let name = metadata.name.as_deref().unwrap();
    let body = serde_json::to_vec(&body).unwrap();
    let request = Request::new(path).replace_subresource("status", name, &parameters, body);
    server.client().await.request(request.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_status_makes_no_difference() {
    let server = server("status");
    let (api, _) = stored(server, "status").await;
    let theirs = json!({
        "type": "example.com/Reviewed", "status": "True", "reason": "Read", "message": "by a person",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let reviewed = Patch::Merge(json!({"status": {"conditions": [theirs]}}));
    let fresh = api
        .patch_status("openbao", &PatchParams::default(), &reviewed)
        .await
        .unwrap();

    let first = wanted(&fresh, 2, &[]);
    let after = replace(server, &fresh, &first).await.unwrap();
    assert_eq!(after.spec, fresh.spec);
    assert_eq!(after.metadata.generation, fresh.metadata.generation);
    let kept = after.status.as_ref().unwrap();
    let second = wanted(&after, 2, &[]);
    assert!(
        difference(Some(kept), &second) == Difference::None,
        "{kept:#?}\n{second:#?}"
    );
    assert_eq!(kept.conditions.len(), 6);
    let still = json!(kept.conditions);
    assert!(still.as_array().unwrap().contains(&theirs), "{still}");

    // The same again is not even a new version.
    let again = replace(server, &after, &second).await.unwrap();
    assert_eq!(
        again.metadata.resource_version,
        after.metadata.resource_version
    );

    // A change of ours leaves theirs, which is theirs alone.
    let third = wanted(&after, 0, &[]);
    let last = replace(server, &after, &third).await.unwrap();
    assert_eq!(last.status.unwrap().conditions.len(), 6);
    let fields = json!(last.metadata.managed_fields).to_string();
    let owned = fields.matches("example.com/Reviewed").count();
    assert_eq!(owned, 1, "{fields}");
}

/// The server refuses a message of one character more, and all of the status with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_status_is_taken() {
    let server = server("long");
    let (_, fresh) = stored(server, "long").await;
    let violation = |number| Violation {
        field: format!("spec.ipRules[{number}].value"),
        reason: ViolationReason::Invalid,
        message: "ü".repeat(500),
    };
    let violations: Vec<Violation> = (0..1000).map(violation).collect();
    let long = wanted(&fresh, 2, &violations);
    let message = long.conditions[0].message.chars().count();
    assert!((MESSAGE_LENGTH - 1000..=MESSAGE_LENGTH).contains(&message));
    let after = replace(server, &fresh, &long).await.unwrap();
    assert_eq!(difference(after.status.as_ref(), &long), Difference::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn printed_columns() {
    let server = server("columns");
    let (_, fresh) = stored(server, "columns").await;
    let get = |arguments: &[&str]| {
        let text =
            server.kubectl_prints(&[&["get", "vnp", "--namespace=columns"], arguments].concat());
        let lines = text
            .lines()
            .map(|line| line.split_whitespace().map(str::to_owned).collect());
        lines.collect::<Vec<Vec<String>>>()
    };

    let narrow = [
        "NAME",
        "VAULT",
        "DEFAULT",
        "PROXIES",
        "ENDPOINT",
        "ACCEPTED",
        "RESOLVED",
        "PROGRAMMED",
        "SINCE",
        "MODE",
        "GENERATION",
        "OBSERVED",
        "AGE",
    ];
    let lines = get(&[]);
    assert_eq!(lines[0], narrow);
    // The API server shows a status before an operator has written one. An empty cell is not a word.
    let unknown = ["Unknown"; 3];
    assert_eq!(lines[1][..3], ["openbao", "openbao", "Deny"]);
    assert_eq!(lines[1][3..6], unknown, "{lines:?}");
    assert_eq!(lines[1][6], "1", "{lines:?}");
    assert_eq!(lines[1].len(), 8, "{lines:?}");
    let conditions = &fresh.status.as_ref().unwrap().conditions;
    let types = conditions.iter().map(|found| found.type_.as_str());
    assert_eq!(types.collect::<Vec<_>>(), POLICY_CONDITIONS);
    for found in conditions {
        assert_eq!((&*found.status, &*found.reason), ("Unknown", "Pending"));
        assert_eq!(found.message, "waiting for the operator");
    }

    let mut status = wanted(&fresh, 2, &[]);
    status.programmed_since = Some(Time("1970-01-01T00:00:00Z".parse().unwrap()));
    replace(server, &fresh, &status).await.unwrap();
    let mut lines = get(&["-o", "wide"]);
    let since = lines[0]
        .iter()
        .position(|column| column == "SINCE")
        .unwrap();
    let age = lines[1].remove(since);
    assert!(age.ends_with('y') || age.ends_with('d'), "{age}");
    lines[0].remove(since);
    let shown: Vec<(&str, &str)> = lines[0]
        .iter()
        .zip(&lines[1])
        .map(|(column, cell)| (column.as_str(), cell.as_str()))
        .collect();
    assert_eq!(
        shown[..shown.len() - 1],
        [
            ("NAME", "openbao"),
            ("VAULT", "openbao"),
            ("DEFAULT", "Deny"),
            ("PROXIES", "2/2"),
            ("ENDPOINT", "openbao-firewall.status.svc:8200"),
            ("ACCEPTED", "True"),
            ("RESOLVED", "False"),
            ("PROGRAMMED", "False"),
            ("MODE", "Enforced"),
            ("GENERATION", "1"),
            ("OBSERVED", "1"),
            ("READY", "False"),
            ("CONFLICTED", "False"),
            ("NETWORKS", "0"),
            ("IPS", "1"),
            ("ADDRESSES", "1"),
            ("MANAGEMENT", "openbao-firewall.status.svc:8300"),
            ("REASON", "TargetNotFound"),
        ]
    );
    assert_eq!(shown.last().map(|(column, _)| *column), Some("AGE"));
}
