//! `vaultwall explain`: what the firewall says to one request, why, and what to do about a denial.
//!
//! Finds the caller and the vault in the files or in the cluster; the answer is `policy::decide`'s, the advice `policy::remedy`'s.

mod answer;

use std::net::IpAddr;
use std::path::PathBuf;

use super::cluster::{self, ClusterArgs};
use super::validate::{self, CannotRead, LimitArgs};
use super::{Answer, Format, Outcome, Output, output};
use crate::index::{Index, NotCounted, ObjectName, PodFact, VaultResolution};
use crate::limits::Limits;
use crate::objects::LoadedObjects;
use crate::policy::{
    Caller, ClientAddressSource, Denied, Listener, PodLabels, Reason, Step, ValidatedPolicy,
    VaultId, Verdict, VirtualNetworks, client_address, decide, nearest, remedy,
};
use crate::vault_api::Request;
use answer::Explanation;

/// Say what the firewall answers to a request, by which rule, and why.
///
/// Without -f it reads the cluster. Exit code 0: allowed. 1: denied. 2: could not tell.
#[derive(clap::Args, Debug)]
pub(super) struct Explain {
    /// File or folder of policies, networks and facts (Namespaces, Pods, Services as `kubectl get -o yaml` prints them).
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1.., conflicts_with_all = ["kubeconfig", "context"])]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The vault's Service.
    #[arg(long, value_name = "NAMESPACE/SERVICE")]
    vault: VaultId,
    #[command(flatten)]
    who: Who,
    /// The client's address behind a trusted proxy, as found in X-Forwarded-For.
    #[arg(long, value_name = "IP")]
    client_ip: Option<IpAddr>,
    /// JSON claims of a verified workload token.
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// The request carries a vault token.
    #[arg(long)]
    token: bool,
    /// The listener that is asked.
    #[arg(long, value_enum, default_value_t = ListenerName::Data)]
    listener: ListenerName,
    /// HTTP method.
    #[arg(long, value_name = "METHOD")]
    method: String,
    /// Path with /v1 and the query.
    #[arg(long, value_name = "PATH")]
    path: String,
    /// Value of the X-Vault-Namespace header.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Who connects.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Who {
    /// The pod that connects.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod: Option<ObjectName>,
    /// The address that connects.
    #[arg(long, value_name = "IP")]
    source_ip: Option<IpAddr>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum ListenerName {
    Data,
    Management,
}

/// Why nobody can tell.
#[derive(Debug, thiserror::Error)]
enum CannotTell {
    #[error("--claims is not supported yet: federated identities come with trusted services")]
    Claims,
    #[error("who connects? give --pod or --source-ip")]
    Nobody,
    #[error("no policy in {place} is for the vault {vault}; {others}")]
    UnknownVault {
        place: String,
        vault: VaultId,
        others: String,
    },
    #[error(
        "there is no pod {0} in the files of -f; add it (kubectl get pod -o yaml), or give its address with --source-ip"
    )]
    NoSuchPodInFiles(ObjectName),
    #[error(
        "there is no pod {0} in the cluster; correct the name, or give its address with --source-ip"
    )]
    NoSuchPod(ObjectName),
    #[error("pod {pod} cannot be told by its address: {reason}; {advice}")]
    NotCounted {
        pod: ObjectName,
        reason: NotCounted,
        advice: &'static str,
    },
    #[error(
        "--client-ip means nothing for {0}: its policy's clientAddress.source is Direct, so the client is who connects"
    )]
    ClientOfDirect(VaultId),
}

impl Explain {
    pub(super) fn run(self, output: &mut Output) -> Outcome {
        if self.claims.is_some() {
            return Err(Box::new(CannotTell::Claims));
        }
        let explanation = self.explain()?;
        match output.format {
            Format::Json => output.json(&explanation.json())?,
            Format::Text => output.text(&explanation.text())?,
        }
        Ok(match explanation.decision.verdict() {
            Verdict::Allow => Answer::Yes,
            Verdict::Deny => Answer::No,
        })
    }

    fn explain(&self) -> Result<Explanation, Box<dyn std::error::Error + Send + Sync>> {
        let limits: Limits = self.limits.into();
        let loaded = if self.reads_files() {
            LoadedObjects::load(&self.paths, &limits)
        } else {
            cluster::to_explain(&self.cluster, &self.vault, self.asked_by()?, limits)?
        };
        warn_of_violations(&loaded);
        if !loaded.errors.is_empty() {
            return Err(Box::new(CannotRead(loaded.errors)));
        }
        let rules = Rules::of(&loaded, &self.vault);
        let mut index = loaded.into_index(limits);
        let Some(resolution) = index.resolve(&self.vault) else {
            return Err(Box::new(CannotTell::UnknownVault {
                place: if self.reads_files() {
                    "the files of -f".to_owned()
                } else {
                    format!("namespace {} of the cluster", self.vault.namespace)
                },
                vault: self.vault.clone(),
                others: others(&index),
            }));
        };
        Ok(self.judge(&index, &resolution, &rules)?)
    }

    fn reads_files(&self) -> bool {
        !self.paths.is_empty()
    }

    fn asked_by(&self) -> Result<cluster::Who<'_>, CannotTell> {
        let pod = self.who.pod.as_ref().map(cluster::Who::Pod);
        pod.or(self.who.source_ip.map(cluster::Who::Address))
            .ok_or(CannotTell::Nobody)
    }

    fn judge(
        &self,
        index: &Index,
        resolution: &VaultResolution,
        rules: &Rules,
    ) -> Result<Explanation, CannotTell> {
        let resolution = &resolution.resolution;
        let firewall = &resolution.firewall;
        let listener = match self.listener {
            ListenerName::Data => Listener::Data,
            ListenerName::Management => Listener::Management,
        };
        let mut trace = vec![answer::vault_step(resolution, listener)];
        trace.extend(answer::remark_steps(resolution));
        let (peer, pod) = self.who(index)?;
        trace.push(answer::caller_step(peer, pod));
        let client = self.client(&firewall.client_address, peer, &mut trace)?;
        if self.token {
            trace.push(step(
                "token",
                "a vault token is sent; without trusted services the firewall asks for none, the vault does",
            ));
        }
        if !self.path.starts_with("/v1") {
            trace.push(step(
                "path",
                "it does not start with /v1, so it is no path of the vault's API",
            ));
        }
        let caller = Caller { peer, client };
        let request = Request {
            method: &self.method,
            target: &self.path,
            namespace: self.namespace.as_deref(),
        };
        let mut decision = decide(firewall, &firewall.table(), listener, caller, &request);
        trace.append(&mut decision.trace);
        decision.trace = trace;

        let pod = pod.map(|pod| PodLabels {
            namespace: &pod.namespace,
            namespace_labels: index.namespace(&pod.namespace),
            name: &pod.name,
            labels: &pod.labels,
        });
        let near = match decision.reason {
            Reason::ForbiddenByFirewall => {
                let accepted = rules.accepted(&resolution.accepted);
                nearest(&accepted, &rules.virtual_networks, caller, pod)
            }
            _ => None,
        };
        let advice = remedy(&Denied {
            firewall,
            listener,
            caller,
            pod,
            nearest: near.as_ref(),
            decision: &decision,
        });
        Ok(Explanation {
            vault: self.vault.clone(),
            request: format!("{} {}", self.method, self.path),
            decision,
            nearest: near,
            remedy: advice,
        })
    }

    /// The address that connects, and the pod behind it where there is one.
    fn who<'i>(&self, index: &'i Index) -> Result<(IpAddr, Option<&'i PodFact>), CannotTell> {
        if let Some(address) = self.who.source_ip {
            let mut pods = match address {
                IpAddr::V4(address) => index.pods_at(address).collect(),
                IpAddr::V6(_) => Vec::new(),
            };
            // Which of several pods answers at one address, nobody knows.
            let pod = pods.pop().filter(|_| pods.is_empty());
            return Ok((address, pod));
        }
        let Some(name) = &self.who.pod else {
            return Err(CannotTell::Nobody);
        };
        if let Some(reason) = index.not_counted(name) {
            let advice = match reason {
                NotCounted::HostNetwork => "give the node's address with --source-ip",
                NotCounted::Phase(_) => "no rule lets such a pod in",
                NotCounted::NoAddress => "ask again when it has one",
            };
            return Err(CannotTell::NotCounted {
                pod: name.clone(),
                reason: reason.clone(),
                advice,
            });
        }
        let found = index
            .pod(name)
            .and_then(|pod| Some((pod, *pod.addresses.first()?)));
        let (pod, address) = found.ok_or_else(|| {
            if self.reads_files() {
                CannotTell::NoSuchPodInFiles(name.clone())
            } else {
                CannotTell::NoSuchPod(name.clone())
            }
        })?;
        Ok((address.into(), Some(pod)))
    }

    /// The client that IP rules look at.
    fn client(
        &self,
        source: &ClientAddressSource,
        peer: IpAddr,
        trace: &mut Vec<Step>,
    ) -> Result<IpAddr, CannotTell> {
        const STEP: &str = "clientAddress";
        let ClientAddressSource::XForwardedFor { trusted_proxies } = source else {
            if self.client_ip.is_some() {
                return Err(CannotTell::ClientOfDirect(self.vault.clone()));
            }
            trace.push(step(STEP, format!("Direct: the client is the peer {peer}")));
            return Ok(peer);
        };
        let is_proxy = client_address::is_listed(trusted_proxies, peer);
        let (client, found) = match (is_proxy, self.client_ip) {
            (true, Some(client)) => (
                client,
                format!(
                    "XForwardedFor: the peer {peer} is a trusted proxy, the client is {client}"
                ),
            ),
            (true, None) => (
                peer,
                format!(
                    "XForwardedFor: the peer {peer} is a trusted proxy; without --client-ip it is taken for the client"
                ),
            ),
            (false, Some(client)) => (
                peer,
                format!(
                    "XForwardedFor: --client-ip {client} is ignored, because the peer {peer} is no trusted proxy"
                ),
            ),
            (false, None) => (
                peer,
                format!("XForwardedFor: the peer {peer} is no trusted proxy, so it is the client"),
            ),
        };
        trace.push(step(STEP, found));
        Ok(client)
    }
}

/// The valid rules of one vault, to find the nearest one.
struct Rules {
    policies: Vec<ValidatedPolicy>,
    virtual_networks: VirtualNetworks,
}

impl Rules {
    fn of(loaded: &LoadedObjects, vault: &VaultId) -> Self {
        let policies = loaded.policies().map(|(_, policy)| policy);
        let networks = loaded.virtual_networks();
        Self {
            policies: policies
                .filter(|policy| policy.vault == *vault)
                .cloned()
                .collect(),
            virtual_networks: networks
                .map(|network| (network.name.clone(), network.clone().into()))
                .collect(),
        }
    }

    /// Those of accepted policies, oldest policy first.
    fn accepted(&self, names: &[String]) -> Vec<&ValidatedPolicy> {
        let find = |name: &String| self.policies.iter().find(|policy| policy.name == *name);
        names.iter().filter_map(find).collect()
    }
}

fn step(step: &'static str, found: impl Into<String>) -> Step {
    let found = found.into();
    Step { step, found }
}

/// Objects with violations are left out; what that means for the answer, its reader must know.
fn warn_of_violations(loaded: &LoadedObjects) {
    if !loaded.violations.is_empty() {
        output::say(&validate::violations(&loaded.violations));
        output::say("These objects let nobody in; the answer is for the other ones.\n");
    }
}

fn others(index: &Index) -> String {
    let vaults: Vec<String> = index.vaults().map(ToString::to_string).collect();
    if vaults.is_empty() {
        "there are no policies at all".into()
    } else {
        format!("there are policies for {}", vaults.join(", "))
    }
}
