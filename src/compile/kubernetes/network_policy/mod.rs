//! From a [`Firewall`] to its two `NetworkPolicy` objects: the vault's, which admits only the proxies (and the vault's
//! own nodes) to the vault, and the proxies', which decides which packets reach the proxies.
//!
//! Pure. "Empty" has two opposite meanings in a `NetworkPolicy`: an empty `ingress` admits no peer, an empty `from`
//! admits all peers. So every rule is written through [`Sources`]. Fields that the API server would default are spelled
//! out, and lists are sorted, so that applying the same firewall again changes nothing.

pub mod earlier;

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use thiserror::Error;

use crate::api::{generated_labels, proxy_labels};
use crate::compile::kubernetes::protected_service::ProtectedService;
use crate::compile::names::{firewall_name, vault_name};
use crate::compile::ports::ProxyPorts;
use crate::limits::MAX_DROP_BLOCKS;
use crate::policy::{Firewall, ManagementAccess, Peer, VaultId};

/// Reasons why a firewall cannot be expressed as a `NetworkPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetworkPolicyError {
    /// `denial: Drop` with more than [`MAX_DROP_BLOCKS`] blocks, counted after merging. Resolution refuses such a
    /// policy, so only a firewall that was built in another way can cause this error.
    #[error(
        "vault {vault}: with `denial: Drop` its rules make {blocks} address blocks, and a NetworkPolicy may have at \
         most {MAX_DROP_BLOCKS}; set `denial: Reject`, or use fewer and wider ranges"
    )]
    TooManyBlocks {
        /// The vault of the firewall.
        vault: VaultId,
        /// Number of blocks that the policy would have.
        blocks: usize,
    },
}

/// The vault's policy, `<service>-vault`, selects the vault's pods. The API port is open to the proxies, the API and
/// cluster ports are open to the vault's own pods (raft joins and forwards requests over both), and nothing else is
/// open.
pub fn vault_policy(vault: &VaultId, service: &ProtectedService) -> NetworkPolicy {
    let own_pods = Sources::only(vec![pods_here(service.selector().clone())]);
    let proxies = Sources::only(vec![pods_here(proxy_labels(&vault.service))]);
    let api = service.api_port().clone();
    let cluster = service.cluster_port().clone();
    let opened = [
        (own_pods.clone(), api.clone()),
        (own_pods, cluster),
        (proxies, api),
    ];
    let name = vault_name(&vault.service);
    network_policy(vault, name, service.selector().clone(), opened)
}

/// The proxies' policy, `<service>-firewall`, selects the proxies.
///
/// | port | open to |
/// |---|---|
/// | data, with `Reject` or `defaultAction: Allow` | anybody: Envoy answers |
/// | data, with `Drop` | pods and blocks of rules, pods of trusted services, trusted proxies; without any, nobody |
/// | management | `Unrestricted`: anybody; `NetworkRules`: the same as data; `Disabled`: nobody |
/// | kubelet | nobody: only the kubelet of the proxy's own node uses it |
/// | metrics | every pod of the cluster, because a scraper may run anywhere; metrics hold no secret |
///
/// The kubelet's requests come from the proxy's own node and need no rule. Envoy checks every connection again, so a
/// network plugin that admits too many packets here gives no access to the vault.
pub fn firewall_policy(firewall: &Firewall) -> Result<NetworkPolicy, NetworkPolicyError> {
    let ports = ProxyPorts::of(firewall.port);
    let data = data_sources(firewall)?;
    let management = match firewall.management {
        ManagementAccess::Unrestricted => Sources::Anybody,
        ManagementAccess::NetworkRules => data.clone(),
        ManagementAccess::Disabled => Sources::Nobody,
    };
    let every_pod = pods(&LabelSelector::default(), &LabelSelector::default());
    let opened = [
        (data, number(ports.data)),
        (management, number(ports.management)),
        (Sources::only(vec![every_pod]), number(ports.metrics)),
    ];
    Ok(network_policy(
        &firewall.vault,
        firewall_name(&firewall.vault.service),
        proxy_labels(&firewall.vault.service),
        opened,
    ))
}

/// Sources that reach the proxies' data port.
fn data_sources(firewall: &Firewall) -> Result<Sources, NetworkPolicyError> {
    if !firewall.drops() {
        return Ok(Sources::Anybody);
    }
    // The client is behind the trusted proxy: only Envoy can decide about its request.
    let proxies = firewall.client_address.trusted_proxies().into_iter();
    let (ranges, selected): (Vec<_>, Vec<_>) = proxies
        .map(|proxies| (&proxies.ranges, &proxies.peers))
        .unzip();
    let mut blocks: Vec<Ipv4Net> = ranges.into_iter().flatten().copied().collect();
    let mut from = Vec::new();
    let peers = firewall.peers.iter().chain(&firewall.service_peers);
    for peer in peers.chain(selected.into_iter().flatten()) {
        match peer {
            Peer::Pods {
                namespaces,
                pods: selected,
            } => from.push(pods(namespaces, selected)),
            Peer::Block(block) => blocks.push(*block),
        }
    }
    // Exact: blocks inside others are removed, and halves of a block are joined; the addresses stay the same.
    let blocks = Ipv4Net::aggregate(&blocks);
    if blocks.len() > MAX_DROP_BLOCKS {
        return Err(NetworkPolicyError::TooManyBlocks {
            vault: firewall.vault.clone(),
            blocks: blocks.len(),
        });
    }
    from.extend(blocks.into_iter().map(block));
    Ok(Sources::only(from))
}

/// Sources that a port is open to.
#[derive(Clone, PartialEq)]
enum Sources {
    /// No ingress rule at all.
    Nobody,
    /// A rule without `from`.
    Anybody,
    /// A rule with these in `from`. Only [`Sources::only`] makes it; sorted, never empty.
    Only(Vec<NetworkPolicyPeer>),
}

impl Sources {
    /// Pods first, then blocks by address. Without peers it is [`Sources::Nobody`].
    fn only(mut peers: Vec<NetworkPolicyPeer>) -> Self {
        peers.sort_by_cached_key(|peer| {
            let address = peer
                .ip_block
                .as_ref()
                .and_then(|block| block.cidr.parse::<Ipv4Net>().ok());
            (address, format!("{peer:?}"))
        });
        peers.dedup();
        if peers.is_empty() {
            Self::Nobody
        } else {
            Self::Only(peers)
        }
    }
}

/// A policy that selects the pods with the labels `selected` and opens the given ports and no other.
fn network_policy(
    vault: &VaultId,
    name: String,
    selected: BTreeMap<String, String>,
    opened: impl IntoIterator<Item = (Sources, IntOrString)>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(vault.namespace.clone()),
            labels: Some(generated_labels(&vault.service)),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(with_labels(selected)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress(opened)),
            egress: None,
        }),
    }
}

/// One rule for each distinct list of sources, with all ports that are open to it, so that a long list appears once.
fn ingress(
    opened: impl IntoIterator<Item = (Sources, IntOrString)>,
) -> Vec<NetworkPolicyIngressRule> {
    let mut groups: Vec<(Sources, Vec<IntOrString>)> = Vec::new();
    for (sources, port) in opened {
        match groups.iter_mut().find(|(known, _)| *known == sources) {
            Some((_, ports)) => ports.push(port),
            None => groups.push((sources, vec![port])),
        }
    }
    let rule = |from, ports: Vec<IntOrString>| NetworkPolicyIngressRule {
        from,
        ports: Some(tcp(ports)),
    };
    groups
        .into_iter()
        .filter_map(|(sources, ports)| match sources {
            Sources::Nobody => None,
            Sources::Anybody => Some(rule(None, ports)),
            Sources::Only(peers) => Some(rule(Some(peers), ports)),
        })
        .collect()
}

/// Ports sorted: names first, then numbers.
fn tcp(mut ports: Vec<IntOrString>) -> Vec<NetworkPolicyPort> {
    ports.sort_by_cached_key(|port| match port {
        IntOrString::Int(number) => (Some(*number), String::new()),
        IntOrString::String(name) => (None, name.clone()),
    });
    ports.dedup();
    ports
        .into_iter()
        .map(|port| NetworkPolicyPort {
            port: Some(port),
            protocol: Some("TCP".to_owned()),
            end_port: None,
        })
        .collect()
}

fn number(port: u16) -> IntOrString {
    IntOrString::Int(port.into())
}

/// Pods of the policy's own namespace.
fn pods_here(labels: BTreeMap<String, String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(with_labels(labels)),
        ..NetworkPolicyPeer::default()
    }
}

fn pods(namespaces: &LabelSelector, pods: &LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(canonical(namespaces)),
        pod_selector: Some(canonical(pods)),
        ip_block: None,
    }
}

fn block(block: Ipv4Net) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: block.to_string(),
            except: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn with_labels(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    }
}

/// The selector in canonical form: no empty lists, expressions and their values sorted.
fn canonical(selector: &LabelSelector) -> LabelSelector {
    let mut selector = selector.clone();
    selector.match_labels = selector.match_labels.filter(|labels| !labels.is_empty());
    selector.match_expressions = selector
        .match_expressions
        .filter(|expressions| !expressions.is_empty());
    if let Some(expressions) = &mut selector.match_expressions {
        for expression in &mut *expressions {
            expression.values = expression.values.take().filter(|values| !values.is_empty());
            if let Some(values) = &mut expression.values {
                values.sort();
                values.dedup();
            }
        }
        expressions.sort_by_cached_key(|expression| format!("{expression:?}"));
        expressions.dedup();
    }
    selector
}

#[cfg(test)]
mod tests;
