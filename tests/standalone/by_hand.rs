//! Envoy started by hand with the bootstrap that Vaultwall writes, and a server of the test's own: what is missing is
//! closed, and what Envoy refuses changes nothing.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use tokio::runtime::Runtime;
use vaultwall::compile::envoy::{self, Bootstrap, Configuration, Proxy, Tls, Upstream, XdsServer};
use vaultwall::limits::Limits;
use vaultwall::objects::{LoadedObjects, parse_file};
use vaultwall::policy::{Firewall, VaultId};
use vaultwall::transport::{bind_unix, serve_unix};
use vaultwall::xds::{NotProgrammed, Resource, Snapshot, SnapshotStore, State};

use crate::standalone::objects::{ALLOWED, DENIED, allowing};
use crate::standalone::sandbox::Sandbox;
use testkit::OpenBao;
use testkit::client::Verdict;
use testkit::tool;
use testkit::wait::{TIMEOUT, wait_for, wait_until};

const NODE: &str = "by-hand";

struct Envoy(Child);

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_envoy(sandbox: &Sandbox) -> Envoy {
    let path = |name: &str| sandbox.state().join(name).display().to_string();
    let bootstrap = Bootstrap {
        node_id: NODE.into(),
        xds: XdsServer::Socket(path("xds.sock")),
        admin_socket: path("admin.sock"),
        metrics: None,
        memory: None,
    };
    let file = sandbox.state().join("bootstrap.pb");
    std::fs::write(&file, bootstrap.message().encode_to_vec()).unwrap();
    let log = File::create(sandbox.at("envoy.log")).unwrap();
    let process = Command::new(tool("envoy"))
        .arg("-c")
        .arg(file)
        .args(["--use-dynamic-base-id", "--log-level", "warning"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Envoy(process)
}

/// Returns the response of Envoy's admin socket.
fn admin(sandbox: &Sandbox, path: &str) -> Option<String> {
    let mut stream = UnixStream::connect(sandbox.state().join("admin.sock")).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A server with a store that the test fills.
struct Server {
    runtime: Runtime,
    store: Arc<SnapshotStore>,
}

impl Server {
    fn start(sandbox: &Sandbox) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let store = Arc::new(SnapshotStore::new());
        let listener = {
            let _inside = runtime.enter();
            bind_unix(&sandbox.state().join("xds.sock")).unwrap()
        };
        let never = std::future::pending();
        runtime.spawn(serve_unix(listener, store.clone(), never));
        Self { runtime, store }
    }

    fn publish(&self, snapshot: Snapshot) -> Result<(), NotProgrammed> {
        let version = self.store.publish(NODE, snapshot);
        let answered = self.store.wait_programmed(NODE, &version);
        self.runtime
            .block_on(async { tokio::time::timeout(TIMEOUT, answered).await })
            .expect("Envoy answers")
    }
}

/// Compiles objects as Vaultwall does.
fn compiled(sandbox: &Sandbox, objects: &str) -> Configuration {
    let limits = Limits::default();
    let contents = parse_file(Path::new("main.yaml"), objects, &limits).unwrap();
    let mut index = LoadedObjects::of([contents]).into_index(limits);
    let vault = VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    };
    let firewall: Firewall = index.resolve(&vault).unwrap().resolution.firewall;
    let proxy = Proxy {
        data: sandbox.data(),
        management: sandbox.management(),
        upstream: Some(Upstream {
            host: sandbox.upstream().ip().to_string(),
            port: sandbox.upstream().port(),
        }),
        access_log: sandbox.at("access.log").display().to_string(),
        tls: Tls::default(),
        streams_denials: false,
        http2: None,
    };
    envoy::configuration(&firewall, &firewall.table(), &proxy)
}

/// The snapshot of a configuration, of the filters those that `keep` keeps.
fn snapshot(configuration: &Configuration, keep: impl Fn(&str) -> bool) -> Snapshot {
    let Configuration {
        clusters,
        listeners,
        routes,
        extensions,
    } = configuration;
    let fixed = clusters.iter().map(Resource::new);
    let fixed = fixed.chain(listeners.iter().map(Resource::new));
    let fixed = fixed.chain(routes.iter().map(Resource::new));
    let kept = extensions.iter().filter(|extension| keep(&extension.name));
    Snapshot::new(fixed.chain(kept.map(Resource::new)).collect())
}

#[test]
fn without_a_server_nothing_listens() {
    let sandbox = Sandbox::new();
    let _envoy = start_envoy(&sandbox);
    wait_for("Envoy has tried to ask", || {
        let stats = admin(
            &sandbox,
            "/stats?filter=vaultwall-xds.upstream_cx_connect_fail",
        )?;
        let count = stats.split("upstream_cx_connect_fail: ").nth(1)?;
        let count: u32 = count.split_whitespace().next()?.parse().ok()?;
        (count > 1).then_some(())
    });
    assert_eq!(sandbox.verdict(ALLOWED), Verdict::Refused);
    // A server that knows nothing of this node is no better.
    let server = Server::start(&sandbox);
    wait_for("Envoy is connected", || {
        (server.store.status(NODE).connected > 0).then_some(())
    });
    assert_eq!(sandbox.verdict(ALLOWED), Verdict::Refused);
}

#[test]
fn without_its_filters_a_listener_denies() {
    let sandbox = Sandbox::new();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    let server = Server::start(&sandbox);
    let _envoy = start_envoy(&sandbox);
    let whole = compiled(&sandbox, &allowing(&[]));
    server.store.publish(NODE, snapshot(&whole, |_| false));
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Denied), (DENIED, Verdict::Denied)]);
    let answer = sandbox
        .client(ALLOWED)
        .send("GET", "/v1/sys/health", "")
        .unwrap();
    assert!(answer.body.contains("has no configuration"), "{answer}");
    // The client can report the id, so the record has it.
    let (_, id) = answer.body.rsplit_once("(decision ").unwrap();
    let id = id.split(')').next().unwrap();
    let log = sandbox.at("access.log");
    wait_until("the record of the denial", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let mut lines = text.lines().filter(|line| line.contains(id));
        lines.any(|line| line.contains(r#""requestUri":"/v1/sys/health""#))
    });

    let names: Vec<&str> = whole
        .extensions
        .iter()
        .map(|extension| extension.name.as_str())
        .collect();
    assert!(names.len() > 3, "{names:?}");
    for missing in names.iter().filter(|name| !name.ends_with(".management")) {
        server.publish(snapshot(&whole, |_| true)).unwrap();
        sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)]);
        server
            .publish(snapshot(&whole, |name| name != *missing))
            .unwrap();
        sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Denied), (DENIED, Verdict::Denied)]);
    }
}

#[test]
fn a_resource_that_envoy_refuses_changes_nothing_and_the_others_do() {
    const HOSTS: &str = "vaultwall.virtual-network-hosts";
    let sandbox = Sandbox::new();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    let server = Server::start(&sandbox);
    let _envoy = start_envoy(&sandbox);
    let before = compiled(&sandbox, &allowing(&[]));
    server.publish(snapshot(&before, |_| true)).unwrap();
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)]);

    // The hosts' filter is not a filter of that kind at all, and a prefix is new.
    let mut bad = compiled(&sandbox, &allowing(&["127.20.0.0/16"]));
    for extension in bad
        .extensions
        .iter_mut()
        .filter(|extension| extension.name == HOSTS)
    {
        *extension = TypedExtensionConfig {
            name: HOSTS.into(),
            typed_config: Some(Any {
                type_url: format!("type.googleapis.com/{}", Router::full_name()),
                value: Router::default().encode_to_vec(),
            }),
        };
    }
    let refusal = server.publish(snapshot(&bad, |_| true)).unwrap_err();
    assert!(refusal.to_string().contains(HOSTS), "{refusal}");
    assert_eq!(server.store.status(NODE).state(), State::Rejected);
    sandbox.wait_for_verdicts(&[(DENIED, Verdict::Allowed)]);
    sandbox.assert_verdicts(&[(ALLOWED, Verdict::Allowed)]);

    // Listeners without anything to do.
    let mut bad = compiled(&sandbox, &allowing(&[]));
    for listener in &mut bad.listeners {
        listener.filter_chains.clear();
    }
    let refusal = server.publish(snapshot(&bad, |_| true)).unwrap_err();
    assert!(refusal.to_string().contains("data"), "{refusal}");
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)]);

    server.publish(snapshot(&before, |_| true)).unwrap();
    assert_eq!(server.store.status(NODE).state(), State::Programmed);
    sandbox.assert_verdicts(&[(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)]);
}
