//! External Secrets Operator as the trusted service of the catalog: it copies a secret through the firewall without a
//! network rule, and its `ExternalSecret` shows the denial when it asks for more than its scenario.

use k8s_openapi::ByteString;
use serde_json::{Value, json};
use testkit::cluster::client::Clients;
use testkit::cluster::login::AUDIENCE;
use testkit::cluster::vault::{SECRET_VALUE, Vault};
use testkit::cluster::{apply, eventually, get_object, image_name, kubectl, path};

use crate::shared;

/// Namespace and service account of the operator, as the catalog lists them.
const NAME: &str = "external-secrets";
const SECRETS: &str = "external-secrets.io/v1/externalsecrets";
/// Policy of the vault, which allows more than the scenario.
const PERMISSIONS: &str = r#"
path "secret/data/*" { capabilities = ["read"] }
path "secret/metadata/*" { capabilities = ["list"] }
path "secret/metadata" { capabilities = ["list"] }
"#;

#[test]
fn external_secrets_operator_syncs_its_scenario_and_is_refused_more() {
    let vault = Vault::start("e2e-external-secrets");
    vault.enable_logins();
    vault.write_policy("sync", PERMISSIONS);
    vault.write_role("sync", NAME, NAME, "sync");
    let _operator = shared();
    kubectl(&[
        "apply",
        &format!(
            "--filename={}",
            path("catalog/kubernetes/external-secrets.yaml")
        ),
    ]);
    vault.protect(&json!({
        "bypass": "TrustedServices",
        "trustedServices": {"names": [NAME]},
    }));
    let clients = Clients::new(NAME, "", &vault);
    start_operator(&clients, &vault);

    // `secrets/get` is in its scenario.
    let read =
        json!({"data": [{"secretKey": "word", "remoteRef": {"key": "app", "property": "word"}}]});
    apply(&external_secret("read", &read));
    assert_eq!(condition("read", "SecretSynced"), "True");
    let copy = get_object("v1/secrets", NAME, "read").expect("the copy");
    let expected = json!(ByteString(SECRET_VALUE.into()));
    assert_eq!(copy["data"]["word"], expected);

    // `find` needs `secrets/list`, which is not, though its policy in the vault has it.
    let list = json!({"dataFrom": [{"find": {"name": {"regexp": ".*"}}}]});
    apply(&external_secret("list", &list));
    assert_eq!(condition("list", "SecretSyncedError"), "False");
    assert_eq!(get_object("v1/secrets", NAME, "list"), None);
    eventually("an Event has the reason of the firewall", || {
        let events = kubectl(&[
            "get",
            "events",
            "--namespace",
            NAME,
            "--field-selector=involvedObject.kind=ExternalSecret,involvedObject.name=list",
            "--output=jsonpath={.items[*].message}",
        ]);
        let is_denied = events.contains("ForbiddenByScenario");
        is_denied.then_some(()).ok_or(events)
    });
    kubectl(&["delete", "trustedservice", NAME]);
}

/// Starts External Secrets Operator, and a store that logs in to the vault with the operator's own service account.
fn start_operator(clients: &Clients, vault: &Vault) {
    let definitions = path(".tools/bin/external-secrets.yaml");
    // They are too long for the annotation of a client-side apply.
    kubectl(&["apply", "--server-side", "--filename", &definitions]);
    kubectl(&[
        "wait",
        "--for=condition=Established",
        "--filename",
        &definitions,
    ]);
    clients.namespace.create_accounts(&[NAME]);
    apply(
        &json!({"apiVersion": "v1", "kind": "List", "items": objects(clients, vault)}).to_string(),
    );
    kubectl(&[
        "wait",
        "--for=condition=Ready",
        &format!("pod/{NAME}"),
        "--namespace",
        NAME,
        "--timeout=120s",
    ]);
}

fn objects(clients: &Clients, vault: &Vault) -> [Value; 4] {
    let role = "external-secrets-in-tests";
    let owner = json!([clients.namespace.as_owner()]);
    let subject = json!({"kind": "ServiceAccount", "name": NAME, "namespace": NAME});
    [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": role, "ownerReferences": owner},
            "rules": [
                {
                    "apiGroups": ["external-secrets.io", "generators.external-secrets.io"],
                    "resources": ["*"],
                    "verbs": ["*"],
                },
                {
                    "apiGroups": [""],
                    "resources": ["secrets", "configmaps", "serviceaccounts", "namespaces"],
                    "verbs": ["*"],
                },
                {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
                {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": role, "ownerReferences": owner},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": NAME, "namespace": NAME},
            "spec": {
                "serviceAccountName": NAME,
                "terminationGracePeriodSeconds": 5,
                "containers": [{
                    "name": "operator",
                    "image": image_name("external-secrets"),
                    "imagePullPolicy": "IfNotPresent",
                    "args": [
                        "--enable-cluster-store-reconciler=false",
                        "--enable-cluster-external-secret-reconciler=false",
                        "--enable-cluster-push-secret-reconciler=false",
                        "--enable-push-secret-reconciler=false",
                    ],
                }],
            },
        }),
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
            "metadata": {"name": "vault", "namespace": NAME},
            "spec": {"provider": {"vault": {
                "server": vault.url("openbao-firewall", 8200, ""),
                "path": "secret",
                "version": "v2",
                "caProvider": {"type": "ConfigMap", "name": "vault", "key": "ca.crt"},
                "auth": {"kubernetes": {
                    "mountPath": "kubernetes",
                    "role": "sync",
                    "serviceAccountRef": {"name": NAME, "audiences": [AUDIENCE]},
                }},
            }}},
        }),
    ]
}

/// An `ExternalSecret` that copies into the Secret of the same name.
fn external_secret(name: &str, what: &Value) -> String {
    let mut spec = json!({
        "refreshInterval": "1h",
        "secretStoreRef": {"kind": "SecretStore", "name": "vault"},
        "target": {"name": name},
    });
    for (field, value) in what.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": NAME},
        "spec": spec,
    })
    .to_string()
}

/// Waits until the condition `Ready` has this reason, and returns its status.
fn condition(name: &str, reason: &str) -> String {
    eventually(&format!("the ExternalSecret {name} is {reason}"), || {
        let object = get_object(SECRETS, NAME, name).ok_or("no ExternalSecret")?;
        let conditions = object["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        let ready = conditions.find(|one| one["type"] == "Ready" && one["reason"] == reason);
        let status = ready.and_then(|one| one["status"].as_str());
        status
            .map(str::to_owned)
            .ok_or_else(|| object["status"].to_string())
    })
}
