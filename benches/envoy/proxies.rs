//! Real Envoys that ask the xDS server of this process, and the CPU that they take.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tempfile::TempDir;
use testkit::Process;
use testkit::process::cpu_time;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use vaultwall::compile::envoy::{ARGUMENTS, Bootstrap, XdsServer};
use vaultwall::transport::{ServeError, bind_unix, serve_unix};
use vaultwall::xds::SnapshotStore;

use crate::configurations::Filters;

/// Longer than an Envoy takes to start.
const TIMEOUT: Duration = Duration::from_mins(1);
/// An Envoy whose CPU time has not changed for so long has done what it had to.
const STILL: Duration = Duration::from_millis(2);

/// The xDS server, and a folder for all.
pub(crate) struct Server {
    folder: TempDir,
    store: Arc<SnapshotStore>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SnapshotStore::new());
        let listener = bind_unix(&socket(&folder)).unwrap();
        let serving = serve_unix(listener, Arc::clone(&store), std::future::pending());
        Self {
            serving: tokio::spawn(serving),
            folder,
            store,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("xds.sock")
}

/// A running Envoy; it ends with this value.
pub(crate) struct Envoy {
    process: Process,
    pub address: SocketAddrV4,
    /// Kept for as long as an Envoy asks it.
    _server: Rc<Server>,
}

impl Envoy {
    /// Starts one, and waits until it has its configuration.
    pub(crate) async fn start(
        server: &Rc<Server>,
        filters: Filters,
        address: Ipv4Addr,
        vault: SocketAddrV4,
    ) -> Self {
        let node = format!("vault/openbao-{address}");
        let folder = server.folder.path().join(address.to_string());
        fs::create_dir(&folder).unwrap();
        if let Filters::Rendered(build) = filters {
            let program = build.program().expect("a program");
            let file = filters.render(&program, &folder, address, vault);
            let process = run(&file, &folder);
            let envoy = Self::of(server, process, address);
            let listens = async {
                while TcpStream::connect(envoy.address).await.is_err() {
                    tokio::time::sleep(STILL).await;
                }
            };
            let listens = tokio::time::timeout(TIMEOUT, listens).await;
            listens.unwrap_or_else(|_| panic!("{filters:?}: {}", envoy.process.log()));
            return envoy;
        }
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let bootstrap = Bootstrap {
            node_id: node.clone(),
            xds: XdsServer::Socket(path(socket(&server.folder))),
            admin_socket: path(folder.join("admin.sock")),
            metrics: None,
            memory: None,
        };
        let file = folder.join("bootstrap.pb");
        fs::write(&file, bootstrap.message().encode_to_vec()).unwrap();
        let envoy = Self::of(server, run(&file, &folder), address);
        let version = server
            .store
            .publish(&node, filters.snapshot(address, vault));
        let programmed = server.store.wait_programmed(&node, &version);
        match tokio::time::timeout(TIMEOUT, programmed).await {
            Ok(Ok(())) => envoy,
            other => panic!("{filters:?}: {other:?}\n{}", envoy.process.log()),
        }
    }

    fn of(server: &Rc<Server>, process: Process, address: Ipv4Addr) -> Self {
        Self {
            process,
            address: SocketAddrV4::new(address, 8200),
            _server: Rc::clone(server),
        }
    }

    /// CPU time so far, of all threads, once it rests.
    pub(crate) async fn cpu(&self) -> Duration {
        let mut last = cpu_time(self.process.id());
        loop {
            tokio::time::sleep(STILL).await;
            let now = cpu_time(self.process.id());
            if now == last {
                return now;
            }
            last = now;
        }
    }
}

/// Runs Envoy with as many workers as the operator gives a proxy of one CPU.
fn run(bootstrap: &Path, folder: &Path) -> Process {
    let arguments = [&["--concurrency", "1"], &ARGUMENTS[..]].concat();
    testkit::envoy::start(bootstrap, &arguments, folder)
}
