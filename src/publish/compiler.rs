//! Compiles a firewall to the snapshot of its proxies. Resources that rules do not affect are compiled once and kept.

use envoy_types::pb::envoy::config::listener::v3::Listener;

use crate::compile::envoy::{self, Proxy};
use crate::policy::Firewall;
use crate::xds::{Resource, Snapshot};

/// Compiles successive firewalls of one node.
#[derive(Debug, Default)]
pub struct Compiler {
    fixed: Option<Fixed>,
}

/// The parts that rules do not affect, and the inputs that they were compiled from.
#[derive(Debug)]
struct Fixed {
    firewall: Firewall,
    proxy: Proxy,
    clusters_and_routes: Vec<Resource>,
    /// Of these, rules affect only the choice of a filter chain.
    listeners: Vec<Listener>,
    encoded_listeners: Vec<Resource>,
}

impl Compiler {
    /// Returns the snapshot of a firewall. `more` are resources that are not compiled from it, such as the vault's
    /// endpoints.
    pub fn snapshot(
        &mut self,
        firewall: &Firewall,
        proxy: &Proxy,
        more: Vec<Resource>,
    ) -> Snapshot {
        let shape = shape(firewall);
        let mut fixed = match self.fixed.take() {
            Some(fixed) if fixed.firewall == shape && fixed.proxy == *proxy => fixed,
            _ => Fixed::new(shape, proxy.clone()),
        };
        if envoy::set_callers(&mut fixed.listeners, firewall) {
            fixed.encoded_listeners = fixed.listeners.iter().map(Resource::new).collect();
        }
        let rules = envoy::extensions(firewall);
        let rules = rules
            .iter()
            .map(|rules| Resource::new(rules).with_attempt(envoy::ATTEMPT));
        let kept = [&fixed.clusters_and_routes, &fixed.encoded_listeners];
        let kept = kept.into_iter().flatten().cloned();
        let snapshot = Snapshot::new(kept.chain(rules).chain(more).collect());
        self.fixed = Some(fixed);
        snapshot
    }
}

impl Fixed {
    fn new(firewall: Firewall, proxy: Proxy) -> Self {
        let configuration = envoy::configuration(&firewall, &firewall.table(), &proxy);
        let clusters = configuration.clusters.iter().map(Resource::new);
        let routes = configuration.routes.iter().map(Resource::new);
        Self {
            clusters_and_routes: clusters.chain(routes).collect(),
            encoded_listeners: configuration.listeners.iter().map(Resource::new).collect(),
            listeners: configuration.listeners,
            firewall,
            proxy,
        }
    }
}

/// A firewall without its rules. The pattern names every field, so that a new field has to be assigned to one side.
fn shape(firewall: &Firewall) -> Firewall {
    let Firewall {
        vault,
        port,
        policies: _,
        api,
        engines,
        auth_mounts,
        namespaces,
        default_action: _,
        virtual_networks: _,
        ip_rules: _,
        peers: _,
        client_address,
        management,
        token_creation,
        denial,
        access_log,
    } = firewall;
    Firewall {
        api: *api,
        engines: engines.clone(),
        auth_mounts: auth_mounts.clone(),
        namespaces: namespaces.clone(),
        client_address: client_address.clone(),
        management: *management,
        token_creation: *token_creation,
        denial: *denial,
        access_log: *access_log,
        ..Firewall::deny_all(vault.clone(), *port)
    }
}
