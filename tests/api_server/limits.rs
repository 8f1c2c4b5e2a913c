//! The number of rules that a policy may have, as installed, raised and lowered again.

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use vaultwall::limits::Limits;

use crate::api_server::dry_run::{api_of, check};
use crate::crd_tables::{ACCEPTED, with_rules};
use testkit::ApiServer;

const RAISED: Limits = Limits {
    virtual_network_rules: Limits::VIRTUAL_NETWORK_RULES_CEILING,
    ip_rules: Limits::IP_RULES_CEILING,
    ignore_missing_service_endpoint: false,
};

#[tokio::test(flavor = "multi_thread")]
async fn limits_as_installed_raised_and_lowered() {
    // A server of its own, because the limits apply to all tests.
    let server = ApiServer::start();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault"}});
    server.apply(&namespace.to_string());
    let client = server.client().await;
    let verdicts = async |rows: &[(usize, usize, &str, &str)]| {
        for (networks, addresses, field, expected) in rows {
            let label = format!("{networks} virtual-network rules, {addresses} IP rules");
            let object = with_rules(*networks, *addresses);
            check(&client, &label, &object, field, expected).await;
        }
    };

    server.install_crds();
    // The admission policy refuses the object as a whole, so its message names the field.
    verdicts(&[
        (127, 127, "", ACCEPTED),
        (
            128,
            0,
            "",
            "spec.virtualNetworkRules has 128 rules, and the limit is 127; merge or remove rules",
        ),
        (
            128,
            0,
            "",
            "vaultwall crds --max-virtual-network-rules N | kubectl apply --server-side -f -",
        ),
        (
            0,
            128,
            "",
            "spec.ipRules has 128 rules, and the limit is 127; merge or remove rules",
        ),
        (
            0,
            128,
            "",
            "vaultwall crds --max-ip-rules N | kubectl apply --server-side -f -",
        ),
        (
            201,
            0,
            "spec.virtualNetworkRules",
            "must have at most 200 items",
        ),
        (0, 1001, "spec.ipRules", "must have at most 1000 items"),
    ])
    .await;

    server.install_crds_with(RAISED.virtual_network_rules, RAISED.ip_rules);
    verdicts(&[
        (200, 1000, "", ACCEPTED),
        (
            201,
            0,
            "spec.virtualNetworkRules",
            "must have at most 200 items",
        ),
        (0, 1001, "spec.ipRules", "must have at most 1000 items"),
    ])
    .await;
    let large = with_rules(200, 1000);
    let policies = api_of(&client, &large);
    let parsed = serde_json::from_value(large).unwrap();
    policies
        .create(&PostParams::default(), &parsed)
        .await
        .unwrap();

    // A policy above a lowered limit can still be labelled, finalized and deleted, and made smaller.
    server.install_crds();
    let merge = async |patch| {
        let parameters = PatchParams::default();
        policies
            .patch("openbao", &parameters, &Patch::Merge(patch))
            .await
    };
    let finalizers =
        json!({"metadata": {"labels": {"team": "a"}, "finalizers": ["vaultwall.dev/test"]}});
    merge(finalizers).await.unwrap();
    let refused = merge(json!({"spec": {"mode": "Audit"}})).await.unwrap_err();
    assert!(
        refused.to_string().contains("the limit is 127"),
        "{refused}"
    );
    policies
        .delete("openbao", &DeleteParams::default())
        .await
        .unwrap();
    merge(json!({"metadata": {"finalizers": null}}))
        .await
        .unwrap();
    assert!(policies.get_opt("openbao").await.unwrap().is_none());
}
