//! A real Kubernetes API server with its etcd, for one test or for all tests of a binary.
//!
//! No controllers run: a deleted object stays until its finalizers are removed, namespaces included; objects whose
//! owner is deleted stay; Deployments create no pods; the roles `view`, `edit` and `admin` are empty.

mod audit;
mod credentials;
mod https;
mod pool;
mod rules;

use std::fs;
use std::io::{Error, Result, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::audit::AuditRecord;
use self::credentials::Credentials;
pub use self::https::Response;
pub use self::pool::{Pool, PooledServer};
use crate::address::own_address;
use crate::client::Client;
use crate::process::Process;
use crate::tools::{tool, vaultwall};
use crate::wait::wait_for_ok;

/// Port of the API server, on an address that is its own.
const API: u16 = 6443;
/// Ports of etcd on the same address: for clients, and for other members.
const ETCD: u16 = 2379;
const ETCD_PEERS: u16 = 2380;
/// Rules that a policy may have, of each kind, where `vaultwall crds` is given no other numbers.
const DEFAULT_LIMIT: usize = 127;

/// A Kubernetes API server and its etcd. Both end when it is dropped, and with the test process however that ends.
pub struct ApiServer {
    // In the order in which they end.
    server: Mutex<Option<Process>>,
    _etcd: Process,
    credentials: Credentials,
    address: Ipv4Addr,
    /// Whether it classifies requests and limits each class (API Priority and Fairness).
    is_fair: bool,
    issued: AtomicUsize,
    /// Bytes of the audit log that are about the tests that used the server before.
    earlier_writes: u64,
    folder: TempDir,
}

impl ApiServer {
    /// Starts an API server and waits until it is ready.
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// The same with API Priority and Fairness, which delays requests of a busy test.
    pub fn start_with_fairness() -> Self {
        Self::start_with(true)
    }

    fn start_with(is_fair: bool) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("vaultwall-kubernetes-")
            .tempdir()
            .unwrap();
        let address = own_address();
        let etcd = etcd_command(address, folder.path());
        let server = Self {
            server: Mutex::new(None),
            _etcd: Process::start_in_own("etcd", etcd, folder.path()),
            credentials: Credentials::write(address, folder.path()),
            address,
            is_fair,
            issued: AtomicUsize::new(0),
            earlier_writes: 0,
            folder,
        };
        server.restart();
        server
    }

    /// Returns the API server of all tests of this binary that use namespaces of their own. No test stops it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ApiServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Kills the API server, as when its machine fails. What it stored stays.
    pub fn stop(&self) {
        *self.process() = None;
    }

    /// Starts the API server (again) with what is stored, at the same address, and waits until it is ready.
    pub fn restart(&self) {
        let mut process = self.process();
        *process = None;
        let command = self.server_command();
        let mut started = Process::start("kube-apiserver", command, self.folder.path());
        started.wait_until_ready(|| self.expect("GET", "/readyz", "", 200));
        *process = Some(started);
    }

    /// Returns its address, `https://IP:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", SocketAddrV4::new(self.address, API))
    }

    /// Sends a request to etcd, past the API server: a path of its gateway, and the message in JSON.
    ///
    /// # Panics
    ///
    /// If the answer is an error.
    pub fn etcd(&self, path: &str, message: &Value) -> Value {
        let mut client = Client::new(self.address, SocketAddrV4::new(self.address, ETCD));
        let answer = client.send("POST", path, &message.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{path}: {answer}");
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Returns a kubeconfig of a user who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.write_kubeconfig("admin.kubeconfig", &json!({"token": credentials::ADMIN}))
    }

    /// Returns a kubeconfig of a user who may do what RBAC grants, which is nothing to begin with. For a service
    /// account: `system:serviceaccount:NAMESPACE:NAME` without groups; the server adds those itself.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> PathBuf {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        self.write_kubeconfig(
            &format!("{number}.kubeconfig"),
            &json!({"token": credentials::ADMIN, "as": user, "as-groups": groups}),
        )
    }

    /// Returns a client of a user who may do everything.
    pub async fn client(&self) -> kube::Client {
        client_of(&self.kubeconfig()).await
    }

    /// Returns a client of a user, see [`kubeconfig_for`](Self::kubeconfig_for).
    pub async fn client_for(&self, user: &str, groups: &[&str]) -> kube::Client {
        client_of(&self.kubeconfig_for(user, groups)).await
    }

    /// Returns the configuration of a client of a user, see [`kubeconfig_for`](Self::kubeconfig_for).
    pub async fn config_for(&self, user: &str, groups: &[&str]) -> kube::Config {
        config_of(&self.kubeconfig_for(user, groups)).await
    }

    /// Runs kubectl as a user who may do everything.
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

    /// Runs kubectl and returns its output.
    ///
    /// # Panics
    ///
    /// If it fails, with what it printed to stderr.
    pub fn kubectl_prints(&self, arguments: &[&str]) -> String {
        let what = format!("kubectl {}", arguments.join(" "));
        stdout_of(&what, &self.kubectl(arguments, ""))
    }

    /// Applies objects, YAML or JSON, with `kubectl apply --server-side`.
    pub fn apply(&self, objects: &str) {
        let output = self.kubectl(&["apply", "--server-side", "-f", "-"], objects);
        stdout_of(&format!("kubectl apply of\n{objects}"), &output);
    }

    /// Returns an object by its path, such as `/api/v1/namespaces/default`; `None` if there is none.
    pub fn get(&self, path: &str) -> Option<Value> {
        let response = self.request("GET", path, "").ok()?;
        let object = (response.status == 200).then_some(response.body)?;
        Some(serde_json::from_str(&object).unwrap())
    }

    /// Sets the status of a pod to running at an address, as its node would.
    pub fn set_running(&self, namespace: &str, pod: &str, address: Ipv4Addr) {
        let status = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]});
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/status");
        let body = json!({"status": status}).to_string();
        self.expect("PATCH", &path, &body, 200).unwrap();
    }

    /// Installs the output of `vaultwall crds` and waits until it is in force: the resources are served and the limits
    /// hold.
    pub fn install_crds(&self) {
        self.install_crds_with(DEFAULT_LIMIT, DEFAULT_LIMIT);
    }

    /// Installs the same with other limits, also in place of earlier ones: numbers of virtual-network rules and of IP
    /// rules that a policy may have.
    pub fn install_crds_with(&self, virtual_network_rules: usize, ip_rules: usize) {
        self.install(&definitions(virtual_network_rules, ip_rules));
        self.wait_for_limits(virtual_network_rules, ip_rules);
    }

    /// Installs the output of `vaultwall crds` without a line and the lines that are indented below it, as an earlier
    /// version of it might be.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    pub fn install_crds_without(&self, field: &str) {
        let all = definitions(DEFAULT_LIMIT, DEFAULT_LIMIT);
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut lines = all.lines();
        let before: Vec<&str> = lines
            .by_ref()
            .take_while(|line| line.trim() != field)
            .collect();
        let start = all.lines().nth(before.len()).map(indent);
        let start = start.unwrap_or_else(|| panic!("the CRDs have no line {field}"));
        let after = lines.skip_while(|line| indent(line) > start);
        let rest: Vec<&str> = before.into_iter().chain(after).collect();
        self.install(&rest.join("\n"));
    }

    fn install(&self, definitions: &str) {
        self.apply(definitions);
        // The storage of a kind is prepared by its first request, which is refused.
        for kind in ["trustedservices", "vaultnetworkpolicies", "virtualnetworks"] {
            let served = format!("/apis/vaultwall.dev/v1alpha1/{kind}");
            wait_for_ok("the CRDs in force", || self.expect("GET", &served, "", 200));
        }
    }

    fn wait_for_limits(&self, virtual_network_rules: usize, ip_rules: usize) {
        let group = "/apis/vaultwall.dev/v1alpha1";
        let policies = format!("{group}/namespaces/default/vaultnetworkpolicies?dryRun=All");
        wait_for_ok("limits of the CRDs in force", || {
            for (spec, status) in rules::at_the_limits(virtual_network_rules, ip_rules) {
                let policy = json!({
                    "apiVersion": "vaultwall.dev/v1alpha1",
                    "kind": "VaultNetworkPolicy",
                    "metadata": {"name": "probe"},
                    "spec": spec,
                });
                self.expect("POST", &policies, &policy.to_string(), status)?;
            }
            Ok::<(), Error>(())
        });
    }

    /// Creates or replaces a role with these rules for one user: in a namespace, or in all.
    pub fn bind(&self, name: &str, namespace: Option<&str>, user: &str, rules: &[Value]) {
        let (kind, metadata) = match namespace {
            Some(namespace) => ("Role", json!({"name": name, "namespace": namespace})),
            None => ("ClusterRole", json!({"name": name})),
        };
        let group = "rbac.authorization.k8s.io";
        let role = json!({
            "apiVersion": format!("{group}/v1"),
            "kind": kind,
            "metadata": metadata,
            "rules": rules,
        });
        let binding = json!({
            "apiVersion": format!("{group}/v1"),
            "kind": format!("{kind}Binding"),
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": kind, "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        });
        self.apply(&format!("{role}\n---\n{binding}"));
    }

    /// Waits until RBAC grants a user a verb on a resource, in a namespace or in all.
    pub fn wait_for_permission(
        &self,
        user: &str,
        namespace: Option<&str>,
        verb: &str,
        (group, resource): (&str, &str),
    ) {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {
                "namespace": namespace.unwrap_or_default(),
                "verb": verb,
                "group": group,
                "resource": resource,
                "subresource": subresource,
            }},
        })
        .to_string();
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        wait_for_ok(&format!("{user} may {verb} {resource}"), || {
            let response = self.request("POST", path, &review)?;
            let review: Value = serde_json::from_str(&response.body)?;
            let allowed = review["status"]["allowed"] == true;
            allowed
                .then_some(())
                .ok_or_else(|| Error::other(response.body))
        });
    }

    /// Returns the write requests (create, update, patch, delete) of this test, oldest first, whose user is `by` or
    /// whose user agent begins with it.
    pub fn writes(&self, by: &str) -> Vec<AuditRecord> {
        let mut records = audit::records(&self.audit_log(), self.earlier_writes);
        records.retain(|record| record.user == by || record.user_agent.starts_with(by));
        records
    }

    /// Sends a request as a user who may do everything. The body of a PATCH is a merge patch.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Result<Response> {
        https::send(
            SocketAddrV4::new(self.address, API),
            &self.credentials.authority,
            credentials::ADMIN,
            [method, path],
            body,
        )
    }

    fn expect(&self, method: &str, path: &str, body: &str, status: u16) -> Result<()> {
        let response = self.request(method, path, body)?;
        if response.status == status {
            return Ok(());
        }
        let error = format!("{method} {path}: not {status}: {response:?}");
        Err(Error::other(error))
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
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
        // Replaced at once, because another test may be reading it.
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
        // The endpoints of the Service `kubernetes` are not used, and loopback addresses are refused there.
        option("advertise-address", &self.address);
        option("endpoint-reconciler-type", &"none");
        option("etcd-servers", &etcd_url(self.address, ETCD));
        for (name, file) in self.credentials.files() {
            option(name, &file.display());
        }
        option("service-account-issuer", &self.url());
        option("service-cluster-ip-range", &"10.96.0.0/16");
        option("authorization-mode", &"RBAC");
        option("anonymous-auth", &"false");
        option("allow-privileged", &"true");
        // It would refuse pods until a controller has created the default service account of their namespace.
        option("disable-admission-plugins", &"ServiceAccount");
        // As in a real cluster, a kubelet may write its own node and pods only.
        option("enable-admission-plugins", &"NodeRestriction");
        option("audit-policy-file", &policy.display());
        option("audit-log-path", &self.audit_log().display());
        if !self.is_fair {
            // No throttling, so that a slow test is slow by itself.
            option("enable-priority-and-fairness", &"false");
            option("max-requests-inflight", &0);
            option("max-mutating-requests-inflight", &0);
        }
        command
    }
}

async fn client_of(kubeconfig: &Path) -> kube::Client {
    kube::Client::try_from(config_of(kubeconfig).await).unwrap()
}

async fn config_of(kubeconfig: &Path) -> kube::Config {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap()
}

/// Returns the output of `vaultwall crds`.
fn definitions(virtual_network_rules: usize, ip_rules: usize) -> String {
    let [networks, ips] = [virtual_network_rules, ip_rules].map(|limit| limit.to_string());
    let mut crds = Command::new(vaultwall());
    crds.arg("crds")
        .args(["--max-virtual-network-rules", &networks])
        .args(["--max-ip-rules", &ips]);
    stdout_of("vaultwall crds", &run(&mut crds, ""))
}

fn etcd_url(address: Ipv4Addr, port: u16) -> String {
    format!("http://{}", SocketAddrV4::new(address, port))
}

fn etcd_command(address: Ipv4Addr, folder: &Path) -> Command {
    let [clients, peers] = [ETCD, ETCD_PEERS].map(|port| etcd_url(address, port));
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
    // In a thread, because the program may write before it has read everything, or end without reading.
    let writer = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn stdout_of(what: &str, output: &Output) -> String {
    assert!(
        output.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}
