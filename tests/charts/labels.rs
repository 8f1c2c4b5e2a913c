//! Users who ask the API server to write labels, and the check of a table of that. The operator does not run.

use std::process::Output;
use std::sync::Once;

use serde_json::{Value, json};

use crate::charts::installed::with_charts;
use testkit::ApiServer;
use testkit::wait::wait_for_ok;

/// An admin of the cluster, by `cluster-admin`.
pub(crate) const ADMIN: &str = "admin";
/// Has `cluster-admin` in the namespace `team` alone, as tenants do.
pub(crate) const TENANT: &str = "tenant";
/// May read and write all kinds that are used here, everywhere, and has none of Vaultwall's permissions.
pub(crate) const WRITER: &str = "writer";
/// May the same, and is a network admin by the chart's role.
pub(crate) const NETWORK: &str = "network";
/// The operator, by the chart's roles.
pub(crate) const OPERATOR: &str = "system:serviceaccount:vaultwall-system:vaultwall";

/// User, kubectl command, standard input, and the expected result: [`WRITTEN`], or a refusal with this text.
pub(crate) type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Expected: it is written.
pub(crate) const WRITTEN: &str = "";

/// The shared server, with these users and the namespace `team`.
pub(crate) fn server() -> &'static ApiServer {
    static USERS: Once = Once::new();
    let server = with_charts();
    USERS.call_once(|| {
        for object in users() {
            server.apply(&object.to_string());
        }
    });
    server
}

fn users() -> Vec<Value> {
    let rbac = "rbac.authorization.k8s.io";
    let bound = |user: &str, role: &str| {
        json!({
            "apiVersion": format!("{rbac}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{user}-{role}")},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
        })
    };
    let mut tenant = bound(TENANT, "cluster-admin");
    tenant["kind"] = json!("RoleBinding");
    tenant["metadata"]["namespace"] = json!("team");
    let written = json!([{
        "apiGroups": ["", "apps", "networking.k8s.io", "policy"],
        "resources": [
            "configmaps", "deployments", "deployments/scale", "deployments/status", "namespaces", "namespaces/finalize",
            "namespaces/status", "networkpolicies", "poddisruptionbudgets", "poddisruptionbudgets/status", "secrets",
            "serviceaccounts", "services", "services/status",
        ],
        "verbs": ["create", "delete", "get", "list", "patch", "update"],
    }]);
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
        json!({
            "apiVersion": format!("{rbac}/v1"),
            "kind": "ClusterRole",
            "metadata": {"name": "writer"},
            "rules": written,
        }),
        bound(ADMIN, "cluster-admin"),
        bound(WRITER, "writer"),
        bound(NETWORK, "writer"),
        bound(NETWORK, "vaultwall-network-admin"),
        tenant,
    ]
}

/// Runs kubectl as that user; nothing is stored.
fn tries(server: &ApiServer, user: &str, command: &str, stdin: &str) -> Output {
    let mut arguments: Vec<&str> = command.split(' ').collect();
    arguments.extend(["--as", user]);
    // `--raw` cannot be combined with `--dry-run`, so the path has the parameter.
    if !command.contains("--raw") {
        arguments.push("--dry-run=server");
    }
    server.kubectl(&arguments, stdin)
}

/// Returns the difference between the expected and the actual result of a row, if any.
fn differs(server: &ApiServer, (user, command, stdin, expected): Row<'_>) -> Option<String> {
    let output = tries(server, user, command, stdin);
    let said = String::from_utf8_lossy(&output.stderr);
    let fits = match expected {
        WRITTEN => output.status.success(),
        refusal => !output.status.success() && said.contains(refusal),
    };
    let wanted = if expected == WRITTEN {
        "written"
    } else {
        expected
    };
    (!fits).then(|| format!("{user}: kubectl {command} {stdin}: expected {wanted:?}, got {said:?}"))
}

/// Every row is as it should be.
pub(crate) fn check<'a>(server: &ApiServer, rows: impl IntoIterator<Item = Row<'a>>) {
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|row| differs(server, row))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Waits until a row is as it should be: policies and roles come into force a moment after they are stored.
pub(crate) fn until(server: &ApiServer, row: Row<'_>) {
    wait_for_ok("the expected result", || {
        differs(server, row).map_or(Ok(()), Err)
    });
}
