//! What a real Kubernetes API server does with our objects: it installs them, refuses bad ones and shows good ones.
//!
//! `VAULTWALL_ETCD`, `VAULTWALL_KUBECTL` and `VAULTWALL_KUBE_APISERVER` name other programs than those that
//! `dev/tools install` puts in place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod fleet;
mod harness;
mod judge;
#[path = "../kubernetes/mod.rs"]
mod kubernetes;
mod limits;
#[path = "../loopback/mod.rs"]
mod loopback;
mod shown;
mod status;
#[path = "../crd_rules/tables/mod.rs"]
mod tables;
#[path = "../tool/mod.rs"]
mod tool;
mod verdicts;

use std::sync::Once;

use kubernetes::ApiServer;
use serde_json::json;

/// The server of all tests that neither stop it nor change its limits, with our resources and a namespace of that name.
fn server(namespace: &str) -> &'static ApiServer {
    static INSTALLED: Once = Once::new();
    let server = ApiServer::shared();
    INSTALLED.call_once(|| server.install_crds());
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    server.apply(&object.to_string());
    server
}
