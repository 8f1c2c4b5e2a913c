//! `vaultwall explain`: the firewall's decision on one request, the reason, and advice for a denied caller.
//!
//! It finds the caller and the vault in the files or in the cluster. `policy::decide` decides, `policy::remedy`
//! advises.

mod answer;
pub(super) mod claims;
mod recorded;
mod rules;

use std::net::IpAddr;
use std::path::PathBuf;

use super::arguments::{LimitArgs, VaultName, VaultNameError};
use super::cluster::{self, CallerId, ClusterArgs, ToExplain};
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Format, Output};
use super::unknown_vault::UnknownVault;
use super::validate::{self, CannotRead};
use crate::index::{Index, NotCounted, ObjectName, PodFact, VaultResolution};
use crate::limits::Limits;
use crate::objects::LoadedObjects;
use crate::policy::token::TokenProof;
use crate::policy::{
    Caller, ClientAddressSource, Denied, Firewall, Listener, Mode, PodLabels, Reason, Step,
    VaultId, Verdict, client_address, decide, nearest, remedy,
};
use crate::vault_api::{Profile, Request};
use answer::{Explanation, InAudit, step};
use claims::{Known, Token};
use recorded::Recorded;
use rules::Rules;

/// Explain the firewall's decision on a request: the verdict, the reason and the rule.
///
/// Without -f it reads the cluster. With `mode: Audit` the verdict is that of enforcement. Exit code 0: allowed.
/// 1: denied. 2: error.
#[derive(clap::Args, Debug)]
pub(super) struct Explain {
    /// File or folder with policies, virtual networks, trusted services, and Namespaces, Pods, `ServiceAccounts` and
    /// Services as `kubectl get -o yaml` prints them; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    #[arg(conflicts_with_all = ["kubeconfig", "context"])]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace of the operator, to check that it runs.
    #[arg(long, value_name = "NAMESPACE", default_value = "vaultwall-system", value_parser = cluster::namespace)]
    operator_namespace: String,
    /// Id of a decision to look up in the access log of --log, in place of the arguments that describe a request.
    #[arg(long, value_name = "ID", requires = "log")]
    #[arg(conflicts_with_all = ["pod", "source_ip", "client_ip", "claims", "token", "listener", "method"])]
    #[arg(conflicts_with_all = ["announced_method", "path", "vault_namespace"])]
    id: Option<String>,
    /// File with the access log that has the decision of --id, or - for stdin.
    #[arg(long, value_name = "FILE", requires = "id")]
    log: Option<PathBuf>,
    /// Service of the vault; its namespace may be in front of it, as NAMESPACE/SERVICE. Needed without --id.
    #[arg(long, value_name = "SERVICE", required_unless_present = "id")]
    vault: Option<VaultName>,
    /// Namespace of the vault; without it, that of the kubeconfig's context.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    caller: CallerArgs,
    /// Address of the client behind a trusted proxy: an entry of X-Forwarded-For, also with a port.
    #[arg(long, value_name = "IP", value_parser = client_ip)]
    client_ip: Option<IpAddr>,
    /// JSON file with the claims of the token in X-Vaultwall-Token, which is taken as verified.
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// The request carries a vault token.
    #[arg(long)]
    token: bool,
    /// Endpoint that receives the request.
    #[arg(long, value_enum, default_value_t = ListenerName::Data)]
    listener: ListenerName,
    /// HTTP method of the request.
    #[arg(long, value_name = "METHOD", required_unless_present = "id")]
    method: Option<String>,
    /// Method that an OPTIONS request announces in Access-Control-Request-Method.
    #[arg(long, value_name = "METHOD")]
    announced_method: Option<String>,
    /// Path of the request, with /v1/ (not for the API of Azure Key Vault) and the query.
    #[arg(long, value_name = "PATH", value_parser = request_path, required_unless_present = "id")]
    path: Option<String>,
    /// Value of the X-Vault-Namespace header.
    #[arg(long, value_name = "NAMESPACE")]
    vault_namespace: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
    /// The decision of --id, from which the other fields come.
    #[arg(skip)]
    recorded: Option<Recorded>,
}

/// The caller.
#[derive(clap::Args, Debug)]
#[group(multiple = false)]
struct CallerArgs {
    /// Pod that connects.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod: Option<ObjectName>,
    /// Address that connects.
    #[arg(long, value_name = "IP", value_parser = source_ip)]
    source_ip: Option<IpAddr>,
}

/// Reads an entry of X-Forwarded-For like the firewall.
fn client_ip(text: &str) -> Result<IpAddr, String> {
    client_address::read(text).ok_or_else(|| {
        "it is no address, so the firewall would not know the client; write 203.0.113.7, 203.0.113.7:51234 or \
         [2001:db8::7]:443"
            .to_owned()
    })
}

pub(super) fn source_ip(text: &str) -> Result<IpAddr, &'static str> {
    let address = text.parse();
    address.map_err(|_| "write one address, such as 10.0.0.5; a range is not possible")
}

/// Checks that a path is one of a request. Paths outside of the API, such as the user interface's, are allowed.
fn request_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        return Ok(text.to_owned());
    }
    if let Some((_, url)) = text.split_once("://") {
        let path = url.find('/').map_or("/v1/", |end| url.split_at(end).1);
        return Err(format!(
            "a path has no scheme and no host; write --path {path}"
        ));
    }
    Err(format!(
        "paths begin with /v1/, those of Azure Key Vault's API with /; write --path {}",
        answer::api_path(text)
    ))
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum ListenerName {
    Data,
    Management,
}

/// Reasons why there is no answer.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error(transparent)]
    Recorded(#[from] recorded::RecordedError),
    #[error("--vault is missing: write NAMESPACE/SERVICE")]
    NoVault,
    #[error(transparent)]
    Claims(#[from] claims::ClaimsError),
    #[error("the caller is missing: give --pod or --source-ip")]
    NoCaller,
    #[error(
        "{source}. For the vault's own namespace (X-Vault-Namespace) use --vault-namespace {namespace}"
    )]
    TwoNamespaces {
        source: VaultNameError,
        namespace: String,
    },
    #[error(
        "there is no pod {0} in the files of -f; add it (kubectl get pod -o yaml), or give its address with --source-ip"
    )]
    NoSuchPodInFiles(ObjectName),
    #[error(
        "there is no pod {0} in the cluster; correct the name, or give its address with --source-ip"
    )]
    NoSuchPod(ObjectName),
    #[error("pod {pod} cannot be identified by its address: {reason}; {advice}")]
    NotCounted {
        pod: ObjectName,
        reason: NotCounted,
        advice: &'static str,
    },
    #[error(
        "--client-ip has no effect for {0}: its policy's clientAddress.source is Direct, \
         so the client is the caller itself"
    )]
    ClientOfDirect(VaultId),
}

impl Explain {
    pub(super) fn run(mut self, output: &mut Output) -> Outcome {
        self.look_up()?;
        let explanation = self.explain(&self.vault()?)?;
        match output.format {
            Format::Json => output.json(&explanation.json())?,
            Format::Text => output.text(&explanation.text())?,
        }
        Ok(match explanation.decision.verdict() {
            Verdict::Allow => Answer::Yes,
            Verdict::Deny => Answer::No,
        })
    }

    /// Takes the request from the decision of `--id`.
    fn look_up(&mut self) -> Result<(), ExplainError> {
        let (Some(id), Some(log)) = (&self.id, &self.log) else {
            return Ok(());
        };
        let found = Recorded::find(id, log, self.vault.as_ref())?;
        self.vault = Some(found.vault.clone());
        self.caller.source_ip = Some(found.peer);
        self.client_ip = found.client;
        self.token = found.has_vault_token();
        if found.record.endpoint() == Listener::Management {
            self.listener = ListenerName::Management;
        }
        self.method.clone_from(&found.record.method);
        self.path.clone_from(&found.record.request_uri);
        self.vault_namespace
            .clone_from(&found.record.vault_namespace);
        self.recorded = Some(found);
        Ok(())
    }

    /// The vault; its namespace comes from its name, from `--namespace`, or from the kubeconfig.
    fn vault(&self) -> Result<VaultId, Failure> {
        let namespace = self.namespace.as_deref();
        let vault = self.vault.as_ref().ok_or(ExplainError::NoVault)?;
        vault
            .check(namespace)
            .map_err(|source| ExplainError::TwoNamespaces {
                source,
                namespace: namespace.unwrap_or_default().to_owned(),
            })?;
        let cluster = (!self.reads_files()).then_some(&self.cluster);
        vault.id(namespace, cluster)
    }

    fn explain(&self, vault: &VaultId) -> Result<Explanation, Failure> {
        let limits: Limits = self.limits.into();
        let ToExplain {
            loaded,
            all_pods,
            issuer,
        } = if self.reads_files() {
            ToExplain {
                loaded: LoadedObjects::load(&self.paths, &limits),
                all_pods: true,
                issuer: None,
            }
        } else {
            cluster::to_explain(
                &self.cluster,
                &self.operator_namespace,
                vault,
                self.caller_id()?,
                self.claims.is_some()
                    || self.recorded.as_ref().and_then(Recorded::claims).is_some(),
                limits,
            )?
        };
        validate::warn_of_assumed_namespaces(&loaded);
        warn_of_violations(&loaded);
        if !loaded.errors.is_empty() {
            return Err(Box::new(CannotRead(loaded.errors)));
        }
        let rules = Rules::of(&loaded, vault);
        let mut index = loaded.into_index(limits);
        let claims = self.claims.as_deref().map(claims::read).transpose();
        let mut claims = claims
            .map_err(ExplainError::from)?
            .or_else(|| self.recorded.as_ref()?.claims());
        let known = Known {
            issuer,
            accounts: !self.reads_files(),
        };
        let assumed = claims::assume(&mut index, claims.as_mut(), known);
        let proof = claims.map_or(TokenProof::None, TokenProof::Verified);
        let token = Token { proof, assumed };
        let Some(resolution) = index.resolve(vault) else {
            let unknown = UnknownVault::new(vault, &index, self.reads_files());
            return Err(Box::new(unknown));
        };
        Ok(self.judge(&index, &resolution, &rules, &token, all_pods)?)
    }

    fn reads_files(&self) -> bool {
        !self.paths.is_empty()
    }

    fn caller_id(&self) -> Result<CallerId<'_>, ExplainError> {
        let pod = self.caller.pod.as_ref().map(CallerId::Pod);
        pod.or(self.caller.source_ip.map(CallerId::Address))
            .ok_or(ExplainError::NoCaller)
    }

    fn judge(
        &self,
        index: &Index,
        resolution: &VaultResolution,
        rules: &Rules,
        token: &Token,
        all_pods: bool,
    ) -> Result<Explanation, ExplainError> {
        let resolution = &resolution.resolution;
        // The answer is what enforcement would say.
        let enforced = Firewall {
            mode: Mode::Enforced,
            ..resolution.firewall.clone()
        };
        let firewall = &enforced;
        let listener = match self.listener {
            ListenerName::Data => Listener::Data,
            ListenerName::Management => Listener::Management,
        };
        let mut trace: Vec<Step> = self.recorded.iter().flat_map(Recorded::steps).collect();
        trace.push(answer::vault_step(resolution, listener));
        trace.extend(answer::remark_steps(resolution, all_pods));
        let (peer, pod) = self.find_caller(index)?;
        trace.push(answer::caller_step(peer, pod));
        let client = self.client(firewall, peer, &mut trace)?;
        if self.token {
            trace.push(step(
                "token",
                "the request carries a token of the vault; the bypass needs one, and the vault checks it",
            ));
        }
        trace.extend(answer::proof_step(firewall, peer, token));
        let prefix = &Profile::of(firewall.api).dialect.prefix;
        let (method, path) = (self.method.as_deref(), self.path.as_deref());
        let (method, path) = (method.unwrap_or_default(), path.unwrap_or_default());
        trace.extend(answer::path_step(prefix, path));
        let caller = Caller {
            peer,
            client,
            vault_token: self.token,
            proof: &token.proof,
        };
        let table = firewall.table();
        let request = Request {
            has_body: false,
            several_tokens: false,
            announced: self.announced_method.as_deref(),
            method,
            target: path,
            namespace: self.vault_namespace.as_deref(),
        };
        let recorded = self.recorded.as_ref();
        let target = recorded.map(|recorded| recorded.target(&table, &request));
        let target = target.as_deref().unwrap_or(path);
        let request = Request { target, ..request };
        let mut decision = decide(firewall, &table, listener, caller, &request);
        let in_audit = (resolution.firewall.mode == Mode::Audit).then(|| {
            InAudit::of(&decide(
                &resolution.firewall,
                &table,
                listener,
                caller,
                &request,
            ))
        });
        trace.append(&mut decision.trace);
        trace.extend(answer::denial_step(firewall, listener, peer, pod));
        decision.trace = trace;

        // A rule for the pod of a trusted proxy would allow everybody behind it.
        let proxies = firewall.client_address.trusted_proxies();
        let is_proxy = proxies.is_some_and(|proxies| client_address::is_listed(proxies, peer));
        let pod = pod.filter(|_| !is_proxy).map(|pod| PodLabels {
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
            vault: firewall.vault.clone(),
            recorded: recorded.map(|recorded| recorded.record.clone()),
            request: format!("{method} {target}"),
            decision,
            in_audit,
            nearest: near,
            remedy: advice,
        })
    }

    /// Address of the caller, and its pod if there is one.
    fn find_caller<'i>(
        &self,
        index: &'i Index,
    ) -> Result<(IpAddr, Option<&'i PodFact>), ExplainError> {
        if let Some(address) = self.caller.source_ip {
            let mut pods = match address {
                IpAddr::V4(address) => index.pods_at(address).collect(),
                IpAddr::V6(_) => Vec::new(),
            };
            // Of several pods with one address, it is unknown which one connects.
            let pod = pods.pop().filter(|_| pods.is_empty());
            return Ok((address, pod));
        }
        let Some(name) = &self.caller.pod else {
            return Err(ExplainError::NoCaller);
        };
        if let Some(reason) = index.not_counted(name) {
            let advice = match reason {
                NotCounted::HostNetwork => "give the node's address with --source-ip",
                NotCounted::Phase(_) => "no rule allows such a pod",
                NotCounted::NoAddress => "try again when it has one",
            };
            return Err(ExplainError::NotCounted {
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
                ExplainError::NoSuchPodInFiles(name.clone())
            } else {
                ExplainError::NoSuchPod(name.clone())
            }
        })?;
        Ok((address.into(), Some(pod)))
    }

    /// Address that IP rules are matched with.
    fn client(
        &self,
        firewall: &Firewall,
        peer: IpAddr,
        trace: &mut Vec<Step>,
    ) -> Result<IpAddr, ExplainError> {
        const STEP: &str = "clientAddress";
        let Firewall {
            client_address: source,
            vault,
            ..
        } = firewall;
        let ClientAddressSource::XForwardedFor { trusted_proxies } = source else {
            if self.client_ip.is_some() && self.recorded.is_none() {
                return Err(ExplainError::ClientOfDirect(vault.clone()));
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
                    "XForwardedFor: the peer {peer} is a trusted proxy; without --client-ip it counts as the client"
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

/// Warns that objects with violations have no effect on the answer.
fn warn_of_violations(loaded: &LoadedObjects) {
    if !loaded.violations.is_empty() {
        output::message(&validate::violations(&loaded.violations));
        output::message("These objects allow no client; only rules of the others apply.\n");
    }
}
