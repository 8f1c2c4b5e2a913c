//! From a firewall to the snapshot of its proxies, compiling again only what a change touches.

use crate::compile::envoy::{self, Configuration, Proxy};
use crate::policy::Firewall;
use crate::xds::{Resource, Snapshot};

/// Compiles the firewall of one vault, again and again.
#[derive(Debug, Default)]
pub struct Compiler {
    /// The part that rules do not touch, and what it was compiled from.
    fixed: Option<(Firewall, Proxy, Vec<Resource>)>,
}

impl Compiler {
    /// The snapshot of a firewall. `more` are resources that are not compiled from it, such as the vault's addresses.
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
        let rules = rules.iter().map(Resource::new);
        let snapshot = Snapshot::new(fixed.iter().cloned().chain(rules).chain(more).collect());
        self.fixed = Some((shape, proxy.clone(), fixed));
        snapshot
    }
}

/// A firewall without what only its rules say. Every field is named, so that a new one has to be given a side.
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
