//! A cluster, a vault and operators that belong to one test alone.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Client, Verdict};
use crate::kubernetes::ApiServer;
use crate::loopback::own_address;
use crate::proxy::Proxy;
use crate::vault::Vault;

/// Longer than anything here takes; only a test that fails waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// The operator's user, with the rights that the documentation lists and no others.
pub(crate) const OPERATOR: &str = "vaultwall-operator";
/// A pod's address.
pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 1);
/// Another pod.
pub(crate) const OTHER_POD: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 2);
/// No pod at all.
pub(crate) const OUTSIDER: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 3);

/// Asks again and again until there is an answer.
pub(crate) fn soon<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running operator.
pub(crate) struct Operator {
    process: Child,
    log: PathBuf,
    pub address: Ipv4Addr,
}

impl Operator {
    /// Kills it without a word.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}; it said:\n{}", self.said());
    }

    /// Lets it see and do nothing until it is resumed.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on after a pause.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits until it has said this.
    pub(crate) fn says(&self, words: &str) {
        soon(words, || self.said().contains(words).then_some(()));
    }

    /// Waits until it has heard a proxy that has everything in force.
    pub(crate) fn hears_a_proxy(&self) {
        let server = SocketAddrV4::new(self.address, 8080);
        soon("its proxy", || {
            let mut client = Client::new(self.address, server);
            let answer = client.send("GET", "/metrics", "").ok()?;
            let line = "\nvaultwall_proxies_programmed 1\n";
            answer.body.contains(line).then_some(())
        });
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            eprintln!(
                "the operator said:\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

/// Everything that one test needs.
pub(crate) struct Sandbox {
    pub server: ApiServer,
    folder: TempDir,
    /// Where the proxies listen.
    pub proxies: Ipv4Addr,
    /// Where the operators are found.
    pub operators: Ipv4Addr,
    vault_address: SocketAddrV4,
    _vault: Vault,
}

impl Sandbox {
    /// A cluster with the CRDs, a vault behind the Service `vault/openbao`, and two pods.
    pub(crate) fn new() -> Self {
        let server = ApiServer::start();
        server.install_crds();
        let folder = tempfile::tempdir().unwrap();
        let address = own_address();
        let vault_address = SocketAddrV4::new(address, 8200);
        let vault = Vault::start(vault_address, folder.path());
        server.apply(include_str!("cluster.yaml"));
        server.allow_operator(OPERATOR, "vaultwall-system");
        let sandbox = Self {
            server,
            folder,
            proxies: own_address(),
            operators: own_address(),
            vault_address,
            _vault: vault,
        };
        sandbox.runs("shop", "web", POD);
        sandbox.runs("shop", "batch", OTHER_POD);
        sandbox
    }

    /// Says that a pod runs at an address, as its node would.
    pub(crate) fn runs(&self, namespace: &str, pod: &str, address: Ipv4Addr) {
        let status = format!(
            r#"{{"status": {{"phase": "Running", "podIP": "{address}", "podIPs": [{{"ip": "{address}"}}]}}}}"#
        );
        self.must(&[
            "patch",
            "pod",
            "-n",
            namespace,
            pod,
            "--subresource",
            "status",
            "--type",
            "merge",
            "-p",
            &status,
        ]);
    }

    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let answer = self.server.kubectl(arguments, "");
        assert!(
            answer.status.success(),
            "kubectl {arguments:?}: {}",
            String::from_utf8_lossy(&answer.stderr)
        );
        String::from_utf8(answer.stdout).unwrap()
    }

    /// Starts an operator where the proxies look for one.
    pub(crate) fn operator(&self) -> Operator {
        self.operator_at("first", self.operators)
    }

    /// Starts a further one.
    pub(crate) fn operator_at(&self, name: &str, address: Ipv4Addr) -> Operator {
        let log = self.folder.path().join(format!("{name}.log"));
        let said = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_vaultwall"))
            .arg("controller")
            .arg("--kubeconfig")
            .arg(self.server.kubeconfig_for(OPERATOR, &[]))
            .args(["--name", name])
            .args(["--xds-listen", &format!("{address}:8500")])
            .args(["--xds-address", &format!("{}:8500", self.operators)])
            .args(["--advertise", &format!("{address}:8500")])
            .args(["--operations-listen", &format!("{address}:8080")])
            .arg("--local-proxy")
            .arg(format!(
                "vault/openbao={},{}",
                self.proxies, self.vault_address
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        Operator {
            process,
            log,
            address,
        }
    }

    /// Starts a proxy of the vault.
    pub(crate) fn proxy(&self) -> Proxy {
        self.proxy_at(self.operators)
    }

    /// Starts a proxy that asks this operator.
    pub(crate) fn proxy_of(&self, operator: &Operator) -> Proxy {
        self.proxy_at(operator.address)
    }

    fn proxy_at(&self, operator: Ipv4Addr) -> Proxy {
        let folder = self.folder.path().join("proxy");
        let moved = (self.operators.to_string(), operator.to_string());
        Proxy::start(&self.server, "vault", "openbao-firewall", &folder, &moved)
    }

    /// A client of the data endpoint.
    pub(crate) fn client(&self, source: Ipv4Addr) -> Client {
        Client::new(source, SocketAddrV4::new(self.proxies, 8200))
    }

    /// Waits until clients, each on new connections, get these verdicts; several times in a row, because each of Envoy's
    /// workers begins with a new rule at a moment of its own.
    pub(crate) fn comes_to(&self, expected: &[(Ipv4Addr, Verdict)]) {
        let mut last = Vec::new();
        let mut in_a_row = 0;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            last = expected
                .iter()
                .map(|(source, _)| (*source, self.client(*source).verdict()))
                .collect();
            in_a_row = if last == expected { in_a_row + 1 } else { 0 };
            if in_a_row == 8 {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("the verdicts should be {expected:?} and are {last:?}");
    }

    /// Waits until a condition of a policy has this status and reason; returns its message.
    pub(crate) fn condition(&self, policy: &str, kind: &str, status: &str, reason: &str) -> String {
        let mut last = Value::Null;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let answer = self
                .server
                .kubectl(&["get", "vnp", "-n", "vault", policy, "-o", "json"], "");
            last = serde_json::from_slice(&answer.stdout).unwrap_or_default();
            let generation = last.pointer("/metadata/generation").cloned();
            let conditions = last.pointer("/status/conditions").and_then(Value::as_array);
            let found = conditions.into_iter().flatten().find(|condition| {
                condition["type"] == kind
                    && condition["status"] == status
                    && condition["reason"] == reason
                    && condition.get("observedGeneration") == generation.as_ref()
            });
            if let Some(found) = found {
                return found["message"].as_str().unwrap_or_default().to_owned();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!(
            "{policy}: {kind} does not become {status}/{reason}; its status is {:#}",
            last["status"]
        );
    }
}
