//! Classification of the operator's requests by API Priority and Fairness, with the chart's `FlowSchema`.

use http_body_util::BodyExt;
use hyper::Request;
use kube::client::Body;
use serde_json::{Value, json};

use crate::charts::helm::NAMESPACE;
use crate::charts::installed::apply_rendered;
use testkit::ApiServer;
use testkit::wait::becomes_true;

const FLOW_CONTROL: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

/// Sends a request. Returns the UIDs of the `FlowSchema` and of the priority level that the API server found for it,
/// and the object of the response.
async fn send(client: &kube::Client, [method, path, body]: [&str; 3]) -> ([String; 2], Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body.as_bytes().to_vec()))
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert!(
        response.status().is_success(),
        "{method} {path}: {response:?}"
    );
    let found = ["flowschema", "prioritylevel"].map(|kind| {
        let header = response
            .headers()
            .get(format!("x-kubernetes-pf-{kind}-uid"));
        header.unwrap().to_str().unwrap().to_owned()
    });
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (found, serde_json::from_slice(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_the_lease_have_the_priority_of_leader_elections() {
    let server = ApiServer::start_with_fairness();
    apply_rendered(&server, &[]);
    let uid = |path: &str| {
        let object = server.get(&format!("{FLOW_CONTROL}/{path}")).unwrap();
        object["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let expected = [
        uid("flowschemas/vaultwall-leader-election"),
        uid("prioritylevelconfigurations/leader-election"),
    ];
    let user = format!("system:serviceaccount:{NAMESPACE}:vaultwall");
    let client = server.client_for(&user, &[]).await;
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "vaultwall"}, "spec": {"holderIdentity": "test"},
    })
    .to_string();
    let (_, created) = send(&client, ["POST", &leases, &lease]).await;
    let path = format!("{leases}/vaultwall");
    becomes_true("the API server uses the new FlowSchema", || {
        let read = send(&client, ["GET", &path, ""]);
        let (found, _) =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(read));
        found == expected
    })
    .await;
    let (found, _) = send(&client, ["PUT", &path, &created.to_string()]).await;
    assert_eq!(found, expected, "a renewal");

    // Nothing else has this priority: it has few seats.
    let others = [
        "/api/v1/pods",
        "/apis/vaultwall.dev/v1alpha1/virtualnetworks",
    ];
    for path in others {
        let (found, _) = send(&client, ["GET", path, ""]).await;
        assert_eq!(found[0], uid("flowschemas/service-accounts"), "{path}");
    }
    let everything = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    let tenant = format!("system:serviceaccount:{NAMESPACE}:other");
    server.bind("other", Some(NAMESPACE), &tenant, &[everything]);
    server.wait_for_permission(
        &tenant,
        Some(NAMESPACE),
        "get",
        ("coordination.k8s.io", "leases"),
    );
    let client = server.client_for(&tenant, &[]).await;
    let (found, _) = send(&client, ["GET", &path, ""]).await;
    assert_eq!(
        found[0],
        uid("flowschemas/service-accounts"),
        "another account"
    );
}
