//! Objects of the cluster, read in this process: a test that waits for an object reads it many times, and each run of
//! `kubectl` takes a tenth of a second of processor time.

use std::sync::OnceLock;

use kube::api::{GetParams, ListParams};
use kube::config::KubeConfigOptions;
use kube::core::{ObjectList, Request};
use kube::{Client, Config};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// Reads an object from the API server; none if it does not exist. `resource` is the API group, if any, version and
/// plural: `v1/pods`, `apps/v1/deployments`. The namespace of cluster-scoped objects is empty.
///
/// # Panics
///
/// If the object cannot be read.
pub fn get_object(resource: &str, namespace: &str, name: &str) -> Option<Value> {
    let request = Request::new(resource_path(resource, namespace)).get(name, &GetParams::default());
    let (runtime, client) = client();
    match runtime.block_on(client.request(request.expect("a valid request"))) {
        Ok(object) => Some(object),
        Err(kube::Error::Api(status)) if status.is_not_found() => None,
        Err(error) => panic!("{resource} {namespace}/{name}: {error}"),
    }
}

/// Reads the objects of a namespace that have these labels; see [`get_object`].
///
/// # Panics
///
/// If the objects cannot be read.
pub fn list_objects(resource: &str, namespace: &str, labels: &str) -> Vec<Value> {
    let request = Request::new(resource_path(resource, namespace))
        .list(&ListParams::default().labels(labels));
    let (runtime, client) = client();
    let list = runtime.block_on(client.request(request.expect("a valid request")));
    let list: ObjectList<Value> =
        list.unwrap_or_else(|error| panic!("{resource} in {namespace}: {error}"));
    list.items
}

/// Path of a resource in the API, of all namespaces if the namespace is empty; see [`get_object`].
pub(crate) fn resource_path(resource: &str, namespace: &str) -> String {
    let (version, plural) = resource.rsplit_once('/').expect("VERSION/PLURAL");
    let root = if version.contains('/') { "apis" } else { "api" };
    match namespace {
        "" => format!("/{root}/{version}/{plural}"),
        namespace => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
    }
}

/// Client of the cluster that `KUBECONFIG` names, and the runtime that it needs.
fn client() -> &'static (Runtime, Client) {
    static CLIENT: OnceLock<(Runtime, Client)> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let client = runtime.block_on(connect());
        (runtime, client)
    })
}

/// Returns a client of the cluster that `KUBECONFIG` names.
pub(crate) async fn connect() -> Client {
    let config = Config::from_kubeconfig(&KubeConfigOptions::default()).await;
    let mut config = config.expect("KUBECONFIG, which dev/cluster exec sets");
    // Only kubectl knows NO_PROXY.
    config.proxy_url = None;
    Client::try_from(config).expect("a client")
}
