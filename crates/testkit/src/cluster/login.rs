//! Logins with service accounts: the vault has the cluster's API server review their tokens.

use serde_json::{Value, json};

use super::vault::Vault;
use super::{Namespace, apply, get_object, kubectl};

/// Audience of the tokens with which service accounts log in.
pub const AUDIENCE: &str = "vault";

impl Vault {
    /// Enables the auth method `kubernetes`. The service account of the vault's pods may review tokens.
    pub fn enable_logins(&self) {
        let namespace = &self.namespace.name;
        apply(
            &json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {
                    "name": format!("{namespace}-reviews-tokens"),
                    "ownerReferences": [self.namespace.as_owner()],
                },
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator",
                },
                "subjects": [{"kind": "ServiceAccount", "name": "openbao", "namespace": namespace}],
            })
            .to_string(),
        );
        let reviewer = kubectl(&["create", "token", "openbao", "--namespace", namespace]);
        let authority = get_object("v1/configmaps", namespace, "kube-root-ca.crt")
            .and_then(|map| map["data"]["ca.crt"].as_str().map(str::to_owned))
            .expect("the cluster's authority");
        self.bao(&["auth", "enable", "kubernetes"]);
        self.bao(&[
            "write",
            "auth/kubernetes/config",
            "kubernetes_host=https://kubernetes.default.svc",
            &format!("kubernetes_ca_cert={authority}"),
            &format!("token_reviewer_jwt={}", reviewer.trim()),
        ]);
    }

    /// Writes a policy of the vault.
    pub fn write_policy(&self, name: &str, rules: &str) {
        let path = format!("sys/policies/acl/{name}");
        self.bao(&["write", &path, &format!("policy={rules}")]);
    }

    /// Writes a role for service accounts of these names in these namespaces, with these policies of the vault.
    pub fn write_role(&self, name: &str, accounts: &str, namespaces: &str, policies: &str) {
        self.bao(&[
            "write",
            &format!("auth/kubernetes/role/{name}"),
            &format!("bound_service_account_names={accounts}"),
            &format!("bound_service_account_namespaces={namespaces}"),
            &format!("audience={AUDIENCE}"),
            &format!("token_policies={policies}"),
            "token_ttl=1h",
        ]);
    }
}

impl Namespace {
    /// Reference for `ownerReferences` of objects without a namespace: they are deleted with this namespace.
    ///
    /// # Panics
    ///
    /// If the namespace does not exist.
    pub fn as_owner(&self) -> Value {
        let namespace = get_object("v1/namespaces", "", &self.name).expect("the namespace");
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "name": self.name, "uid": namespace["metadata"]["uid"],
        })
    }

    /// Creates service accounts.
    pub fn create_accounts(&self, names: &[&str]) {
        let accounts = names.iter().map(|name| {
            json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": self.name},
            })
        });
        let accounts: Vec<Value> = accounts.collect();
        apply(&json!({"apiVersion": "v1", "kind": "List", "items": accounts}).to_string());
    }
}
