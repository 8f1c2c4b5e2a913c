//! Reads the objects that a subcommand needs, and no more, so that few permissions suffice and a large cluster is not
//! read for a small question.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::connect::connect_and_name;
use super::freshness;
use super::kubeconfig::{ClusterArgs, Environment, config};
use super::list::{Cluster, ReadError, Wanted};
use crate::api::Proof;
use crate::cli::output;
use crate::index::{Object, ObjectName, ObservedPod};
use crate::limits::Limits;
use crate::objects::{FileContents, LoadedObjects};
use crate::policy::{
    NetworkRuleSource, ServiceIdentity, TrustedServices, ValidatedPolicy, VaultId, VirtualNetworks,
    referenced_groups, referenced_identities,
};
use crate::runtime::issuer_keys::{KeyOptions, fetch_issuer};

/// The caller of a request that is explained.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CallerId<'a> {
    /// A pod, by name.
    Pod(&'a ObjectName),
    /// An address, by which a pod may be found.
    Address(IpAddr),
}

/// Part of the cluster that a subcommand reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'a> {
    /// The whole cluster.
    Cluster,
    /// The policies of one namespace.
    Namespace(&'a str),
    /// The policies of one vault.
    Vault(&'a VaultId),
}

impl<'a> Scope<'a> {
    fn namespace(self) -> Option<&'a str> {
        match self {
            Self::Cluster => None,
            Self::Namespace(namespace) => Some(namespace),
            Self::Vault(vault) => Some(&vault.namespace),
        }
    }

    fn contains(self, policy: &ValidatedPolicy) -> bool {
        match self {
            Self::Vault(vault) => policy.vault == *vault,
            Self::Cluster | Self::Namespace(_) => true,
        }
    }
}

/// The objects that `validate` reads.
pub(crate) struct Checked {
    /// Objects that are checked.
    pub(crate) objects: LoadedObjects,
    /// Objects that policies refer to, or the reason why they cannot be read.
    pub(crate) referenced: Result<LoadedObjects, ReadError>,
}

/// The objects that `explain` reads.
pub(crate) struct ToExplain {
    /// The objects.
    pub(crate) loaded: LoadedObjects,
    /// Whether all pods are among them. Otherwise only the caller's is, and nothing can be said about other pods.
    pub(crate) all_pods: bool,
    /// Issuer of the cluster's service accounts, if there is a token to explain and the issuer can be read.
    pub(crate) issuer: Option<String>,
}

/// Reads the objects that `validate` checks: the policies and, if no namespace is given, the virtual networks and
/// trusted services, which are cluster-scoped. Also reads the objects that the policies refer to: virtual networks,
/// trusted services, namespaces and Services.
pub(crate) fn to_validate(
    args: &ClusterArgs,
    namespace: Option<&str>,
    limits: Limits,
) -> Result<Checked, ReadError> {
    with_cluster(args, limits, async |cluster: &Cluster| {
        let mut found = cluster.list(Wanted::POLICIES, namespace, None).await?;
        if namespace.is_none() {
            for kind in [Wanted::VIRTUAL_NETWORKS, Wanted::TRUSTED_SERVICES] {
                found.extend(cluster.list(kind, None, None).await?);
            }
        }
        let referenced = match vaults(&found).len() {
            0 => Ok(Vec::new()),
            _ => cluster.referenced(namespace, &found).await,
        };
        Ok(Checked {
            objects: LoadedObjects::of(found),
            referenced: referenced.map(LoadedObjects::of),
        })
    })
}

/// Namespace of the kubeconfig's context, or of the pod: the one that kubectl uses without `--namespace`.
pub(crate) fn current_namespace(args: &ClusterArgs) -> Result<String, ReadError> {
    let (config, _) = runtime()?.block_on(config(args, &Environment::of_process()))?;
    Ok(config.default_namespace)
}

/// Reads the objects for `render`: policies, virtual networks, pods that they select, and the vaults' Services.
pub(crate) fn to_render(
    args: &ClusterArgs,
    scope: Scope<'_>,
    limits: Limits,
) -> Result<LoadedObjects, ReadError> {
    read(args, limits, async |cluster: &Cluster| {
        let mut found = cluster.rules(scope).await?;
        if found.select_pods {
            found.add_pods(cluster).await?;
        }
        let vaults = vaults(&found.contents);
        let namespaces: BTreeSet<&String> = vaults.iter().map(|vault| &vault.namespace).collect();
        let services = match (scope, vaults.len()) {
            (_, 0) => Vec::new(),
            (Scope::Vault(vault), _) => {
                let (namespace, name) = (&vault.namespace, &vault.service);
                let service = cluster.get(Wanted::SERVICES, Some(namespace), name).await?;
                service.into_iter().collect()
            }
            _ => {
                let only = namespaces.first().filter(|_| namespaces.len() == 1);
                let only = only.map(|name| name.as_str());
                cluster.list(Wanted::SERVICES, only, None).await?
            }
        };
        found.contents.extend(services);
        Ok(found.contents)
    })
}

/// Reads the objects for `explain`: the policies of one vault and the pods that they select, or only the caller if they
/// select none. Warns if proxies may enforce earlier rules.
pub(crate) fn to_explain(
    args: &ClusterArgs,
    operator_namespace: &str,
    vault: &VaultId,
    id: CallerId<'_>,
    has_token: bool,
    limits: Limits,
) -> Result<ToExplain, ReadError> {
    with_cluster(args, limits, async |cluster: &Cluster| {
        let mut found = cluster.rules(Scope::Vault(vault)).await?;
        let operator = cluster.warning_of_operator(operator_namespace).await;
        for warning in found.edited.iter().chain(&operator) {
            output::message(&format!("warning: {warning}\n"));
        }
        if found.select_pods {
            found.add_pods(cluster).await?;
        } else if !vaults(&found.contents).contains(vault) {
            // Without a policy for the vault, the caller does not matter.
        } else {
            let caller = cluster.caller(id).await?;
            for namespace in namespaces(&caller) {
                let fact = cluster.get(Wanted::NAMESPACES, None, &namespace).await?;
                found.contents.extend(fact);
            }
            found.contents.extend(caller);
        }
        let issuer = if has_token {
            cluster.issuer().await
        } else {
            None
        };
        Ok(ToExplain {
            loaded: LoadedObjects::of(found.contents),
            all_pods: found.select_pods,
            issuer,
        })
    })
}

/// The objects that `diff` compares files with.
pub(crate) struct ToCompare {
    /// The objects.
    pub(crate) contents: Vec<FileContents>,
    /// Issuer of the cluster's service accounts, if a policy accepts tokens and the issuer can be read.
    pub(crate) issuer: Option<String>,
}

/// Reads the objects for `diff`: policies, virtual networks, trusted services, namespaces and pods. `namespaces` are
/// those whose policies are read; `None`: all. `has_tokens`: whether a policy of the files accepts tokens.
pub(crate) fn to_compare(
    args: &ClusterArgs,
    namespaces: Option<&BTreeSet<String>>,
    has_tokens: bool,
    limits: Limits,
) -> Result<ToCompare, ReadError> {
    with_cluster(args, limits, async |cluster: &Cluster| {
        let mut contents = Vec::new();
        match namespaces {
            None => contents.extend(cluster.list(Wanted::POLICIES, None, None).await?),
            Some(namespaces) => {
                for namespace in namespaces {
                    let found = cluster
                        .list(Wanted::POLICIES, Some(namespace), None)
                        .await?;
                    contents.extend(found);
                }
            }
        }
        let is_by_token = |policy: &ValidatedPolicy| policy.proof != Proof::Pod;
        let has_tokens = has_tokens || policies(&contents, Scope::Cluster).any(is_by_token);
        let mut kinds = vec![
            Wanted::VIRTUAL_NETWORKS,
            Wanted::TRUSTED_SERVICES,
            Wanted::NAMESPACES,
            Wanted::PODS,
        ];
        kinds.extend(has_tokens.then_some(Wanted::SERVICE_ACCOUNTS));
        for kind in kinds {
            contents.extend(cluster.list(kind, None, None).await?);
        }
        let issuer = if has_tokens {
            cluster.issuer().await
        } else {
            None
        };
        Ok(ToCompare { contents, issuer })
    })
}

/// Reads the objects for `trusted check`: the policies of the vault's namespace, all trusted services, and namespaces,
/// whose labels are their subscriptions.
pub(crate) fn to_check(
    args: &ClusterArgs,
    vault: &VaultId,
    limits: Limits,
) -> Result<LoadedObjects, ReadError> {
    read(args, limits, async |cluster: &Cluster| {
        let namespace = Some(vault.namespace.as_str());
        let mut found = cluster.list(Wanted::POLICIES, namespace, None).await?;
        for kind in [Wanted::TRUSTED_SERVICES, Wanted::SUBSCRIPTIONS] {
            found.extend(cluster.list(kind, None, None).await?);
        }
        Ok(found)
    })
}

/// Connects, reads, and collects the objects.
fn read(
    args: &ClusterArgs,
    limits: Limits,
    objects: impl AsyncFnOnce(&Cluster) -> Result<Vec<FileContents>, ReadError>,
) -> Result<LoadedObjects, ReadError> {
    with_cluster(args, limits, objects).map(LoadedObjects::of)
}

/// Connects and reads.
fn with_cluster<T>(
    args: &ClusterArgs,
    limits: Limits,
    read: impl AsyncFnOnce(&Cluster) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    runtime()?.block_on(async {
        let (client, server) = connect_and_name(args).await?;
        let cluster = Cluster {
            client,
            server,
            limits,
        };
        read(&cluster).await
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, ReadError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ReadError::Runtime)
}

/// Policies, and the virtual networks, trusted services and service accounts that they refer to.
struct Rules {
    contents: Vec<FileContents>,
    /// Whether a rule or the list of trusted proxies selects pods, or an identity is a service account, so that the
    /// answer depends on all pods.
    select_pods: bool,
    /// Warnings about policies that were edited after the operator evaluated them.
    edited: Vec<String>,
}

impl Rules {
    async fn add_pods(&mut self, cluster: &Cluster) -> Result<(), ReadError> {
        let namespaces = cluster.list(Wanted::NAMESPACES, None, None).await?;
        self.contents.extend(namespaces);
        let pods = cluster.list(Wanted::PODS, None, None).await?;
        self.contents.extend(pods);
        Ok(())
    }
}

impl Cluster {
    async fn rules(&self, scope: Scope<'_>) -> Result<Rules, ReadError> {
        let mut edited = Vec::new();
        let inspect = |page: &Value| {
            if let Scope::Vault(vault) = scope {
                edited.extend(freshness::of_policies(page, vault));
            }
        };
        let mut contents = self
            .list_and_inspect(Wanted::POLICIES, scope.namespace(), None, inspect)
            .await?;
        let names_subnets = policies(&contents, scope).any(|policy| {
            let mut rules = policy.virtual_network_rules.iter();
            rules.any(|rule| matches!(rule.source, NetworkRuleSource::Subnet { .. }))
        });
        if names_subnets {
            contents.extend(self.list(Wanted::VIRTUAL_NETWORKS, None, None).await?);
        }
        if policies(&contents, scope).any(|policy| policy.bypass.is_some()) {
            contents.extend(self.list(Wanted::TRUSTED_SERVICES, None, None).await?);
        }
        let (networks, services) = (virtual_networks(&contents), trusted_services(&contents));
        let names_accounts = |policy: &ValidatedPolicy| {
            let mut identities = referenced_identities(policy, &services);
            identities.any(|identity| !matches!(identity, ServiceIdentity::FederatedCredential(_)))
        };
        // A token of an account counts only while the account exists.
        let accounts = policies(&contents, scope)
            .any(|policy| policy.proof != Proof::Pod && names_accounts(policy));
        let select_pods = policies(&contents, scope).any(|policy| {
            names_accounts(policy) || !referenced_groups(policy, &networks).is_empty()
        });
        if accounts {
            contents.extend(self.list(Wanted::SERVICE_ACCOUNTS, None, None).await?);
        }
        Ok(Rules {
            contents,
            select_pods,
            edited,
        })
    }

    /// Issuer of the cluster's service accounts; a warning if it cannot be read.
    async fn issuer(&self) -> Option<String> {
        let issuer = fetch_issuer(&self.client, KeyOptions::TIMEOUT).await;
        let warn = |error| {
            tracing::warn!(
                "the issuer of the cluster's service accounts is not known, so the issuer of --claims is taken as it \
                 where the subject is a service account: {error}"
            );
        };
        issuer.map_err(warn).ok()
    }

    /// The objects that policies refer to.
    async fn referenced(
        &self,
        namespace: Option<&str>,
        checked: &[FileContents],
    ) -> Result<Vec<FileContents>, ReadError> {
        let mut found = self.list(Wanted::SERVICES, namespace, None).await?;
        let has_bypass = |policy: &ValidatedPolicy| policy.bypass.is_some();
        if objects(checked).filter_map(Object::policy).any(has_bypass) {
            found.extend(self.list(Wanted::TRUSTED_SERVICES, None, None).await?);
        }
        for kind in [Wanted::NAMESPACES, Wanted::VIRTUAL_NETWORKS] {
            found.extend(self.list(kind, None, None).await?);
        }
        Ok(found)
    }

    /// The pod that connects. For an address it is only shown, the verdict does not depend on it: a missing permission
    /// is a warning.
    async fn caller(&self, id: CallerId<'_>) -> Result<Vec<FileContents>, ReadError> {
        match id {
            CallerId::Pod(pod) => {
                let found = self
                    .get(Wanted::PODS, Some(&pod.namespace), &pod.name)
                    .await?;
                Ok(found.into_iter().collect())
            }
            CallerId::Address(IpAddr::V6(_)) => Ok(Vec::new()),
            CallerId::Address(IpAddr::V4(address)) => {
                let selector = format!("status.podIP={address}");
                match self.list(Wanted::PODS, None, Some(selector)).await {
                    Err(error) if error.is_forbidden() => {
                        tracing::warn!(
                            "it is unknown whether a pod has the address {address}; \
                             the verdict does not depend on it: {error}"
                        );
                        Ok(Vec::new())
                    }
                    found => found,
                }
            }
        }
    }
}

fn objects(contents: &[FileContents]) -> impl Iterator<Item = &Object> {
    contents.iter().flat_map(|page| {
        page.objects
            .iter()
            .filter_map(|(_, object)| object.as_ref())
    })
}

fn policies<'a>(
    contents: &'a [FileContents],
    scope: Scope<'a>,
) -> impl Iterator<Item = &'a ValidatedPolicy> {
    objects(contents)
        .filter_map(Object::policy)
        .filter(move |policy| scope.contains(policy))
}

fn virtual_networks(contents: &[FileContents]) -> VirtualNetworks {
    objects(contents)
        .filter_map(Object::virtual_network)
        .map(|network| (network.name.clone(), network.clone().into()))
        .collect()
}

fn trusted_services(contents: &[FileContents]) -> TrustedServices {
    objects(contents)
        .filter_map(Object::trusted_service)
        .map(|service| (service.name.to_string(), service.clone().into()))
        .collect()
}

/// The vaults of all policies, including refused ones.
fn vaults(contents: &[FileContents]) -> BTreeSet<VaultId> {
    objects(contents)
        .filter_map(|object| match object {
            Object::VaultNetworkPolicy(policy) => Some(policy.vault().clone()),
            _ => None,
        })
        .collect()
}

/// The namespaces of the pods.
fn namespaces(contents: &[FileContents]) -> BTreeSet<String> {
    objects(contents)
        .filter_map(|object| match object {
            Object::Pod(ObservedPod::Counted(pod)) => Some(pod.namespace.clone()),
            _ => None,
        })
        .collect()
}
