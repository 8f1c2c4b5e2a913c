//! Compiles a firewall to the snapshot of its proxies. Resources that rules do not affect are compiled once and kept.

use std::time::Duration;

use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use prost::Message;

use crate::clock::Uptime;
use crate::compile::envoy::{self, Proxy};
use crate::policy::token::TokenRules;
use crate::policy::{ClientAddressSource, Firewall, TrustedProxies};
use crate::xds::{Resource, Snapshot};

/// Shortest time between two changes of the listeners by rules. An update of a listener costs Envoy several times as
/// much as one of a filter, and no decision depends on it.
const PAUSE: Duration = Duration::from_secs(5);

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
    listeners: Listeners,
}

/// The listeners. Of these, rules affect only the choice of a filter chain.
#[derive(Debug)]
struct Listeners {
    /// Each listener without that choice, and the version of that.
    fixed: Vec<(Listener, String)>,
    matcher: Matcher,
    encoded: Vec<Resource>,
    /// When the listeners changed last.
    changed: Uptime,
    /// Whether a change waits for the end of [`PAUSE`].
    waits: bool,
}

impl Compiler {
    /// Returns the snapshot of a firewall at a time. `more` are resources that are not compiled from it, such as the
    /// vault's endpoints.
    pub fn snapshot(
        &mut self,
        firewall: &Firewall,
        proxy: &Proxy,
        more: Vec<Resource>,
        now: Uptime,
    ) -> Snapshot {
        let shape = shape(firewall);
        let mut fixed = match self.fixed.take() {
            Some(fixed) if fixed.firewall == shape && fixed.proxy == *proxy => fixed,
            _ => Fixed::new(shape, proxy.clone()),
        };
        let matcher = envoy::filter_chain_matcher(firewall);
        fixed.listeners.choose(matcher, now);
        let rules = envoy::extensions(firewall);
        let rules = rules
            .iter()
            .map(|rules| Resource::new(rules).with_attempt(envoy::ATTEMPT));
        let kept = [&fixed.clusters_and_routes, &fixed.listeners.encoded];
        let kept = kept.into_iter().flatten().cloned();
        let snapshot = Snapshot::new(kept.chain(rules).chain(more).collect());
        self.fixed = Some(fixed);
        snapshot
    }

    /// Time at which the snapshot must be made again, because its listeners have not followed the addresses yet.
    pub fn due(&self) -> Option<Uptime> {
        let listeners = &self.fixed.as_ref()?.listeners;
        listeners.waits.then_some(listeners.changed + PAUSE)
    }
}

impl Fixed {
    fn new(firewall: Firewall, proxy: Proxy) -> Self {
        let configuration = envoy::configuration(&firewall, &firewall.table(), &proxy);
        let clusters = configuration.clusters.iter().map(Resource::new);
        let routes = configuration.routes.iter().map(Resource::new);
        Self {
            clusters_and_routes: clusters.chain(routes).collect(),
            listeners: Listeners::new(configuration.listeners),
            firewall,
            proxy,
        }
    }
}

impl Listeners {
    fn new(listeners: Vec<Listener>) -> Self {
        let fixed = listeners.into_iter().map(|mut listener| {
            listener.filter_chain_matcher = None;
            let version = Resource::new(&listener).version;
            (listener, version)
        });
        Self {
            fixed: fixed.collect(),
            matcher: Matcher::default(),
            encoded: Vec::new(),
            changed: Uptime::ZERO,
            waits: false,
        }
    }

    fn choose(&mut self, matcher: Matcher, now: Uptime) {
        if !self.encoded.is_empty() {
            let is_changed = self.matcher != matcher;
            self.waits = is_changed && now < self.changed + PAUSE;
            if !is_changed || self.waits {
                return;
            }
        }
        self.changed = now;
        let choice = matcher.encode_to_vec();
        let encode = |(listener, version): &mut (Listener, String)| {
            listener.filter_chain_matcher = Some(matcher.clone());
            // The listener is large, and the rest of it has not changed: its version stands for it.
            Resource::with_version(listener, &[version.as_bytes(), &choice].concat())
        };
        self.encoded = self.fixed.iter_mut().map(encode).collect();
        self.matcher = matcher;
    }
}

/// A firewall without its rules, trusted proxies and identities. The pattern names every field, so that a new field has
/// to be assigned to one side.
fn shape(firewall: &Firewall) -> Firewall {
    let Firewall {
        vault,
        port,
        policies: _,
        api,
        engines,
        auth_mounts,
        namespaces,
        mode: _,
        default_action: _,
        virtual_networks: _,
        ip_rules: _,
        peers: _,
        service_peers: _,
        grants,
        tokens,
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
        grants: grants.shape(),
        tokens: tokens.as_ref().map(|_| TokenRules::default()),
        client_address: match client_address {
            ClientAddressSource::Direct => ClientAddressSource::Direct,
            ClientAddressSource::XForwardedFor { .. } => ClientAddressSource::XForwardedFor {
                trusted_proxies: TrustedProxies::default(),
            },
        },
        management: *management,
        token_creation: *token_creation,
        denial: *denial,
        access_log: *access_log,
        ..Firewall::deny_all(vault.clone(), *port)
    }
}
