//! Checks an object with a server, without storing it.

use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Error};
use serde_json::Value;

use crate::crd_tables::ACCEPTED;

/// One refusal: a field, and the message of the server.
pub type Refusal = (String, String);

/// The API of an object's kind.
pub fn api_of(client: &Client, object: &Value) -> Api<DynamicObject> {
    let kind = object["kind"].as_str().unwrap();
    let kind = GroupVersionKind::gvk("vaultwall.dev", "v1alpha1", kind);
    let resource = ApiResource::from_gvk(&kind);
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Its refusals about creating an object; none if it takes it.
pub async fn refusals(client: &Client, object: &Value) -> Vec<Refusal> {
    let parsed = serde_json::from_value(object.clone()).unwrap();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match api_of(client, object).create(&dry, &parsed).await {
        Ok(_) => Vec::new(),
        Err(Error::Api(status)) => {
            assert_eq!(status.code, 422, "{object}: refused as such: {status:?}");
            let causes = status.details.map(|details| details.causes);
            causes
                .unwrap_or_default()
                .into_iter()
                .map(|cause| (cause.field, cause.message))
                .collect()
        }
        Err(error) => panic!("{object}: {error}"),
    }
}

/// Checks a row: accepted, or refused at that field with such a message.
pub async fn check(client: &Client, label: &str, object: &Value, field: &str, expected: &str) {
    let refusals = refusals(client, object).await;
    if expected == ACCEPTED {
        assert_eq!(refusals, [], "{label}: refused");
    } else {
        assert!(
            refusals
                .iter()
                .any(|(at, message)| at == field && message.contains(expected)),
            "{label}: expected {expected:?} at {field}, got {refusals:#?}"
        );
    }
}
