//! What the operator is told at its start about rights and definitions that lack.

use std::time::{Duration, Instant};

use kube::Client;
use serde_json::{Value, json};
use vaultwall::controller::rights::{RIGHTS, RightsError, Scope, check};

use crate::kubernetes::ApiServer;

const NAMESPACE: &str = "default";

fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
}

/// A role with these rules for one user.
fn bind(server: &ApiServer, kind: &str, name: &str, user: &str, rules: &[Value]) {
    let metadata = if kind == "Role" {
        json!({"name": name, "namespace": NAMESPACE})
    } else {
        json!({"name": name})
    };
    for object in [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": metadata,
            "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": format!("{kind}Binding"),
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }),
    ] {
        server.apply(&object.to_string());
    }
}

/// Allows a user what the table says of the lease, and nothing else.
pub fn allow_lease(server: &ApiServer, user: &str) {
    let name = user.rsplit(':').next().unwrap();
    let rules = rules(Scope::OwnNamespace, |_, _| true);
    assert_eq!(rules.len(), 1);
    bind(server, "Role", name, user, &rules);
}

/// The table's rules of a scope, with the verbs that are wanted.
fn rules(scope: Scope, wanted: impl Fn(&str, &str) -> bool) -> Vec<Value> {
    let rights = RIGHTS.iter().filter(|right| right.scope == scope);
    rights
        .map(|right| {
            let verbs = right.verbs.iter().copied();
            let verbs: Vec<&str> = verbs.filter(|verb| wanted(right.resource, verb)).collect();
            rule(right.group, right.resource, &verbs)
        })
        .collect()
}

/// What the check says, once it is that; roles take a moment to come into force.
async fn says(client: &Client, expected: impl Fn(&Result<(), String>) -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let said = check(client, NAMESPACE)
            .await
            .map_err(|error| error.to_string());
        if expected(&said) {
            return;
        }
        assert!(Instant::now() < end, "{said:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_right_and_definition_is_named() {
    let server = ApiServer::start();
    let user = "system:serviceaccount:default:operator";
    let client = server.client_for(user, &[]).await;

    let (lacking, missing) = match check(&client, NAMESPACE).await {
        Err(RightsError::Lacking { lacking, missing }) => (lacking, missing),
        other => panic!("a user without rights is told {other:?}"),
    };
    assert_eq!(
        lacking,
        [
            "vaultnetworkpolicies.vaultwall.dev in version v1alpha1",
            "virtualnetworks.vaultwall.dev in version v1alpha1"
        ]
    );
    let named: Vec<(&str, &str)> = missing
        .iter()
        .map(|missing| (missing.right.resource, missing.verb))
        .collect();
    let all = RIGHTS.iter();
    let all: Vec<(&str, &str)> = all
        .flat_map(|right| right.verbs.iter().map(|verb| (right.resource, *verb)))
        .collect();
    assert_eq!(named, all);

    server.install_crds();
    bind(
        &server,
        "ClusterRole",
        "operator",
        user,
        &rules(Scope::Cluster, |_, _| true),
    );
    bind(
        &server,
        "Role",
        "operator",
        user,
        &rules(Scope::OwnNamespace, |_, _| true),
    );
    says(&client, Result::is_ok).await;

    let but_one = rules(Scope::Cluster, |resource, verb| {
        (resource, verb) != ("pods", "watch")
    });
    bind(&server, "ClusterRole", "operator", user, &but_one);
    says(&client, |said| {
        said.as_ref().is_err_and(|said| {
            said.lines().count() == 2
                && said.ends_with(
                    "\n  watch pods, in all namespaces (addresses, labels and service accounts of clients)",
                )
        })
    })
    .await;

    server.stop();
    let error = check(&client, NAMESPACE).await.unwrap_err();
    assert!(matches!(error, RightsError::Unanswered(_)), "{error}");
}
