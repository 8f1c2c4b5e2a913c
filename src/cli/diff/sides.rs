//! Both sides of a comparison: the objects before and after a change, as indexes that also have pods for rules of which
//! no pod is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Failure;
use crate::api::{NAMESPACE_NAME_LABEL, Proof};
use crate::cli::cluster::{self, ClusterArgs, ToCompare};
use crate::cli::explain::claims::{self, Known};
use crate::index::{
    Index, Key, Kind, Labels, NamespaceFact, Object, ObservedPod, ObservedPolicy, PodFact,
    ServiceAccountFact, VaultResolution,
};
use crate::limits::Limits;
use crate::objects::{FileContents, LoadedObjects, load_files};
use crate::policy::difference::{KnownPods, Who};
use crate::policy::{
    Accounts as _, Identity, ObjectName, Peer, TrustedServices, VaultId, referenced_accounts,
};

/// First address of pods that stand for others, in the range 240.0.0.0/4, which is reserved (RFC 1112) and which no
/// rule can have.
const STAND_INS: u32 = 0xF000_0000;
/// Creation time of a policy that is not in the cluster yet: after all others.
const NEXT: &str = "9999-12-31T23:59:59Z";

/// The objects before and after a change.
pub(super) struct Sides {
    pub(super) old: LoadedObjects,
    pub(super) new: LoadedObjects,
    /// Issuer of the cluster's service accounts, if it is known.
    issuer: Option<String>,
    from_files: bool,
}

/// Origin of the objects before the change.
pub(super) enum Before<'a> {
    Files(&'a [PathBuf]),
    Cluster {
        args: &'a ClusterArgs,
        /// Whether objects of the cluster that are in no file are deleted by the change.
        prune: bool,
    },
}

impl Sides {
    pub(super) fn read(
        paths: &[PathBuf],
        before: &Before<'_>,
        limits: Limits,
    ) -> Result<Self, Failure> {
        let (args, prune) = match *before {
            Before::Files(old) => {
                return Ok(Self {
                    old: LoadedObjects::load(old, &limits),
                    new: LoadedObjects::load(paths, &limits),
                    issuer: None,
                    from_files: true,
                });
            }
            Before::Cluster { args, prune } => (args, prune),
        };
        let (files, errors) = load_files(paths, &limits);
        if !errors.is_empty() {
            return Ok(Self {
                old: LoadedObjects::default(),
                new: LoadedObjects {
                    errors,
                    ..LoadedObjects::default()
                },
                issuer: None,
                from_files: false,
            });
        }
        let namespaces = namespaces(&files).filter(|_| !prune);
        let ToCompare { contents, issuer } =
            cluster::to_compare(args, namespaces.as_ref(), has_tokens(&files), limits)?;
        let new = overlaid(&contents, files, prune);
        Ok(Self {
            old: LoadedObjects::of(contents),
            new: LoadedObjects::of(new),
            issuer,
            from_files: false,
        })
    }

    /// Pods by their addresses; those after the change count first.
    fn pods(&self) -> KnownPods {
        let objects = self.old.objects.iter().chain(&self.new.objects);
        let pods = objects.filter_map(|located| match &located.object {
            Object::Pod(ObservedPod::Counted(pod)) => Some(pod),
            _ => None,
        });
        let at = |pod: &PodFact| {
            let who = Who::Pods {
                namespace: pod.namespace.clone(),
                service_account: pod.service_account.clone(),
            };
            let addresses = pod.addresses.clone().into_iter();
            addresses.map(move |address| (address, who.clone()))
        };
        pods.flat_map(at).collect()
    }

    /// Resolves all vaults before and after the change.
    pub(super) fn resolve(self, limits: Limits) -> Resolved {
        let pods = self.pods();
        let (issuer, from_files) = (self.issuer, self.from_files);
        let index = |loaded: LoadedObjects| {
            let accounts = if from_files {
                accounts(&loaded, limits)
            } else {
                BTreeSet::new()
            };
            let mut index = loaded.into_index(limits);
            for ObjectName { namespace, name } in accounts {
                index.apply(ServiceAccountFact {
                    namespace,
                    name,
                    uid: None,
                });
            }
            let known = Known {
                issuer: issuer.clone(),
                accounts: !from_files,
            };
            claims::assume(&mut index, None, known);
            index
        };
        let mut resolved = Resolved {
            old: index(self.old),
            new: index(self.new),
            pods,
        };
        resolved.add_stand_ins();
        resolved
    }
}

/// Both indexes, with pods for rules of which none is known.
pub(super) struct Resolved {
    pub(super) old: Index,
    pub(super) new: Index,
    pub(super) pods: KnownPods,
}

impl Resolved {
    /// All vaults, before or after the change.
    pub(super) fn vaults(&self) -> BTreeSet<VaultId> {
        self.old
            .vaults()
            .chain(self.new.vaults())
            .cloned()
            .collect()
    }

    fn add_stand_ins(&mut self) {
        let mut wanted: BTreeMap<Who, StandIn> = BTreeMap::new();
        for vault in self.vaults() {
            for index in [&mut self.old, &mut self.new] {
                if let Some(VaultResolution { resolution, .. }) = index.resolve(&vault) {
                    let firewall = &resolution.firewall;
                    let proxies = firewall.client_address.trusted_proxies();
                    let proxies = proxies.into_iter().flat_map(|proxies| &proxies.peers);
                    let peers = firewall.peers.iter().chain(proxies);
                    wanted.extend(peers.filter_map(StandIn::of_peer));
                    wanted.extend(firewall.grants.holders().filter_map(StandIn::of_holder));
                }
            }
        }
        let addresses = (STAND_INS..u32::MAX).map(Ipv4Addr::from_bits);
        for ((who, stand_in), address) in wanted.into_iter().zip(addresses) {
            for index in [&mut self.old, &mut self.new] {
                stand_in.apply(index, address);
            }
            self.pods.insert(address, who);
        }
    }
}

/// Whether an address is one of a pod that stands for others.
pub(super) fn is_stand_in(address: Ipv4Addr) -> bool {
    address.to_bits() >= STAND_INS
}

/// A pod that stands for all that a rule, or the list of trusted proxies, selects.
struct StandIn {
    namespace: Labels,
    pod: Labels,
    service_account: String,
}

impl StandIn {
    fn of_peer(peer: &Peer) -> Option<(Who, Self)> {
        let Peer::Pods { namespaces, pods } = peer else {
            return None;
        };
        let text = format!("namespaces {}, pods {}", text(namespaces), text(pods));
        let stand_in = Self {
            namespace: labels(namespaces)?,
            pod: labels(pods)?,
            service_account: "default".to_owned(),
        };
        Some((Who::Selected(text.into()), stand_in))
    }

    fn of_holder(holder: &Identity) -> Option<(Who, Self)> {
        let account = match holder {
            Identity::Pod(account) => (**account).clone(),
            Identity::PodAndToken(account) => account.clone(),
            Identity::Token(_) => return None,
        };
        let namespace = (NAMESPACE_NAME_LABEL.to_owned(), account.namespace.clone());
        let stand_in = Self {
            namespace: Labels::from([namespace]),
            pod: Labels::new(),
            service_account: account.name.clone(),
        };
        Some((Who::Account(account), stand_in))
    }

    fn apply(&self, index: &mut Index, address: Ipv4Addr) {
        let name = format!("stand-in-{address}");
        let named = self.namespace.get(NAMESPACE_NAME_LABEL);
        let namespace = named.unwrap_or(&name).clone();
        if index.namespace(&namespace).is_none() {
            let mut labels = self.namespace.clone();
            labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.clone());
            index.apply(NamespaceFact {
                name: namespace.clone(),
                labels,
                terminating: false,
            });
        }
        index.apply(ObservedPod::Counted(PodFact {
            namespace,
            name: name.clone(),
            uid: Some(name),
            labels: self.pod.clone(),
            service_account: self.service_account.clone(),
            addresses: vec![address],
        }));
    }
}

/// The fewest labels that a selector selects; `None` if no labels are.
fn labels(selector: &LabelSelector) -> Option<Labels> {
    let mut labels: Labels = selector
        .match_labels
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    for requirement in selector.match_expressions.iter().flatten() {
        let key = requirement.key.clone();
        let values = requirement.values.as_deref().unwrap_or_default();
        match requirement.operator.as_str() {
            "In" => {
                let value = values.first()?.clone();
                labels.entry(key).or_insert(value);
            }
            "Exists" => {
                labels.entry(key).or_default();
            }
            _ => {}
        }
    }
    crate::policy::Selector::new(selector)
        .matches(&labels)
        .then_some(labels)
}

fn text(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten();
    let labels = labels.map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|one| {
        let values = one.values.as_deref().unwrap_or_default().join(",");
        match one.operator.as_str() {
            "In" => format!("{} in ({values})", one.key),
            "NotIn" => format!("{} not in ({values})", one.key),
            "Exists" => one.key.clone(),
            _ => format!("!{}", one.key),
        }
    });
    let all: Vec<String> = labels.chain(expressions).collect();
    if all.is_empty() {
        "(all)".to_owned()
    } else {
        all.join(" and ")
    }
}

/// Service accounts that policies name and that are in none of the files.
fn accounts(loaded: &LoadedObjects, limits: Limits) -> BTreeSet<ObjectName> {
    let services: TrustedServices = loaded
        .trusted_services()
        .map(|service| (service.name.to_string(), Arc::new(service.clone())))
        .collect();
    let mut index = Index::new(limits);
    for located in &loaded.objects {
        if matches!(
            located.object.kind(),
            Kind::Namespace | Kind::ServiceAccount
        ) {
            index.apply(located.object.clone());
        }
    }
    let named = loaded
        .policies()
        .flat_map(|(_, policy)| referenced_accounts(policy, &services, &index));
    named
        .filter(|account| index.existing(account).is_none())
        .collect()
}

/// Namespaces of the policies, if files have nothing that another namespace's policies depend on.
fn namespaces(files: &[FileContents]) -> Option<BTreeSet<String>> {
    let keys = || {
        files
            .iter()
            .flat_map(|file| &file.objects)
            .map(|(key, _)| key)
    };
    let is_policy = |key: &Key| key.kind == Kind::VaultNetworkPolicy;
    keys()
        .all(is_policy)
        .then(|| keys().map(|key| key.name.namespace.clone()).collect())
}

fn has_tokens(files: &[FileContents]) -> bool {
    let objects = files.iter().flat_map(|file| &file.objects);
    let mut policies = objects.filter_map(|(_, object)| object.as_ref()?.policy());
    policies.any(|policy| policy.proof != Proof::Pod)
}

/// The cluster's objects with the files' in place of those of the same name, as `kubectl apply` leaves them.
fn overlaid(
    contents: &[FileContents],
    mut files: Vec<FileContents>,
    prune: bool,
) -> Vec<FileContents> {
    let mut created: BTreeMap<Key, Option<String>> = BTreeMap::new();
    for (key, object) in contents.iter().flat_map(|page| &page.objects) {
        if let Some(policy) = object.as_ref().and_then(Object::policy) {
            created.insert(key.clone(), policy.created.clone());
        }
    }
    let given: BTreeSet<Key> = files
        .iter()
        .flat_map(|file| file.objects.iter().map(|(key, _)| key.clone()))
        .collect();
    let pruned = |key: &Key| {
        let is_ours = matches!(
            key.kind,
            Kind::VaultNetworkPolicy | Kind::VirtualNetwork | Kind::TrustedService
        );
        prune && is_ours
    };
    let stays = |key: &Key| !given.contains(key) && !pruned(key);
    for (key, object) in files.iter_mut().flat_map(|file| &mut file.objects) {
        if let Some(Object::VaultNetworkPolicy(ObservedPolicy::Valid(policy))) = object {
            let existing = created.get(key).cloned();
            policy.created = existing.unwrap_or_else(|| Some(NEXT.to_owned()));
        }
    }
    let rest = contents.iter().map(|page| {
        let mut page = page.clone();
        page.objects.retain(|(key, _)| stays(key));
        page.specs.retain(|(key, _)| stays(key));
        // The violations of the cluster's objects are known from the other side.
        page.violations.clear();
        page
    });
    rest.chain(files).collect()
}
