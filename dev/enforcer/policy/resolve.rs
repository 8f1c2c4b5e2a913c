//! From objects to the model: all of networking.k8s.io/v1, for IPv4.
//!
//! A part that the API server would have refused (an unknown operator, an `endPort` without a port) allows nothing; a
//! policy whose own `podSelector` is invalid isolates its whole namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1::{Container, Namespace, Pod};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt};

use super::model::{Isolated, Model, Ports, Protocol, Rule};
use super::ranges::Ranges;

/// The highest port.
const LAST_PORT: u32 = 65_535;

type Labels = BTreeMap<String, String>;

/// Resolves policies for the existing pods.
pub fn resolve(
    policies: &[Arc<NetworkPolicy>],
    pods: &[Arc<Pod>],
    namespaces: &[Arc<Namespace>],
) -> Model {
    let cluster = Cluster {
        namespaces: namespaces
            .iter()
            .filter_map(|namespace| {
                let name = namespace.metadata.name.as_deref()?;
                Some((name, namespace.metadata.labels.as_ref()))
            })
            .collect(),
        pods: pods.iter().filter_map(|pod| PodFacts::of(pod)).collect(),
    };
    let mut model = Model::default();
    for policy in policies {
        cluster.add(policy, &mut model);
    }
    model
}

/// A pod that has an address of its own.
struct PodFacts<'a> {
    address: Ipv4Addr,
    namespace: &'a str,
    labels: Option<&'a Labels>,
    /// Named ports.
    ports: Vec<(&'a str, Protocol, u32)>,
}

impl<'a> PodFacts<'a> {
    /// `None` for a pod that has no address, has ended, or shares its node's address.
    fn of(pod: &'a Pod) -> Option<Self> {
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
        let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if ended || spec.host_network == Some(true) {
            return None;
        }
        let others = status.pod_ips.iter().flatten().map(|other| &other.ip);
        let address = status
            .pod_ip
            .iter()
            .chain(others)
            .find_map(|address| address.parse().ok())?;
        // An init container with restart policy `Always` is a sidecar; its ports count.
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars =
            sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        Some(Self {
            address,
            namespace: pod.metadata.namespace.as_deref()?,
            labels: pod.metadata.labels.as_ref(),
            ports: spec
                .containers
                .iter()
                .chain(sidecars)
                .flat_map(named_ports)
                .collect(),
        })
    }

    fn numbers(&self, name: &str, protocol: Protocol) -> impl Iterator<Item = u32> {
        self.ports
            .iter()
            .filter(move |(its_name, its_protocol, _)| {
                *its_name == name && *its_protocol == protocol
            })
            .map(|(_, _, number)| *number)
    }
}

fn named_ports(container: &Container) -> impl Iterator<Item = (&str, Protocol, u32)> {
    container.ports.iter().flatten().filter_map(|port| {
        let protocol = protocol(port.protocol.as_deref())?;
        let number = u32::try_from(port.container_port).ok()?;
        Some((port.name.as_deref()?, protocol, number))
    })
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

struct Cluster<'a> {
    namespaces: BTreeMap<&'a str, Option<&'a Labels>>,
    pods: Vec<PodFacts<'a>>,
}

impl Cluster<'_> {
    fn add(&self, policy: &NetworkPolicy, model: &mut Model) {
        let Some(spec) = &policy.spec else { return };
        let namespace = policy.metadata.namespace.as_deref().unwrap_or("default");
        let selector = selector(spec.pod_selector.as_ref());
        let selected: Vec<_> = self
            .pods
            .iter()
            .filter(|pod| pod.namespace == namespace)
            .filter(|pod| {
                selector
                    .as_ref()
                    .is_none_or(|selector| selects(selector, pod.labels))
            })
            .collect();
        let types = spec.policy_types.as_deref().unwrap_or_default();
        // Without types, ingress is always isolated, and egress if there are egress rules.
        let is_of = |name: &str| types.iter().any(|its| its == name);
        if types.is_empty() || is_of("Ingress") {
            for pod in &selected {
                let rules = isolate(&mut model.ingress, pod);
                for rule in spec.ingress.iter().flatten() {
                    let peers = self.peers(namespace, rule.from.as_deref());
                    let ports = WantedPorts::of(rule.ports.as_deref());
                    rules.extend(ports.at(pod, peers));
                }
            }
        }
        let egress = spec.egress.as_deref().unwrap_or_default();
        if is_of("Egress") || (types.is_empty() && !egress.is_empty()) {
            let allowed: BTreeSet<_> = egress
                .iter()
                .flat_map(|rule| {
                    let peers = self.peers(namespace, rule.to.as_deref());
                    WantedPorts::of(rule.ports.as_deref()).at_peers(&self.pods, peers)
                })
                .collect();
            for pod in &selected {
                isolate(&mut model.egress, pod).extend(allowed.iter().cloned());
            }
        }
    }

    /// Returns the peers of a rule; every address if it names none.
    fn peers(&self, namespace: &str, peers: Option<&[NetworkPolicyPeer]>) -> Ranges {
        let Some(peers) = peers.filter(|peers| !peers.is_empty()) else {
            return Ranges::everything();
        };
        peers
            .iter()
            .flat_map(|peer| match &peer.ip_block {
                Some(block) => addresses(block).iter().collect::<Vec<_>>(),
                None => self.pods_of(namespace, peer),
            })
            .collect()
    }

    /// Addresses of the pods that a peer selects; without a namespace selector, in the policy's namespace.
    fn pods_of(&self, namespace: &str, peer: &NetworkPolicyPeer) -> Vec<(u32, u32)> {
        if peer.pod_selector.is_none() && peer.namespace_selector.is_none() {
            return Vec::new();
        }
        let selectors = (
            selector(peer.pod_selector.as_ref()),
            selector(peer.namespace_selector.as_ref()),
        );
        let (Some(of_pods), Some(of_namespaces)) = selectors else {
            return Vec::new();
        };
        let is_selected = |name: &str| {
            if peer.namespace_selector.is_none() {
                return name == namespace;
            }
            // A namespace that is not known yet may have any labels: `NotIn` would admit it.
            self.namespaces
                .get(name)
                .is_some_and(|labels| selects(&of_namespaces, *labels))
        };
        self.pods
            .iter()
            .filter(|pod| is_selected(pod.namespace) && selects(&of_pods, pod.labels))
            .map(|pod| (pod.address.into(), pod.address.into()))
            .collect()
    }
}

/// The pod's rules; at first none.
fn isolate<'a>(isolated: &'a mut Isolated, pod: &PodFacts) -> &'a mut BTreeSet<Rule> {
    isolated.entry(pod.address).or_default()
}

/// A parsed selector. A missing one selects everything; `None` means that it is invalid.
fn selector(selector: Option<&LabelSelector>) -> Option<Selector> {
    selector.cloned().unwrap_or_default().try_into().ok()
}

fn selects(selector: &Selector, labels: Option<&Labels>) -> bool {
    labels.map_or_else(
        || selector.matches(&Labels::new()),
        |labels| selector.matches(labels),
    )
}

/// IPv4 addresses of a block; empty if a part is invalid, because an exception could be lost.
fn addresses(block: &IPBlock) -> Ranges {
    let range = |net: &Ipv4Net| (net.network().into(), net.broadcast().into());
    let Ok(IpNet::V4(net)) = block.cidr.parse() else {
        return Ranges::default();
    };
    let except: Result<Vec<Ipv4Net>, _> = block
        .except
        .iter()
        .flatten()
        .map(|except| except.parse())
        .collect();
    let Ok(except) = except else {
        return Ranges::default();
    };
    let all: Ranges = [range(&net)].into_iter().collect();
    all.without(&except.iter().map(range).collect())
}

/// A rule's ports, with names that each pod resolves differently.
enum WantedPorts<'a> {
    All,
    Some {
        numbers: Vec<(Protocol, (u32, u32))>,
        names: Vec<(Protocol, &'a str)>,
    },
}

impl<'a> WantedPorts<'a> {
    fn of(ports: Option<&'a [NetworkPolicyPort]>) -> Self {
        let Some(ports) = ports.filter(|ports| !ports.is_empty()) else {
            return Self::All;
        };
        let (mut numbers, mut names) = (Vec::new(), Vec::new());
        for port in ports {
            let Some(protocol) = protocol(port.protocol.as_deref()) else {
                continue;
            };
            match (&port.port, port.end_port) {
                (None, None) => numbers.push((protocol, (0, LAST_PORT))),
                (Some(IntOrString::String(name)), None) => names.push((protocol, name.as_str())),
                (Some(IntOrString::Int(first)), last) => {
                    let last = u32::try_from(last.unwrap_or(*first));
                    if let (Ok(first), Ok(last)) = (u32::try_from(*first), last) {
                        numbers.push((protocol, (first, last.min(LAST_PORT))));
                    }
                }
                (None | Some(IntOrString::String(_)), Some(_)) => {}
            }
        }
        Self::Some { numbers, names }
    }

    /// For ingress: names are resolved by the selected pod.
    fn at(&self, pod: &PodFacts, peers: Ranges) -> Option<Rule> {
        let Self::Some { numbers, names } = self else {
            return rule(peers, Ports::All);
        };
        let named = names.iter().flat_map(|(protocol, name)| {
            pod.numbers(name, *protocol)
                .map(|number| (*protocol, (number, number)))
        });
        rule(peers, only(numbers.iter().copied().chain(named)))
    }

    /// For egress: names are resolved by each peer pod; an address without a pod has no named ports.
    fn at_peers(&self, pods: &[PodFacts], peers: Ranges) -> Vec<Rule> {
        let Self::Some { numbers, names } = self else {
            return rule(peers, Ports::All).into_iter().collect();
        };
        let mut named: BTreeMap<(Protocol, u32), Vec<(u32, u32)>> = BTreeMap::new();
        for pod in pods {
            let address = u32::from(pod.address);
            for (protocol, name) in names.iter().filter(|_| peers.contains(address)) {
                for number in pod.numbers(name, *protocol) {
                    named
                        .entry((*protocol, number))
                        .or_default()
                        .push((address, address));
                }
            }
        }
        let named = named
            .into_iter()
            .filter_map(|((protocol, number), addresses)| {
                rule(
                    addresses.into_iter().collect(),
                    only([(protocol, (number, number))].into_iter()),
                )
            });
        rule(peers, only(numbers.iter().copied()))
            .into_iter()
            .chain(named)
            .collect()
    }
}

fn only(ports: impl Iterator<Item = (Protocol, (u32, u32))>) -> Ports {
    let mut ranges: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (protocol, range) in ports {
        ranges.entry(protocol).or_default().push(range);
    }
    Ports::Only(
        ranges
            .into_iter()
            .map(|(protocol, ranges)| (protocol, ranges.into_iter().collect::<Ranges>()))
            .filter(|(_, ranges)| !ranges.is_empty())
            .collect(),
    )
}

/// `None` if the rule could never allow anything.
fn rule(peers: Ranges, ports: Ports) -> Option<Rule> {
    let is_idle =
        peers.is_empty() || matches!(&ports, Ports::Only(protocols) if protocols.is_empty());
    (!is_idle).then_some(Rule { peers, ports })
}
