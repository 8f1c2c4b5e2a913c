//! The cluster that is measured: many vaults, of which two have a proxy, and one operator.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client as Kube};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vaultwall::api::VaultNetworkPolicy;

use testkit::client::Client;
use testkit::client::Verdict::{Allowed, Denied};
use testkit::wait::wait_for;
use testkit::{ApiServer, OpenBao, Process, own_address};

use crate::objects;
use crate::pollers::{Poller, Untouched};

/// Longer than any step takes that does not grow with the scale.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(2);
/// The vault whose rules change, and the one whose rules do not.
pub(crate) const MEASURED: usize = 0;
pub(crate) const UNTOUCHED: usize = 1;
/// Requests to the API server at once while objects are made.
const AT_ONCE: usize = 32;
/// Without a write for so long, the operator is done.
const QUIET: Duration = Duration::from_secs(3);
/// The operator's user.
const OPERATOR: &str = "vaultwall-operator";
/// The pod that is let in and out; it wears the app of its own name, as the next ones do.
pub(crate) const POD: (&str, Ipv4Addr) = ("web", Ipv4Addr::new(127, 61, 0, 1));
/// A pod that every vault lets in.
const STEADY: (&str, Ipv4Addr) = ("steady", Ipv4Addr::new(127, 61, 0, 3));
/// No pod at all.
const OUTSIDER: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 4);

/// How often the operator wrote.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub lease: usize,
    pub other: usize,
}

pub(crate) struct Sandbox {
    // In the order in which they end.
    pub poller: Option<Poller>,
    proxies: Vec<Process>,
    operator: Process,
    _vault: OpenBao,
    server: ApiServer,
    folder: TempDir,
    pub runtime: Runtime,
    pub kube: Kube,
    /// Where the two proxies listen.
    listen: [Ipv4Addr; 2],
    operators: Ipv4Addr,
    vaults: usize,
    policies: usize,
    pub pods: usize,
}

impl Sandbox {
    /// A cluster with this `vaultwall` program as its operator, so many vaults and no policy.
    pub(crate) fn start(program: &Path, vaults: usize) -> Self {
        let runtime = Runtime::new().unwrap();
        let server = ApiServer::start();
        server.install_crds();
        server.apply(&objects::frame());
        let kube = runtime.block_on(server.client());
        let folder = tempfile::tempdir().unwrap();
        let vault_address = SocketAddrV4::new(own_address(), 8200);
        let vault = OpenBao::start(vault_address, folder.path());
        let services = (0..vaults).map(objects::service).collect();
        let endpoints = (0..vaults).map(objects::endpoints).collect();
        runtime.block_on(async {
            let services_api = Api::<Service>::namespaced(kube.clone(), objects::VAULTS);
            create(&services_api, services).await;
            let endpoints_api = Api::<EndpointSlice>::namespaced(kube.clone(), objects::VAULTS);
            create(&endpoints_api, endpoints).await;
        });
        let (listen, operators) = ([own_address(), own_address()], own_address());
        let operator = start_operator(
            program,
            &server,
            folder.path(),
            operators,
            listen,
            vault_address,
        );
        let sandbox = Self {
            poller: None,
            proxies: Vec::new(),
            operator,
            _vault: vault,
            server,
            folder,
            runtime,
            kube,
            listen,
            operators,
            vaults,
            policies: 0,
            pods: 0,
        };
        let named = [POD, STEADY];
        let pods = named
            .map(|(name, address)| (objects::pod(name, name), name.to_owned(), address))
            .into();
        sandbox.create_pods(pods);
        sandbox
    }

    /// The operator's process.
    pub(crate) fn operator(&self) -> u32 {
        self.operator.id()
    }

    pub(crate) fn server(&self) -> &ApiServer {
        &self.server
    }

    pub(crate) fn policies(&self) -> usize {
        self.policies
    }

    /// The vault of a policy.
    pub(crate) fn vault_of(&self, policy: usize) -> usize {
        policy % self.vaults
    }

    /// Policies that may be written while another is measured.
    pub(crate) fn edited_policies(&self) -> Vec<usize> {
        let other = |policy: &usize| self.vault_of(*policy) > UNTOUCHED;
        (0..self.policies).filter(other).collect()
    }

    /// Makes policies until there are so many; the two proxies come with the first policy of their vault.
    pub(crate) fn grow_policies(&mut self, count: usize, untouched: &mut Untouched) {
        let made = (self.policies..count)
            .map(|number| {
                let vault = self.vault_of(number);
                // Policies add up: only the one that is edited lets the pod into the vault that is measured.
                let edited = if vault == MEASURED && number > 0 {
                    objects::NOBODY
                } else {
                    POD.0
                };
                objects::policy(number, vault, edited)
            })
            .collect();
        let api = Api::<VaultNetworkPolicy>::namespaced(self.kube.clone(), objects::VAULTS);
        self.runtime.block_on(create(&api, made));
        self.policies = self.policies.max(count);
        for vault in self.proxies.len()..count.min(2) {
            self.proxies.push(self.start_proxy(vault));
            let address = SocketAddrV4::new(self.listen[vault], 8200);
            for (source, verdict) in [(POD.1, Allowed), (STEADY.1, Allowed), (OUTSIDER, Denied)] {
                wait_for(&format!("{source} is {verdict:?} at {address}"), || {
                    (Client::new(source, address).verdict() == verdict).then_some(())
                });
            }
            if vault == MEASURED {
                self.poller = Some(Poller::start(POD.1, address, Allowed));
            }
            self.wait_until_quiet();
            untouched.add(address, &[(STEADY.1, Allowed), (OUTSIDER, Denied)]);
        }
        self.wait_until_quiet();
    }

    /// Makes pods until there are so many.
    pub(crate) fn grow_pods(&mut self, count: usize) {
        let pods = (self.pods..count)
            .map(|number| {
                let (name, address) = objects::runner(number);
                let app = objects::crowd(self.app_vault(number));
                (objects::pod(&name, &app), name, address)
            })
            .collect();
        self.create_pods(pods);
        self.pods = self.pods.max(count);
        self.wait_until_quiet();
    }

    /// The vault that lets one of the many pods in.
    pub(crate) fn app_vault(&self, pod: usize) -> usize {
        pod % self.vaults
    }

    /// Waits until the operator has written all that it had to.
    pub(crate) fn wait_until_quiet(&self) {
        let mut last = self.writes();
        loop {
            std::thread::sleep(QUIET);
            let now = self.writes();
            if now.other == last.other && now.other > 0 {
                return;
            }
            last = now;
        }
    }

    /// Counts writes in the audit log.
    pub(crate) fn writes(&self) -> Written {
        let all = self.server.writes(OPERATOR);
        let lease = all.iter().filter(|write| write.resource == "leases");
        let lease = lease.count();
        Written {
            lease,
            other: all.len() - lease,
        }
    }

    /// Where the proxy of a vault serves data.
    pub(crate) fn data_endpoint(&self, vault: usize) -> SocketAddrV4 {
        SocketAddrV4::new(self.listen[vault], 8200)
    }

    /// Creates pods, and reports them as running.
    pub(crate) fn create_pods(&self, pods: Vec<(Value, String, Ipv4Addr)>) {
        let api = Api::<Pod>::namespaced(self.kube.clone(), objects::PODS);
        let made = stream::iter(pods).for_each_concurrent(AT_ONCE, |(pod, name, address)| {
            let api = api.clone();
            async move {
                let pod = serde_json::from_value(pod).unwrap();
                api.create(&PostParams::default(), &pod).await.unwrap();
                let status = Patch::Merge(objects::runs(address));
                api.patch_status(&name, &PatchParams::default(), &status)
                    .await
                    .unwrap();
            }
        });
        self.runtime.block_on(made);
    }

    fn start_proxy(&self, vault: usize) -> Process {
        let name = format!("{}-firewall", objects::vault_name(vault));
        let folder = self.folder.path().join(&name);
        let same = (self.operators, self.operators);
        testkit::envoy::start_proxy(&self.server, objects::VAULTS, &name, &folder, same, &[])
    }
}

/// Creates objects, many at once.
pub(crate) async fn create<K>(api: &Api<K>, objects: Vec<Value>)
where
    K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    stream::iter(objects)
        .for_each_concurrent(AT_ONCE, |object| async move {
            let object = serde_json::from_value(object).unwrap();
            api.create(&PostParams::default(), &object).await.unwrap();
        })
        .await;
}

fn start_operator(
    program: &Path,
    server: &ApiServer,
    folder: &Path,
    address: Ipv4Addr,
    listen: [Ipv4Addr; 2],
    vault: SocketAddrV4,
) -> Process {
    let mut command = Command::new(program);
    command
        .arg("controller")
        .arg("--kubeconfig")
        .arg(server.kubeconfig_for(OPERATOR, &["system:masters"]))
        .args(["--xds-listen", &format!("{address}:8500")])
        .args(["--xds-address", &format!("{address}:8500")])
        .args(["--operations-listen", &format!("{address}:8080")]);
    for (number, listen) in listen.iter().enumerate() {
        let name = objects::vault_name(number);
        command.arg("--local-proxy");
        command.arg(format!("{}/{name}={listen},{vault}", objects::VAULTS));
    }
    Process::start("operator", command, folder)
}
