//! Objects of all namespaces, from a list and a watch.

use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ObjectList, Request};
use serde_json::Value;

use crate::cluster::resource_path;

/// Time until the next attempt, where a resource cannot be read: before its definition is installed, for example.
const RETRY: Duration = Duration::from_millis(250);

/// Lists the objects of a resource in all namespaces; none if it is not defined.
pub(super) async fn list_defined(client: &Client, resource: &str) -> kube::Result<Vec<Value>> {
    match list(client, resource).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

async fn list(client: &Client, resource: &str) -> kube::Result<ObjectList<Value>> {
    let request = Request::new(resource_path(resource, "")).list(&ListParams::default());
    client
        .request(request.map_err(kube::Error::BuildRequest)?)
        .await
}

/// Passes each version of each object of a resource on. Does not end.
pub(super) async fn watch(client: &Client, resource: &str, mut on_object: impl FnMut(&Value)) {
    loop {
        if let Ok(list) = list(client, resource).await {
            list.items.iter().for_each(&mut on_object);
            let mut version = list.metadata.resource_version.unwrap_or_default();
            while let Ok(()) = changes(client, resource, &mut version, &mut on_object).await {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Passes changes after a version on until the server ends the watch. An error needs a new list.
async fn changes(
    client: &Client,
    resource: &str,
    version: &mut String,
    on_object: &mut impl FnMut(&Value),
) -> kube::Result<()> {
    let request = Request::new(resource_path(resource, ""));
    let request = request
        .watch(&WatchParams::default(), version)
        .map_err(kube::Error::BuildRequest)?;
    let mut events = pin!(client.request_events::<Value>(request).await?);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(object)
            | WatchEvent::Modified(object)
            | WatchEvent::Deleted(object) => {
                on_object(&object);
                if let Some(newest) = object["metadata"]["resourceVersion"].as_str() {
                    newest.clone_into(version);
                }
            }
            WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(())
}
