//! Logins of service accounts: the vault has a real API server review their tokens.

use std::fs;

use serde_json::{Value, json};

use crate::clients::scene::Scene;
use testkit::ApiServer;

/// Account whose token the vault shows to the API server.
const REVIEWER: &str = "reviewer";

/// Creates a namespace with a service account, and enables the auth method `kubernetes` without a role.
pub(crate) fn enable(scene: &Scene, server: &ApiServer, namespace: &str, account: &str) {
    let metadata = json!({"name": namespace});
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
    server.apply(&object.to_string());
    for name in [account, REVIEWER] {
        let metadata = json!({"name": name, "namespace": namespace});
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        server.apply(&object.to_string());
    }
    let user = format!("system:serviceaccount:{namespace}:{REVIEWER}");
    let group = "authentication.k8s.io";
    let review = json!({"apiGroups": [group], "resources": ["tokenreviews"], "verbs": ["create"]});
    server.bind(
        &format!("{namespace}-reviews-tokens"),
        None,
        &user,
        &[review],
    );
    server.wait_for_permission(&user, None, "create", (group, "tokenreviews"));
    let kubeconfig = fs::read_to_string(server.kubeconfig()).unwrap();
    let kubeconfig: Value = serde_json::from_str(&kubeconfig).unwrap();
    let authority = &kubeconfig["clusters"][0]["cluster"]["certificate-authority"];
    let authority = fs::read_to_string(authority.as_str().unwrap()).unwrap();
    let configuration = json!({
        "kubernetes_host": server.url(),
        "kubernetes_ca_cert": authority,
        "token_reviewer_jwt": token(server, namespace, REVIEWER, ""),
        "disable_local_ca_jwt": true,
    });
    scene.owner("POST sys/auth/kubernetes", r#"{"type": "kubernetes"}"#);
    scene.owner("POST auth/kubernetes/config", &configuration.to_string());
}

/// Requests a token of a service account; without an audience it has that of the API server.
pub(crate) fn token(server: &ApiServer, namespace: &str, account: &str, audience: &str) -> String {
    let mut arguments = vec!["create", "token", account, "--namespace", namespace];
    if !audience.is_empty() {
        arguments.extend(["--audience", audience]);
    }
    server.kubectl_prints(&arguments).trim().to_owned()
}
