//! The server of the tests does what the tests rely on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::crd_tables::policy;
use testkit::client::TOKEN;
use testkit::{ApiServer, Pool};

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "1"}})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_recorded_by_user_and_agent() {
    let server = ApiServer::shared();
    let client = server.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    maps.create(&PostParams::default(), &config_map("counted"))
        .await
        .unwrap();
    let patch = Patch::Merge(json!({"data": {"a": "2"}}));
    maps.patch("counted", &PatchParams::apply("somebody"), &patch)
        .await
        .unwrap();
    maps.get("counted").await.unwrap();
    let writes: Vec<_> = server
        .writes("admin")
        .into_iter()
        .filter(|record| record.name == "counted")
        .map(|record| {
            (
                record.verb,
                record.resource,
                record.namespace,
                record.status,
            )
        })
        .collect();
    let record = |verb: &str, status| {
        (
            verb.to_owned(),
            "configmaps".to_owned(),
            "default".to_owned(),
            status,
        )
    };
    assert_eq!(writes, [record("create", 201), record("patch", 200)]);

    server.apply(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "by-kubectl"}})
            .to_string(),
    );
    let names: Vec<_> = server
        .writes("kubectl/")
        .into_iter()
        .map(|record| record.name)
        .collect();
    assert!(names.contains(&"by-kubectl".to_owned()), "{names:?}");
    assert!(!names.contains(&"counted".to_owned()), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_do_what_rbac_grants() {
    let server = ApiServer::shared();
    let client = server.client_for("somebody", &["readers"]).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let error = maps.list(&kube::api::ListParams::default()).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains(r#"User "somebody" cannot list resource "configmaps""#),
        "{error}"
    );
    let create = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        server.kubectl_prints(&[&["create", "--namespace=default"], &arguments[..]].concat());
    };
    create("role readers --verb=list --resource=configmaps");
    create("rolebinding readers --role=readers --group=readers");
    // The authorizer of the server sees the binding a moment later.
    tokio::time::timeout(Duration::from_secs(30), async {
        while maps.list(&kube::api::ListParams::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    let error = maps
        .create(&PostParams::default(), &config_map("mine"))
        .await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("cannot create resource")
    );
    let by_somebody = server.writes("somebody");
    assert_eq!(by_somebody.len(), 1);
    assert_eq!(
        (by_somebody[0].verb.as_str(), by_somebody[0].status),
        ("create", 403)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_objects_outlive_the_server() {
    let server = ApiServer::start();
    let maps: Api<ConfigMap> = Api::namespaced(server.client().await, "default");
    maps.create(&PostParams::default(), &config_map("kept"))
        .await
        .unwrap();
    server.stop();
    maps.get("kept").await.unwrap_err();
    server.restart();
    assert_eq!(maps.get("kept").await.unwrap().data.unwrap()["a"], "1");
}

#[test]
fn a_server_of_a_pool_has_the_objects_of_its_set_up_and_no_others() {
    static POOL: Pool = Pool::new();
    let path = |name: &str| format!("/api/v1/namespaces/default/configmaps/{name}");
    let named = |name: &str| serde_json::to_string(&config_map(name)).unwrap();
    let create = |server: &ApiServer, name: &str| {
        let created = server
            .request(
                "POST",
                "/api/v1/namespaces/default/configmaps",
                &named(name),
            )
            .unwrap();
        assert_eq!(created.status, 201, "{}", created.body);
    };
    let first = POOL.server(|server| {
        create(server, "changed");
        create(server, "deleted");
    });
    create(&first, "created");
    for (method, name, body) in [
        ("PATCH", "changed", r#"{"data": {"a": "2"}}"#),
        ("DELETE", "deleted", ""),
    ] {
        let done = first.request(method, &path(name), body).unwrap();
        assert_eq!(done.status, 200, "{}", done.body);
    }
    let url = first.url();
    drop(first);

    let second = POOL.server(|_| panic!("another server is started"));
    assert_eq!(second.url(), url);
    assert_eq!(second.get(&path("changed")).unwrap()["data"]["a"], "1");
    assert!(second.get(&path("deleted")).is_some());
    assert_eq!(second.get(&path("created")), None);
    assert_eq!(second.writes("admin"), []);
}

/// A server of a pool is searched when its test ends: the statuses and events that anybody wrote are in its audit log.
#[test]
fn a_token_in_a_status_or_an_event_fails_the_test() {
    let status = |text: &str| {
        let path =
            "/apis/vaultwall.dev/v1alpha1/namespaces/default/vaultnetworkpolicies/openbao/status";
        ("PATCH", path, json!({"status": {"endpoint": text}}))
    };
    let event = |text: &str| {
        let body = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": "tested-", "namespace": "default"},
            "eventTime": "2026-11-30T08:00:00.000000Z",
            "type": "Normal",
            "reason": "Tested",
            "action": "Test",
            "note": text,
            "reportingController": "vaultwall.dev/test",
            "reportingInstance": "test",
            "regarding": {"kind": "Namespace", "name": "default", "namespace": "default"},
        });
        (
            "POST",
            "/apis/events.k8s.io/v1/namespaces/default/events",
            body,
        )
    };
    assert!(!fails(&[status("fine"), event("fine")]));
    assert!(fails(&[status(TOKEN)]));
    assert!(fails(&[event(TOKEN)]));
}

/// Whether a test that sends these requests to a server of a pool fails when it ends.
fn fails(requests: &[(&str, &str, Value)]) -> bool {
    static POOL: Pool = Pool::new();
    let server = POOL.server(|server| {
        server.install_crds();
        let mut object = policy(&json!({}));
        object["metadata"]["namespace"] = json!("default");
        server.apply(&object.to_string());
    });
    for (method, path, body) in requests {
        let response = server.request(method, path, &body.to_string()).unwrap();
        assert!(response.status < 300, "{}", response.body);
    }
    catch_unwind(AssertUnwindSafe(|| drop(server))).is_err()
}
