//! What a question needs of the cluster, and no more: whoever may read little gets as many answers as that allows, and a
//! large cluster is not read for a small question.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::list::{Cluster, Kind};
use super::{ClusterArgs, ReadError, connect};
use crate::index::{Object, ObjectName, ObservedPod};
use crate::limits::Limits;
use crate::objects::{FileContents, LoadedObjects};
use crate::policy::{
    NetworkRuleSource, ValidatedPolicy, VaultId, VirtualNetworks, referenced_groups,
};

/// Who connects, in a question about one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who<'a> {
    /// A pod.
    Pod(&'a ObjectName),
    /// An address, whose pod is to be found.
    Address(IpAddr),
}

/// Which part of the cluster is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'a> {
    /// All of it.
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

    fn holds(self, policy: &ValidatedPolicy) -> bool {
        match self {
            Self::Vault(vault) => policy.vault == *vault,
            Self::Cluster | Self::Namespace(_) => true,
        }
    }
}

/// What `validate` looks at: the policies, and without a namespace the virtual networks, which belong to none.
pub(crate) fn to_validate(
    args: &ClusterArgs,
    namespace: Option<&str>,
    limits: Limits,
) -> Result<LoadedObjects, ReadError> {
    ask(args, limits, async |cluster: &Cluster| {
        let mut found = cluster.list(Kind::Policies, namespace, None).await?;
        if namespace.is_none() {
            found.extend(cluster.list(Kind::VirtualNetworks, None, None).await?);
        }
        Ok(found)
    })
}

/// What `render` looks at: rules, whom they let in, and the vaults' Services.
pub(crate) fn to_render(
    args: &ClusterArgs,
    scope: Scope<'_>,
    limits: Limits,
) -> Result<LoadedObjects, ReadError> {
    ask(args, limits, async |cluster: &Cluster| {
        let mut found = cluster.rules(scope).await?;
        if found.of_pods {
            found.add_pods(cluster).await?;
        }
        let vaults = vaults(&found.contents);
        let namespaces: BTreeSet<&String> = vaults.iter().map(|vault| &vault.namespace).collect();
        let services = match (scope, vaults.len()) {
            (_, 0) => Vec::new(),
            (Scope::Vault(vault), _) => {
                let (namespace, name) = (&vault.namespace, &vault.service);
                let service = cluster.get(Kind::Services, Some(namespace), name).await?;
                service.into_iter().collect()
            }
            _ => {
                let only = namespaces.first().filter(|_| namespaces.len() == 1);
                let only = only.map(|name| name.as_str());
                cluster.list(Kind::Services, only, None).await?
            }
        };
        found.contents.extend(services);
        Ok(found.contents)
    })
}

/// What `explain` looks at: the rules of one vault and whom they let in. Where no rule selects pods, only the caller.
pub(crate) fn to_explain(
    args: &ClusterArgs,
    vault: &VaultId,
    who: Who<'_>,
    limits: Limits,
) -> Result<LoadedObjects, ReadError> {
    ask(args, limits, async |cluster: &Cluster| {
        let mut found = cluster.rules(Scope::Vault(vault)).await?;
        if found.of_pods {
            found.add_pods(cluster).await?;
        } else if !vaults(&found.contents).contains(vault) {
            // There is nothing to ask about any caller.
        } else {
            let caller = cluster.caller(who).await?;
            for namespace in namespaces(&caller) {
                let fact = cluster.get(Kind::Namespaces, None, &namespace).await?;
                found.contents.extend(fact);
            }
            found.contents.extend(caller);
        }
        Ok(found.contents)
    })
}

/// Connects, asks, and puts together what was answered.
fn ask(
    args: &ClusterArgs,
    limits: Limits,
    question: impl AsyncFnOnce(&Cluster) -> Result<Vec<FileContents>, ReadError>,
) -> Result<LoadedObjects, ReadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ReadError::Runtime)?;
    runtime.block_on(async {
        let (client, server) = connect::connect_and_name(args).await?;
        let cluster = Cluster {
            client,
            server,
            limits,
        };
        Ok(LoadedObjects::of(question(&cluster).await?))
    })
}

/// Policies and the virtual networks that they name.
struct Rules {
    contents: Vec<FileContents>,
    /// Whether some rule selects pods, so that the answer depends on all pods.
    of_pods: bool,
}

impl Rules {
    async fn add_pods(&mut self, cluster: &Cluster) -> Result<(), ReadError> {
        let namespaces = cluster.list(Kind::Namespaces, None, None).await?;
        self.contents.extend(namespaces);
        let pods = cluster.list(Kind::Pods, None, None).await?;
        self.contents.extend(pods);
        Ok(())
    }
}

impl Cluster {
    async fn rules(&self, scope: Scope<'_>) -> Result<Rules, ReadError> {
        let mut contents = self.list(Kind::Policies, scope.namespace(), None).await?;
        let names_subnets = policies(&contents, scope).any(|policy| {
            let mut rules = policy.virtual_network_rules.iter();
            rules.any(|rule| matches!(rule.source, NetworkRuleSource::Subnet { .. }))
        });
        if names_subnets {
            contents.extend(self.list(Kind::VirtualNetworks, None, None).await?);
        }
        let networks = virtual_networks(&contents);
        let of_pods = policies(&contents, scope)
            .any(|policy| !referenced_groups(policy, &networks).is_empty());
        Ok(Rules { contents, of_pods })
    }

    /// The pod that connects. Behind an address it is only told, no verdict rests on it here: a missing right is said.
    async fn caller(&self, who: Who<'_>) -> Result<Vec<FileContents>, ReadError> {
        match who {
            Who::Pod(pod) => {
                let found = self
                    .get(Kind::Pods, Some(&pod.namespace), &pod.name)
                    .await?;
                Ok(found.into_iter().collect())
            }
            Who::Address(IpAddr::V6(_)) => Ok(Vec::new()),
            Who::Address(IpAddr::V4(address)) => {
                let selector = format!("status.podIP={address}");
                match self.list(Kind::Pods, None, Some(selector)).await {
                    Err(error) if error.is_forbidden() => {
                        tracing::warn!(
                            "whether a pod has the address {address} is not known, the verdict does not depend on it: {error}"
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
        .filter(move |policy| scope.holds(policy))
}

fn virtual_networks(contents: &[FileContents]) -> VirtualNetworks {
    objects(contents)
        .filter_map(Object::virtual_network)
        .map(|network| (network.name.clone(), network.clone().into()))
        .collect()
}

/// The vaults that policies are about, also policies that cannot be used.
fn vaults(contents: &[FileContents]) -> BTreeSet<VaultId> {
    objects(contents)
        .filter_map(|object| match object {
            Object::VaultNetworkPolicy(policy) => Some(policy.vault().clone()),
            _ => None,
        })
        .collect()
}

/// The namespaces of pods.
fn namespaces(contents: &[FileContents]) -> BTreeSet<String> {
    objects(contents)
        .filter_map(|object| match object {
            Object::Pod(ObservedPod::Counted(pod)) => Some(pod.namespace.clone()),
            _ => None,
        })
        .collect()
}
