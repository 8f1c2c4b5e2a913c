//! The operator's roles, made from its own table of what it needs: who runs with them has nothing more.

use std::time::Instant;

use serde_json::{Value, json};
use vaultwall::runtime::permissions::{PERMISSIONS, Permission, Scope};

use super::{ApiServer, PATIENCE};

/// The table's rules of a scope, with the verbs that are wanted.
pub fn rules(scope: Scope, wanted: impl Fn(&Permission, &str) -> bool) -> Vec<Value> {
    let rights = PERMISSIONS
        .iter()
        .filter(|permission| permission.scope == scope);
    let rules = rights.map(|right| {
        let verbs = right.verbs.iter().copied();
        let verbs: Vec<&str> = verbs.filter(|verb| wanted(right, verb)).collect();
        json!({"apiGroups": [right.group], "resources": [right.resource], "verbs": verbs})
    });
    // The API server takes no rule without a verb.
    rules.filter(|rule| rule["verbs"] != json!([])).collect()
}

impl ApiServer {
    /// A role with these rules for one user: in a namespace, or in all.
    pub fn bind(&self, name: &str, namespace: Option<&str>, user: &str, rules: &[Value]) {
        let (kind, metadata) = match namespace {
            Some(namespace) => ("Role", json!({"name": name, "namespace": namespace})),
            None => ("ClusterRole", json!({"name": name})),
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
            self.apply(&object.to_string());
        }
    }

    /// Allows a user what the operator needs, and nothing more; waits until that is in force.
    pub fn allow_operator(&self, user: &str, namespace: &str) {
        let name = user.rsplit(':').next().unwrap();
        let everywhere = rules(Scope::Cluster, |_, _| true);
        let own = rules(Scope::OwnNamespace, |_, _| true);
        self.bind(name, None, user, &everywhere);
        self.bind(name, Some(namespace), user, &own);
        // A role's rules come into force together.
        for scope in [Scope::Cluster, Scope::OwnNamespace] {
            let right = PERMISSIONS
                .iter()
                .find(|permission| permission.scope == scope)
                .unwrap();
            let resource = format!("{}.{}", right.resource, right.group);
            let resource = resource.trim_end_matches('.');
            let mut question = vec!["auth", "can-i", right.verbs[0], resource, "--as", user];
            match scope {
                Scope::Cluster => question.push("--all-namespaces"),
                Scope::OwnNamespace => question.extend(["--namespace", namespace]),
            }
            let end = Instant::now() + PATIENCE;
            while !self.kubectl(&question, "").status.success() {
                assert!(Instant::now() < end, "{question:?}: no");
            }
        }
    }
}
