//! The search of a cluster for tokens, as far as an API server without nodes goes: `make e2e` reads logs.

use serde_json::json;
use testkit::client::TOKEN;
use testkit::token_search::TokenSearch;
use testkit::wait::becomes_true;

use crate::api_server::server;

/// Namespace of this test, on a server that other tests use.
const NAMESPACE: &str = "token-search";

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_found_in_objects_that_are_deleted_again() {
    let server = server(NAMESPACE);
    let search = TokenSearch::start(&server.client().await);
    let own = |places: Vec<&str>| -> Vec<String> {
        let in_namespace = |place: &&str| place.contains(NAMESPACE);
        places
            .into_iter()
            .filter(in_namespace)
            .map(str::to_owned)
            .collect()
    };
    let apply = |name: &str, data: &str| {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {"text": data},
        });
        server.apply(&object.to_string());
    };
    let metadata = json!({"name": "client", "namespace": NAMESPACE});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
    server.apply(&account.to_string());
    let token = server.kubectl_prints(&["create", "token", "client", "--namespace", NAMESPACE]);
    apply("fine", "fine");
    apply("chosen", TOKEN);
    apply("account", &format!("token: {}", token.trim()));
    becomes_true("both are found", || own(search.found().places()).len() == 2).await;
    for name in ["chosen", "account"] {
        server.kubectl_prints(&["delete", "configmap", name, "--namespace", NAMESPACE]);
    }

    // The log of a container on a node that does not exist.
    let containers = json!([{"name": "envoy", "image": "envoy"}]);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "proxy",
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": "vaultwall-firewall"},
        },
        "spec": {"automountServiceAccountToken": false, "nodeName": "none", "containers": containers},
    });
    server.apply(&pod.to_string());
    let started = json!({"running": {"startedAt": "2026-11-30T08:00:00Z"}});
    let status = json!({"status": {"phase": "Running", "containerStatuses": [{
        "name": "envoy", "image": "envoy", "imageID": "envoy", "containerID": "containerd://1", "ready": true,
        "restartCount": 0, "state": started,
    }]}});
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/proxy/status");
    let patched = server.request("PATCH", &path, &status.to_string()).unwrap();
    assert_eq!(patched.status, 200, "{}", patched.body);
    let unread = format!("log of {NAMESPACE}/proxy (envoy) was not read to its end");
    becomes_true("the log is missed", || {
        let gaps = search.found().gaps();
        gaps.iter().any(|gap| gap.starts_with(&unread))
    })
    .await;

    let found = search.finish().await.unwrap();
    let place =
        |name: &str, before: &str| format!("v1/configmaps {NAMESPACE}/{name}.data.text: {before}…");
    let before = TOKEN.split("never").next().unwrap();
    assert_eq!(
        own(found.places()),
        [place("account", "token: "), place("chosen", before)]
    );
}
