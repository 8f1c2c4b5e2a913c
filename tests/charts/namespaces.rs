//! Users who may opt a namespace in by its label: network admins and cluster admins, and no user who merely may write
//! the namespace.

use serde_json::{Value, json};

use crate::charts::labels::{
    ADMIN, NETWORK, OPERATOR, TENANT, WRITER, WRITTEN, check, server, until,
};
use testkit::ApiServer;

const ENDPOINT: &str = "setting, changing or removing it needs the permission to set serviceendpoints in the API \
    group vaultwall.dev";
const SUBSCRIPTION: &str = "setting, changing or removing it needs the permission to set subscriptions in the API \
    group vaultwall.dev";

const SET: &str = "label namespace team vaultwall.dev/service-endpoint=enabled";
const CHANGE: &str = "label --overwrite namespace open vaultwall.dev/service-endpoint=disabled";
const REMOVE: &str = "label namespace open vaultwall.dev/service-endpoint-";
const PLAIN: &str = "label namespace team a=b";
const CREATE: &str = "create -f -";

/// The server, with a namespace that has opted in and one that belongs to a subscription.
fn prepared() -> &'static ApiServer {
    let server = server();
    for (name, label) in [
        ("open", "vaultwall.dev/service-endpoint"),
        ("sold", "vaultwall.dev/subscription"),
    ] {
        let value = if name == "open" { "enabled" } else { "one" };
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {label: value}},
        });
        server.apply(&namespace.to_string());
    }
    until(server, (WRITER, SET, "", ENDPOINT));
    until(server, (NETWORK, SET, "", WRITTEN));
    until(server, (TENANT, PLAIN, "", WRITTEN));
    server
}

fn new(labels: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new", "labels": labels}})
        .to_string()
}

#[test]
fn only_network_admins_and_cluster_admins_opt_namespaces_in() {
    let server = prepared();
    let new_open = new(&json!({"vaultwall.dev/service-endpoint": "enabled"}));
    let new_sold = new(&json!({"vaultwall.dev/subscription": "one"}));
    check(
        server,
        [
            (ADMIN, SET, "", WRITTEN),
            (ADMIN, CHANGE, "", WRITTEN),
            (ADMIN, REMOVE, "", WRITTEN),
            (ADMIN, CREATE, &new_open, WRITTEN),
            (NETWORK, SET, "", WRITTEN),
            (NETWORK, CHANGE, "", WRITTEN),
            (NETWORK, REMOVE, "", WRITTEN),
            (NETWORK, CREATE, &new_open, WRITTEN),
            (NETWORK, CREATE, &new_sold, WRITTEN),
            (ADMIN, CREATE, &new_sold, WRITTEN),
            (
                NETWORK,
                "label namespace sold vaultwall.dev/subscription-",
                "",
                WRITTEN,
            ),
            // Every right in its namespace is not enough, and none elsewhere even less.
            (TENANT, SET, "", ENDPOINT),
            (
                TENANT,
                "label namespace team vaultwall.dev/subscription=one",
                "",
                SUBSCRIPTION,
            ),
            (TENANT, CHANGE, "", "cannot get resource \"namespaces\""),
            (WRITER, SET, "", ENDPOINT),
            (
                WRITER,
                "label namespace team vaultwall.dev/service-endpoint=",
                "",
                ENDPOINT,
            ),
            (WRITER, CHANGE, "", ENDPOINT),
            (WRITER, REMOVE, "", ENDPOINT),
            (WRITER, CREATE, &new_open, ENDPOINT),
            (WRITER, CREATE, &new_sold, SUBSCRIPTION),
            (
                WRITER,
                "label --overwrite namespace sold vaultwall.dev/subscription=two",
                "",
                SUBSCRIPTION,
            ),
            (
                WRITER,
                "label namespace sold vaultwall.dev/subscription-",
                "",
                SUBSCRIPTION,
            ),
            (WRITER, "apply --server-side -f -", &new_open, ENDPOINT),
        ],
    );
}

#[test]
fn by_way_of_subresources() {
    let server = prepared();
    for (label, refused) in [
        ("vaultwall.dev/service-endpoint", ENDPOINT),
        ("vaultwall.dev/subscription", SUBSCRIPTION),
    ] {
        let finalized = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "team", "labels": {"kubernetes.io/metadata.name": "team", label: "enabled"}},
            "spec": {"finalizers": ["kubernetes"]},
        })
        .to_string();
        let finalize = "replace --raw /api/v1/namespaces/team/finalize?dryRun=All -f -";
        let status = format!(
            "patch namespace team --subresource=status -p {{\"metadata\":{{\"labels\":{{\"{label}\":\"enabled\"}}}}}}"
        );
        check(
            server,
            [
                (WRITER, status.as_str(), "", refused),
                (NETWORK, &status, "", WRITTEN),
                (WRITER, finalize, &finalized, refused),
                (NETWORK, finalize, &finalized, WRITTEN),
            ],
        );
    }
}

#[test]
fn changes_that_keep_the_labels_are_allowed() {
    let server = prepared();
    let plain = new(&json!({"team": "a"}));
    let again = "label --overwrite namespace open vaultwall.dev/service-endpoint=enabled";
    check(
        server,
        [
            (WRITER, CREATE, plain.as_str(), WRITTEN),
            (WRITER, PLAIN, "", WRITTEN),
            (WRITER, "label namespace open a=b", "", WRITTEN),
            (WRITER, again, "", WRITTEN),
            (WRITER, "annotate namespace open a=b", "", WRITTEN),
            (WRITER, "delete namespace open", "", WRITTEN),
            (TENANT, PLAIN, "", WRITTEN),
            // The operator does not write namespaces at all; kubectl reads first.
            (OPERATOR, SET, "", "cannot get resource \"namespaces\""),
        ],
    );
}
