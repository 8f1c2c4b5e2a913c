//! A real Envoy with a folder, an xDS socket and a listener port of its own; it ends with the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use vaultwall::xds::{Resource, Snapshot};

use crate::xds::resources::{allowing, cluster, discovering_cluster, listener, routes};
use testkit::wait::TIMEOUT;
use testkit::{Process, own_address};

/// The node as which it connects.
pub(crate) const NODE: &str = "team-a/openbao";
pub(crate) struct Envoy {
    _process: Process,
    folder: TempDir,
    address: SocketAddrV4,
}

impl Envoy {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bootstrap = folder.path().join("bootstrap.json");
        std::fs::write(&bootstrap, Self::bootstrap(folder.path())).unwrap();
        let arguments = [
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
        ];
        let process = testkit::envoy::start(&bootstrap, &arguments, folder.path());
        Self {
            _process: process,
            folder,
            address: SocketAddrV4::new(own_address(), 8300),
        }
    }

    fn bootstrap(folder: &Path) -> String {
        let ads = json!({ "ads": {}, "resource_api_version": "V3" });
        let http2 = json!({
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        });
        let endpoint = json!({ "address": { "pipe": { "path": folder.join("xds.sock") } } });
        json!({
            "node": { "id": NODE, "cluster": "vaultwall" },
            "admin": { "address": { "pipe": { "path": folder.join("admin.sock") } } },
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": true,
                    "grpc_services": [{ "envoy_grpc": {
                        "cluster_name": "xds",
                        "retry_policy": { "retry_back_off": { "base_interval": "0.05s", "max_interval": "0.2s" } },
                    } }],
                },
                "cds_config": ads,
                "lds_config": ads,
            },
            "static_resources": { "clusters": [{
                "name": "xds",
                "type": "STATIC",
                "connect_timeout": "1s",
                "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2 },
                "load_assignment": {
                    "cluster_name": "xds",
                    "endpoints": [{ "lb_endpoints": [{ "endpoint": endpoint }] }],
                },
            }] },
        })
        .to_string()
    }

    /// Where it looks for the xDS server.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("xds.sock")
    }

    /// The whole configuration, with these rules if any.
    pub(crate) fn snapshot(&self, rules: Option<Resource>) -> Snapshot {
        let mut resources = vec![cluster(), listener(self.address), routes()];
        resources.extend(rules);
        Snapshot::new(resources)
    }

    /// The whole configuration, with this resource in place of its namesake.
    pub(crate) fn snapshot_with(&self, other: Resource) -> Snapshot {
        let rules = allowing("/a");
        let resources = vec![cluster(), listener(self.address), routes(), rules, other];
        Snapshot::new(resources)
    }

    /// The whole configuration, with a cluster that discovers its endpoints and has this timeout in seconds.
    pub(crate) fn snapshot_with_discovery(&self, connect_timeout: i64) -> Snapshot {
        let mut resources = discovering_cluster(connect_timeout).to_vec();
        resources.extend([listener(self.address), routes(), allowing("/a")]);
        Snapshot::new(resources)
    }

    /// One of its statistics.
    pub(crate) fn statistic(&self, name: &str) -> u64 {
        testkit::envoy::statistic(&self.folder.path().join("admin.sock"), name).unwrap()
    }

    /// Where its listener listens.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The status code of a request; `None` when nothing answers.
    fn asks(&self, path: &str) -> Option<u16> {
        let mut stream = TcpStream::connect_timeout(&self.address.into(), TIMEOUT).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        // The first line is enough; Envoy takes a second to close what it was asked to close.
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }

    /// How `/a` and `/b` are answered.
    pub(crate) fn verdicts(&self) -> [Option<u16>; 2] {
        [self.asks("/a"), self.asks("/b")]
    }

    /// Envoy acknowledges before its workers have taken a change over; that takes a moment more.
    pub(crate) async fn wait_for_answers(&self, expected: [Option<u16>; 2]) {
        let mut last = self.verdicts();
        let answered = async {
            while last != expected {
                tokio::time::sleep(Duration::from_millis(2)).await;
                last = self.verdicts();
            }
        };
        let in_time = tokio::time::timeout(TIMEOUT, answered).await.is_ok();
        assert!(
            in_time,
            "/a and /b should be answered with {expected:?} and are with {last:?}"
        );
    }
}
