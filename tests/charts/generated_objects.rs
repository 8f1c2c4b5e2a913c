//! Users who may set the labels of generated objects: the operator, and cluster admins. Everything else about such
//! objects is free.

use serde_json::{Value, json};

use crate::charts::labels::{
    ADMIN, NETWORK, OPERATOR, TENANT, WRITER, WRITTEN, check, server, until,
};
use testkit::ApiServer;

const REFUSED: &str = "only the operator may set, change or remove them";
const APPLY: &str = "apply --server-side --field-manager=tests -f -";
const CREATE: &str = "create -f -";

/// One object of each kind that the operator makes.
fn generated(namespace: &str) -> Vec<Value> {
    let selector = json!({"matchLabels": {"app": "x"}});
    let template = json!({
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap"}),
        json!({"apiVersion": "v1", "kind": "Secret"}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount"}),
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 8200}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": selector, "template": template}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": selector}}),
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "spec": {"selector": selector, "maxUnavailable": 1},
        }),
    ];
    for object in &mut objects {
        object["metadata"] = json!({
            "name": "openbao-firewall",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "vaultwall", "vaultwall.dev/vault": "openbao"},
        });
    }
    objects
}

fn renamed(object: &Value, name: &str) -> String {
    let mut object = object.clone();
    object["metadata"]["name"] = json!(name);
    object.to_string()
}

/// Returns the server, with the objects in a namespace of that name, and one object of another owner.
fn prepared(namespace: &str) -> &'static ApiServer {
    let server = server();
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    server.apply(&object.to_string());
    for object in generated(namespace) {
        server.apply(&object.to_string());
    }
    let labels = json!({"app.kubernetes.io/managed-by": "me"});
    server.apply(&own(namespace, "own", &labels));
    let new = renamed(&generated(namespace)[0], "new");
    until(server, (WRITER, CREATE, &new, REFUSED));
    until(server, (OPERATOR, APPLY, &new, WRITTEN));
    server
}

fn own(namespace: &str, name: &str, labels: &Value) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
    })
    .to_string()
}

#[test]
fn only_the_operator_and_admins_create_objects_with_the_labels() {
    let server = prepared("making");
    for object in generated("making") {
        let new = renamed(&object, "new");
        check(
            server,
            [
                (WRITER, CREATE, new.as_str(), REFUSED),
                (WRITER, APPLY, &new, REFUSED),
                (NETWORK, CREATE, &new, REFUSED),
                (ADMIN, CREATE, &new, WRITTEN),
                (OPERATOR, APPLY, &new, WRITTEN),
            ],
        );
    }
    // Every right in its namespace is not enough.
    for object in generated("team") {
        let new = renamed(&object, "new");
        check(server, [(TENANT, CREATE, new.as_str(), REFUSED)]);
    }
    let mark = "label --overwrite configmap own -n making app.kubernetes.io/managed-by=vaultwall";
    let alone = own(
        "making",
        "alone",
        &json!({"vaultwall.dev/vault": "openbao"}),
    );
    check(
        server,
        [
            // On the object of another owner.
            (WRITER, mark, "", REFUSED),
            (ADMIN, mark, "", WRITTEN),
            // By itself, this one means nothing to the operator.
            (WRITER, CREATE, &alone, WRITTEN),
        ],
    );
}

#[test]
fn only_the_operator_and_admins_change_the_labels() {
    let server = prepared("changing");
    let changes = [
        ("label KIND app.kubernetes.io/managed-by-", REFUSED),
        (
            "label KIND --overwrite app.kubernetes.io/managed-by=me",
            REFUSED,
        ),
        ("label KIND vaultwall.dev/vault-", REFUSED),
        ("label KIND --overwrite vaultwall.dev/vault=other", REFUSED),
        ("label KIND team=a", WRITTEN),
        ("annotate KIND a=b", WRITTEN),
        ("delete KIND", WRITTEN),
    ];
    for object in generated("changing") {
        let kind = object["kind"].as_str().unwrap();
        for (command, expected) in changes {
            let this = format!("-n changing {kind} openbao-firewall");
            let command = command.replace("KIND", &this);
            check(server, [(WRITER, command.as_str(), "", expected)]);
        }
    }
    let off = r#"{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}"#;
    let restarted = r#"{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}"#;
    let patches = [
        ("service --subresource=status", off, REFUSED),
        ("poddisruptionbudget --subresource=status", off, REFUSED),
        // Changes that people and controllers make to such objects.
        ("deployment", restarted, WRITTEN),
        (
            "deployment --subresource=scale",
            r#"{"spec":{"replicas":3}}"#,
            WRITTEN,
        ),
        (
            "deployment --subresource=status",
            r#"{"status":{"replicas":1}}"#,
            WRITTEN,
        ),
        // It is put back.
        ("networkpolicy", r#"{"spec":{"ingress":[{}]}}"#, WRITTEN),
    ];
    for (what, patch, expected) in patches {
        let (kind, options) = what.split_once(' ').unwrap_or((what, "--type=merge"));
        let command =
            format!("patch -n changing {kind} openbao-firewall {options} --type=merge -p {patch}");
        check(server, [(WRITER, command.as_str(), "", expected)]);
    }
}
