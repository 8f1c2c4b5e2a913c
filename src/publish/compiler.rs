//! Compiles a firewall to the snapshot of its proxies. Resources that rules do not affect are compiled once and kept.

use crate::compile::envoy::{self, Configuration, Proxy};
use crate::policy::Firewall;
use crate::xds::{Resource, Snapshot};

/// Compiles successive firewalls of one node.
#[derive(Debug, Default)]
pub struct Compiler {
    /// The resources that rules do not affect, and the inputs that they were compiled from.
    fixed: Option<(Firewall, Proxy, Vec<Resource>)>,
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
        let fixed = match self.fixed.take() {
            Some((of, by, resources)) if of == shape && by == *proxy => resources,
            _ => fixed(&envoy::configuration(firewall, &firewall.table(), proxy)),
        };
        let rules = envoy::extensions(firewall);
        let rules = rules
            .iter()
            .map(|rules| Resource::new(rules).with_attempt(envoy::ATTEMPT));
        let snapshot = Snapshot::new(fixed.iter().cloned().chain(rules).chain(more).collect());
        self.fixed = Some((shape, proxy.clone(), fixed));
        snapshot
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
        namespaces,
        default_action: _,
        virtual_networks: _,
        ip_rules: _,
        peers: _,
        client_address,
        management,
        denial,
        access_log,
    } = firewall;
    Firewall {
        api: *api,
        engines: engines.clone(),
        namespaces: namespaces.clone(),
        client_address: client_address.clone(),
        management: *management,
        denial: *denial,
        access_log: *access_log,
        ..Firewall::deny_all(vault.clone(), *port)
    }
}

fn fixed(configuration: &Configuration) -> Vec<Resource> {
    let clusters = configuration.clusters.iter().map(Resource::new);
    let listeners = configuration.listeners.iter().map(Resource::new);
    clusters
        .chain(listeners)
        .chain(configuration.routes.iter().map(Resource::new))
        .collect()
}
