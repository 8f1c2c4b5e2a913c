//! Roles of the operator, made from its own table of permissions: a user with these roles has no others.

use serde_json::{Value, json};
use testkit::ApiServer;
use vaultwall::runtime::permissions::{PERMISSIONS, Permission, Scope};

/// Returns the rules of a scope in the table, with the verbs that are wanted.
pub fn rules(scope: Scope, wanted: impl Fn(&Permission, &str) -> bool) -> Vec<Value> {
    let permissions = PERMISSIONS
        .iter()
        .filter(|permission| permission.scope == scope);
    let rules = permissions.map(|permission| {
        let verbs = permission.verbs.iter().copied();
        let verbs: Vec<&str> = verbs.filter(|verb| wanted(permission, verb)).collect();
        json!({"apiGroups": [permission.group], "resources": [permission.resource], "verbs": verbs})
    });
    // The API server refuses a rule without a verb.
    rules.filter(|rule| rule["verbs"] != json!([])).collect()
}

/// Returns the rule of one permission, in any scope.
pub fn permission_rule(permission: &Permission) -> Value {
    json!({
        "apiGroups": [permission.group],
        "resources": [permission.resource],
        "verbs": permission.verbs,
    })
}

/// Grants a user what the operator needs, and nothing more; waits until that is in force.
pub fn allow_operator(server: &ApiServer, user: &str, namespace: &str) {
    let name = user.rsplit(':').next().unwrap();
    // The rules of a role come into force together, so one of each is enough.
    for (scope, namespace) in [
        (Scope::Cluster, None),
        (Scope::OwnNamespace, Some(namespace)),
    ] {
        server.bind(name, namespace, user, &rules(scope, |_, _| true));
        let permission = PERMISSIONS
            .iter()
            .find(|permission| permission.scope == scope)
            .unwrap();
        let resource = (permission.group, permission.resource);
        server.wait_for_permission(user, namespace, permission.verbs[0], resource);
    }
}
