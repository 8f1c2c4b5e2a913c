//! Our objects in a real Kubernetes API server: it installs the definitions, refuses bad objects and prints good ones.
//!
//! `VAULTWALL_ETCD`, `VAULTWALL_KUBECTL` and `VAULTWALL_KUBE_APISERVER` name other programs than those that `dev/tools
//! install` puts in place.

pub(crate) mod account_label;
mod cert_manager;
mod dry_run;
mod empty_labels;
mod fleet;
mod harness;
mod issuer_keys;
mod limits;
mod removal;
mod shown;
mod status;
mod token_search;
mod verdicts;

use std::sync::Once;

use serde_json::json;
use testkit::ApiServer;

/// The server of all tests that neither stop it nor change its limits, with our resources and a namespace of that name.
fn server(namespace: &str) -> &'static ApiServer {
    static INSTALLED: Once = Once::new();
    let server = ApiServer::shared();
    INSTALLED.call_once(|| server.install_crds());
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    server.apply(&object.to_string());
    server
}
