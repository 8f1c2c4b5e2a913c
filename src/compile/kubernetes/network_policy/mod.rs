//! From a [`Firewall`] to the two `NetworkPolicy` objects around it: one that lets nobody but the proxies (and the
//! vault's own nodes) to the vault, one that says who gets as far as the proxies.
//!
//! Pure. The two readings of "empty" in a `NetworkPolicy` are opposite, an empty `ingress` admits nobody and an empty
//! `from` admits everybody, so no rule is written here but through [`Sources`]. What the API server would default is
//! spelled out, and lists are sorted, so that applying the same firewall twice writes nothing.

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
use crate::compile::{ProtectedService, ProxyPorts, firewall_name, vault_name};
use crate::limits::MAX_DROP_BLOCKS;
use crate::policy::{
    ClientAddressSource, DefaultAction, Denial, Firewall, ManagementAccess, Peer, VaultId,
};

/// Why a firewall cannot be said as a `NetworkPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetworkPolicyError {
    /// Resolution refuses the policy that goes too far, so this is for a caller that makes a firewall otherwise:
    /// `denial: Drop` with more than [`MAX_DROP_BLOCKS`] blocks, counted after merging.
    #[error(
        "vault {vault}: with `denial: Drop` its rules make {blocks} address blocks, and a NetworkPolicy is given at \
         most {MAX_DROP_BLOCKS}; set `denial: Reject`, or use fewer and wider ranges"
    )]
    TooManyBlocks {
        /// The vault.
        vault: VaultId,
        /// How many blocks there would be.
        blocks: usize,
    },
}

/// Both policies, `<service>-firewall` and `<service>-vault`, in the vault's namespace.
///
/// On an error nothing of the firewall's may be loosened: the caller leaves `<service>-firewall` as it is, and
/// [`vault_policy`] can still be applied.
pub fn network_policies(
    firewall: &Firewall,
    service: &ProtectedService,
) -> Result<Vec<NetworkPolicy>, NetworkPolicyError> {
    Ok(vec![
        firewall_policy(firewall)?,
        vault_policy(&firewall.vault, service),
    ])
}

/// `<service>-vault` selects the vault's pods: the API port is open to the proxies, the API and cluster ports are open
/// to the vault's own pods (raft joins and forwards by both), and nothing else is open to anybody (R10).
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

/// `<service>-firewall` selects the proxies.
///
/// | port | open to |
/// |---|---|
/// | data | `Reject`, or `defaultAction: Allow`: anybody, Envoy answers. `Drop`: the rules' pods and blocks, and proxies believed for `X-Forwarded-For`; without any of them, nobody |
/// | management | `Unrestricted`: anybody; `NetworkRules`: as data; `Disabled`: nobody |
/// | leaving | nobody: only the kubelet of the proxy's own node has business there |
/// | metrics | every pod of the cluster, because a scraper may run anywhere; nothing outside. It tells counts, no secrets |
///
/// The kubelet's probes come from the proxy's own node and need no rule. Envoy judges every connection again, so a CNI
/// that matches too much here opens nothing.
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

/// Who gets as far as the proxies' data port.
fn data_sources(firewall: &Firewall) -> Result<Sources, NetworkPolicyError> {
    match (firewall.denial, firewall.default_action) {
        (Denial::Reject, _) | (Denial::Drop, DefaultAction::Allow) => return Ok(Sources::Anybody),
        (Denial::Drop, DefaultAction::Deny) => {}
    }
    let mut blocks = Vec::new();
    let mut peers = Vec::new();
    for peer in &firewall.peers {
        match peer {
            Peer::Pods {
                namespaces,
                pods: selected,
            } => peers.push(pods(namespaces, selected)),
            Peer::Block(block) => blocks.push(*block),
        }
    }
    if let ClientAddressSource::XForwardedFor { trusted_proxies } = &firewall.client_address {
        // The client is behind the proxy, so Envoy has to see the request before anybody can judge it.
        blocks.extend(trusted_proxies);
    }
    // Exact: what one block holds of another, and halves of a block, are joined; the addresses stay the same.
    let blocks = Ipv4Net::aggregate(&blocks);
    if blocks.len() > MAX_DROP_BLOCKS {
        return Err(NetworkPolicyError::TooManyBlocks {
            vault: firewall.vault.clone(),
            blocks: blocks.len(),
        });
    }
    peers.extend(blocks.into_iter().map(block));
    Ok(Sources::only(peers))
}

/// Who is admitted to a port.
#[derive(Clone, PartialEq)]
enum Sources {
    /// No ingress rule at all.
    Nobody,
    /// A rule without `from`.
    Anybody,
    /// A rule with these in `from`: made by [`Sources::only`] alone, sorted, never empty.
    Only(Vec<NetworkPolicyPeer>),
}

impl Sources {
    /// Pods first, then blocks by address; none is nobody.
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

/// A policy on the pods with the labels `selected`, that opens the given ports and no other.
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

/// One rule for each group of sources, with all the ports that it is admitted to, so that a long list is written once.
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

/// Names in order, then numbers in order.
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
        namespace_selector: Some(in_order(namespaces)),
        pod_selector: Some(in_order(pods)),
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

/// The same selector, written the one way: no empty lists, expressions and their values sorted.
fn in_order(selector: &LabelSelector) -> LabelSelector {
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
