//! A real Kubernetes API server with its store, for one test or for all of a test binary.
//!
//! No controllers run: what is deleted stays until its finalizers are gone, namespaces included; owners' children are not
//! collected; Deployments make no pods; the roles `view`, `edit` and `admin` are empty. Who includes this has `loopback`
//! and `tool` beside it.
#![allow(dead_code, reason = "every test binary uses a part of it")]

mod audit;
mod credentials;
mod https;
mod process;
pub mod roles;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use vaultwall::limits::Limits;

pub use self::audit::AuditRecord;
use self::credentials::Credentials;
use self::process::Process;
use crate::loopback::own_address;
use crate::tool::tool;

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_mins(1);
/// Ports on an address that is the server's own.
const API: u16 = 6443;
const STORE: u16 = 2379;
const STORE_PEERS: u16 = 2380;

/// A Kubernetes API server and its etcd. Both end with it, and with the test process however that ends.
pub struct ApiServer {
    // In the order in which they end.
    server: Mutex<Option<Process>>,
    _store: Process,
    credentials: Credentials,
    address: Ipv4Addr,
    issued: AtomicUsize,
    folder: TempDir,
}

impl ApiServer {
    /// Starts one and waits until it is ready.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("vaultwall-kubernetes-")
            .tempdir()
            .unwrap();
        let address = own_address();
        let store = Process::start(
            "etcd",
            store_command(address, folder.path()),
            folder.path(),
            Some(folder.path()),
        );
        let server = Self {
            server: Mutex::new(None),
            _store: store,
            credentials: Credentials::write(address, folder.path()),
            address,
            issued: AtomicUsize::new(0),
            folder,
        };
        server.restart();
        server
    }

    /// One for all tests of this binary, which keep out of each other's way by namespaces. Nobody stops it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ApiServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Ends the API server at once, as if its machine had gone; what it stored stays.
    pub fn stop(&self) {
        *self.process() = None;
    }

    /// Starts the API server (again) on what was stored, at the same address, and waits until it is ready.
    pub fn restart(&self) {
        let mut process = self.process();
        *process = None;
        let mut started = Process::start(
            "kube-apiserver",
            self.server_command(),
            self.folder.path(),
            None,
        );
        let ready = || {
            let answer = self.ask("GET", "/readyz", "")?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(std::io::Error::other(answer.body))
            }
        };
        started.wait_until(ready, PATIENCE);
        *process = Some(started);
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("https://{}", SocketAddrV4::new(self.address, API))
    }

    /// A kubeconfig of one who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.write_kubeconfig("admin.kubeconfig", &json!({"token": credentials::ADMIN}))
    }

    /// A kubeconfig of a user who may do what RBAC says, and nothing to begin with. For a service account:
    /// `system:serviceaccount:NAMESPACE:NAME`, and no groups, because the server knows them.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> PathBuf {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        self.write_kubeconfig(
            &format!("{number}.kubeconfig"),
            &json!({"token": credentials::ADMIN, "as": user, "as-groups": groups}),
        )
    }

    /// A client of one who may do everything.
    pub async fn client(&self) -> kube::Client {
        client_of(&self.kubeconfig()).await
    }

    /// A client of a user, see [`kubeconfig_for`](Self::kubeconfig_for).
    pub async fn client_for(&self, user: &str, groups: &[&str]) -> kube::Client {
        client_of(&self.kubeconfig_for(user, groups)).await
    }

    /// Runs kubectl as one who may do everything.
    pub fn kubectl(&self, arguments: &[&str], stdin: &str) -> Output {
        run(
            Command::new(tool("kubectl"))
                .arg("--kubeconfig")
                .arg(self.kubeconfig())
                .arg("--cache-dir")
                .arg(self.folder.path().join("kubectl"))
                .args(arguments),
            stdin,
        )
    }

    /// What kubectl prints; it has to succeed.
    pub fn kubectl_prints(&self, arguments: &[&str]) -> String {
        succeeded(
            &format!("kubectl {}", arguments.join(" ")),
            &self.kubectl(arguments, ""),
        )
    }

    /// Applies objects, YAML or JSON, with `kubectl apply --server-side`.
    pub fn apply(&self, objects: &str) {
        let output = self.kubectl(&["apply", "--server-side", "-f", "-"], objects);
        succeeded(&format!("kubectl apply of\n{objects}"), &output);
    }

    /// Installs what `vaultwall crds` prints and waits until it is in force: the resources are served and the limits hold.
    pub fn install_crds(&self) {
        self.install_crds_with(&Limits::default());
    }

    /// The same with other limits, also in place of earlier ones.
    pub fn install_crds_with(&self, limits: &Limits) {
        let Some(program) = option_env!("CARGO_BIN_EXE_vaultwall") else {
            panic!("Cargo names the program to tests alone; call install_crds_of");
        };
        self.install(Path::new(program), limits);
    }

    /// The same as [`install_crds`](Self::install_crds) for who is no test: with this `vaultwall`.
    pub fn install_crds_of(&self, program: &Path) {
        self.install(program, &Limits::default());
    }

    fn install(&self, program: &Path, limits: &Limits) {
        let mut crds = Command::new(program);
        crds.arg("crds")
            .args([
                "--max-virtual-network-rules",
                &limits.virtual_network_rules.to_string(),
            ])
            .args(["--max-ip-rules", &limits.ip_rules.to_string()]);
        self.apply(&succeeded("vaultwall crds", &run(&mut crds, "")));
        wait_for(&format!("{limits:?} in force"), || {
            self.answers("GET", "virtualnetworks", "", 200)?;
            for (spec, status) in probes(limits) {
                let policy = json!({
                    "apiVersion": "vaultwall.dev/v1alpha1",
                    "kind": "VaultNetworkPolicy",
                    "metadata": {"name": "probe"},
                    "spec": spec,
                });
                let path = "namespaces/default/vaultnetworkpolicies?dryRun=All";
                self.answers("POST", path, &policy.to_string(), status)?;
            }
            Ok(())
        });
    }

    /// Write requests (create, update, patch, delete), oldest first, whose user is `by` or whose user agent begins with it.
    pub fn writes(&self, by: &str) -> Vec<AuditRecord> {
        audit::records(&self.audit_log())
            .into_iter()
            .filter(|record| record.user == by || record.user_agent.starts_with(by))
            .collect()
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self, method: &str, path: &str, body: &str, status: u16) -> std::io::Result<()> {
        let answer = self.ask(
            method,
            &format!("/apis/vaultwall.dev/v1alpha1/{path}"),
            body,
        )?;
        if answer.status == status {
            Ok(())
        } else {
            Err(std::io::Error::other(format!("not {status}: {answer:?}")))
        }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<https::Answer> {
        https::ask(
            SocketAddrV4::new(self.address, API),
            &self.credentials.authority,
            credentials::ADMIN,
            &format!("{method} {path}"),
            body,
        )
    }

    fn write_kubeconfig(&self, name: &str, user: &Value) -> PathBuf {
        let path = self.folder.path().join(name);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url(),
                "certificate-authority": self.credentials.authority_file,
            }}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        });
        // Renamed over, because another test may be reading it.
        let mut file = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        file.write_all(config.to_string().as_bytes()).unwrap();
        file.persist(&path).unwrap();
        path
    }

    fn audit_log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    fn server_command(&self) -> Command {
        let folder = self.folder.path();
        let policy = folder.join("audit-policy.json");
        fs::write(&policy, audit::policy().to_string()).unwrap();
        let mut command = Command::new(tool("kube-apiserver"));
        let mut option = |name: &str, value: &dyn std::fmt::Display| {
            command.arg(format!("--{name}={value}"));
        };
        option("bind-address", &self.address);
        option("secure-port", &API);
        // Nobody needs the `kubernetes` Service's endpoints, and loopback is refused there.
        option("advertise-address", &self.address);
        option("endpoint-reconciler-type", &"none");
        option("etcd-servers", &store_url(self.address, STORE));
        for (name, file) in self.credentials.files() {
            option(name, &file.display());
        }
        option("service-account-issuer", &self.url());
        option("service-cluster-ip-range", &"10.96.0.0/16");
        option("authorization-mode", &"RBAC");
        option("anonymous-auth", &"false");
        option("allow-privileged", &"true");
        // It would refuse pods until a controller has made the namespace's default service account.
        option("disable-admission-plugins", &"ServiceAccount");
        option("audit-policy-file", &policy.display());
        option("audit-log-path", &self.audit_log().display());
        // Nobody is throttled: a test that is slow has to be so by itself.
        option("enable-priority-and-fairness", &"false");
        option("max-requests-inflight", &0);
        option("max-mutating-requests-inflight", &0);
        command
    }
}

/// Specs at the limits and just above, with the status of the server's answer.
fn probes(limits: &Limits) -> Vec<(Value, u16)> {
    let subnets = |count: usize| -> Vec<Value> {
        let subnet = |n| json!({"subnet": {"virtualNetwork": "probe", "name": format!("s{n}")}});
        (0..count).map(subnet).collect()
    };
    let addresses = |count: usize| -> Vec<Value> {
        let address = |n| json!({"value": format!("8.8.{}.{}", n / 250, n % 250)});
        (0..count).map(address).collect()
    };
    let spec = |more: Value| {
        let mut spec = json!({"targetRef": {"name": "probe", "port": 8200}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec
    };
    let (networks, ips) = (limits.virtual_network_rules, limits.ip_rules);
    vec![
        (
            spec(json!({"virtualNetworkRules": subnets(networks), "ipRules": addresses(ips)})),
            201,
        ),
        (
            spec(json!({"virtualNetworkRules": subnets(networks + 1)})),
            422,
        ),
        (spec(json!({"ipRules": addresses(ips + 1)})), 422),
    ]
}

fn wait_for(what: &str, mut condition: impl FnMut() -> std::io::Result<()>) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = condition() {
        assert!(Instant::now() < end, "{what}: did not happen: {error}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn client_of(kubeconfig: &Path) -> kube::Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    kube::Client::try_from(config).unwrap()
}

fn store_url(address: Ipv4Addr, port: u16) -> String {
    format!("http://{}", SocketAddrV4::new(address, port))
}

fn store_command(address: Ipv4Addr, folder: &Path) -> Command {
    let (clients, peers) = (store_url(address, STORE), store_url(address, STORE_PEERS));
    let mut command = Command::new(tool("etcd"));
    command
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &clients])
        .args(["--advertise-client-urls", &clients])
        .args(["--listen-peer-urls", &peers])
        .args(["--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}")])
        // A machine that loses power loses the test as well.
        .arg("--unsafe-no-fsync")
        .args(["--log-level", "warn"]);
    command
}

fn run(command: &mut Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = stdin.to_owned();
    // Aside, because it may answer before it has read everything. It may also end without reading: that is its own affair.
    let writer = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn succeeded(what: &str, output: &Output) -> String {
    assert!(
        output.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}
