//! A cluster, a vault and operators that belong to one test alone.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use testkit::client::wait_for_verdicts;
use testkit::wait::{wait_for_ok, wait_until};
use testkit::{ApiServer, Client, OpenBao, Pool, PooledServer, Process, Verdict, own_address};
use vaultwall::limits::Limits;
use vaultwall::runtime::permissions::LABEL_PERMISSIONS;

use crate::roles::{allow_operator, permission_rule};

/// User of the operator, with the permissions that the documentation lists and no others.
pub(crate) const OPERATOR: &str = "vaultwall-operator";
/// Address of the pod `web` in the namespace `shop`.
pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 1);
/// Address of the pod `batch` in the namespace `shop`.
pub(crate) const OTHER_POD: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 2);
/// Address of no pod.
pub(crate) const OUTSIDER: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 3);

/// A running operator.
pub(crate) struct Operator {
    process: Process,
    pub address: Ipv4Addr,
}

impl Operator {
    /// Kills it, so that it cannot clean up.
    pub(crate) fn kill(self) {
        self.process.kill();
    }

    /// Asks it to stop, and waits until it has ended.
    pub(crate) fn stop(self) {
        self.process.stop();
    }

    /// Stops it from running until it is resumed.
    pub(crate) fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it run again.
    pub(crate) fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.exit_status().is_some()
    }

    /// Waits until its log contains a text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.process.wait_for_log(text);
    }

    /// Waits until a proxy has reported that everything is in force.
    pub(crate) fn wait_for_programmed_proxy(&self) {
        let server = SocketAddrV4::new(self.address, 8080);
        wait_until("a programmed proxy", || {
            let answer = Client::new(self.address, server).send("GET", "/metrics", "");
            let line = "\nvaultwall_proxies_programmed 1\n";
            answer.is_ok_and(|answer| answer.body.contains(line))
        });
    }

    /// Returns its log so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

/// Everything that one test needs.
pub(crate) struct Sandbox {
    pub server: PooledServer,
    folder: TempDir,
    /// Address where the proxies listen.
    pub proxies: Ipv4Addr,
    /// Address of the operators, as the proxies know it.
    pub operators: Ipv4Addr,
    vault: OpenBao,
}

impl Sandbox {
    /// A cluster with the CRDs, a vault behind the Service `vault/openbao`, and two pods.
    pub(crate) fn new() -> Self {
        static POOL: Pool = Pool::new();
        Self::with(&POOL, ApiServer::install_crds)
    }

    /// The same with an admission that takes more IP rules than the operator.
    pub(crate) fn with_lax_admission() -> Self {
        static POOL: Pool = Pool::new();
        Self::with(&POOL, |server| {
            server.install_crds_with(Limits::DEFAULT, 200);
        })
    }

    /// The same with an operator that may label pods.
    pub(crate) fn with_labels() -> Self {
        static POOL: Pool = Pool::new();
        Self::with(&POOL, |server| {
            server.install_crds();
            let rules = LABEL_PERMISSIONS.map(|permission| permission_rule(&permission));
            server.bind("labels", None, OPERATOR, &rules);
        })
    }

    /// The same with CRDs of an earlier version, whose status has no `managementEndpoint`.
    pub(crate) fn with_older_crds() -> Self {
        static POOL: Pool = Pool::new();
        Self::with(&POOL, |server| {
            server.install_crds_without("managementEndpoint:");
        })
    }

    fn with(pool: &'static Pool, install_crds: fn(&ApiServer)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vault_address = SocketAddrV4::new(own_address(), 8200);
        let (server, vault) = std::thread::scope(|threads| {
            let vault = threads.spawn(|| OpenBao::start(vault_address, folder.path()));
            let server = pool.server(|server| {
                install_crds(server);
                server.apply(include_str!("cluster.yaml"));
                allow_operator(server, OPERATOR, "vaultwall-system");
                server.set_running("shop", "web", POD);
                server.set_running("shop", "batch", OTHER_POD);
            });
            (server, vault.join().unwrap())
        });
        Self {
            server,
            folder,
            proxies: own_address(),
            operators: own_address(),
            vault,
        }
    }

    /// Runs kubectl and returns its output.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.server.kubectl_prints(arguments)
    }

    /// Starts an operator at the address that the proxies know.
    pub(crate) fn operator(&self) -> Operator {
        self.operator_at("first", self.operators)
    }

    /// Starts a further operator.
    pub(crate) fn operator_at(&self, name: &str, address: Ipv4Addr) -> Operator {
        self.operator_with(name, address, &[])
    }

    /// The same as [`Sandbox::operator`], for key sets of servers with this certificate authority: fetches them each
    /// second.
    pub(crate) fn operator_that_trusts(&self, authority: &str) -> Operator {
        let file = self.folder.path().join("authority.pem");
        std::fs::write(&file, authority).unwrap();
        let file = file.to_str().unwrap();
        let options = ["--keys-poll-interval", "1s", "--issuer-ca-file", file];
        self.operator_with("first", self.operators, &options)
    }

    /// Starts an operator with further arguments.
    pub(crate) fn operator_with(
        &self,
        name: &str,
        address: Ipv4Addr,
        arguments: &[&str],
    ) -> Operator {
        let (proxies, vault) = (self.proxies, self.vault.address());
        let mut command = Command::new(testkit::vaultwall());
        command
            .arg("controller")
            .arg("--kubeconfig")
            // Kubernetes lets every service account read the keys of tokens.
            .arg(
                self.server
                    .kubeconfig_for(OPERATOR, &["system:serviceaccounts"]),
            )
            .args(["--name", name])
            .args(["--xds-listen", &format!("{address}:8500")])
            .args(["--xds-address", &format!("{}:8500", self.operators)])
            .args(["--advertise", &format!("{address}:8500")])
            .args(["--operations-listen", &format!("{address}:8080")])
            .args(["--local-proxy", &format!("vault/openbao={proxies},{vault}")])
            .args(arguments);
        Operator {
            process: Process::start(name, command, self.folder.path()),
            address,
        }
    }

    /// Starts a proxy of the vault.
    pub(crate) fn proxy(&self) -> Process {
        self.proxy_at(self.operators, &[])
    }

    /// Starts a proxy of the vault whose Envoy lacks an extension (`CATEGORY/NAME`): it refuses resources with that.
    pub(crate) fn proxy_without(&self, extension: &str) -> Process {
        self.proxy_at(self.operators, &["--disable-extensions", extension])
    }

    /// Starts a proxy that connects to this operator, as a Service would choose one of several replicas.
    pub(crate) fn proxy_of(&self, operator: &Operator) -> Process {
        self.proxy_at(operator.address, &[])
    }

    fn proxy_at(&self, operator: Ipv4Addr, arguments: &[&str]) -> Process {
        testkit::envoy::start_proxy(
            &self.server,
            "vault",
            "openbao-firewall",
            &self.folder.path().join("proxy"),
            (self.operators, operator),
            arguments,
        )
    }

    /// Returns a client of the data endpoint.
    pub(crate) fn client(&self, source: Ipv4Addr) -> Client {
        Client::new(source, SocketAddrV4::new(self.proxies, 8200))
    }

    /// Waits until clients of the data endpoint, each on new connections, get these verdicts.
    pub(crate) fn wait_for_verdicts(&self, expected: &[(Ipv4Addr, Verdict)]) {
        wait_for_verdicts(SocketAddrV4::new(self.proxies, 8200), expected);
    }

    /// Returns a policy of the namespace `vault`, if it exists.
    pub(crate) fn policy(&self, name: &str) -> Option<Value> {
        let path = "/apis/vaultwall.dev/v1alpha1/namespaces/vault/vaultnetworkpolicies";
        self.server.get(&format!("{path}/{name}"))
    }

    /// Waits until a condition of a policy has this status and reason; returns its message.
    pub(crate) fn condition(&self, policy: &str, kind: &str, status: &str, reason: &str) -> String {
        let what = format!("{policy}: {kind} becomes {status}/{reason}");
        wait_for_ok(&what, || {
            let policy = self.policy(policy).unwrap_or_default();
            let generation = policy.pointer("/metadata/generation");
            let conditions = policy
                .pointer("/status/conditions")
                .and_then(Value::as_array);
            let found = conditions.into_iter().flatten().find(|condition| {
                condition["type"] == kind
                    && condition["status"] == status
                    && condition["reason"] == reason
                    && condition.get("observedGeneration") == generation
            });
            let message =
                found.map(|found| found["message"].as_str().unwrap_or_default().to_owned());
            message.ok_or_else(|| format!("with the status {:#}", policy["status"]))
        })
    }
}
