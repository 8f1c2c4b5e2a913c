//! The whole configuration of a proxy: all resources of one firewall.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::listener::v3::Listener as EnvoyListener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;

use super::proxy::Proxy;
use super::{client, cluster, decision, grants, http, listener, rbac, routes, token};
use crate::policy::{Firewall, Listener};
use crate::vault_api::Table;

/// All resources that the proxies of one firewall receive, except the vault's [`endpoints`](super::endpoints).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// Clusters, for CDS.
    pub clusters: Vec<Cluster>,
    /// Listeners, for LDS.
    pub listeners: Vec<EnvoyListener>,
    /// Route configurations, for RDS.
    pub routes: Vec<RouteConfiguration>,
    /// Configurations of HTTP filters, for ECDS.
    pub extensions: Vec<TypedExtensionConfig>,
}

/// Compiles a firewall. `table` is the firewall's own. Equal input gives equal bytes.
pub fn configuration(firewall: &Firewall, table: &Table, proxy: &Proxy) -> Configuration {
    let sides = [Listener::Data, Listener::Management];
    Configuration {
        clusters: cluster::clusters(proxy),
        listeners: sides
            .map(|side| listener::listener(firewall, proxy, side, &listener::Delivery::Ads))
            .into(),
        routes: vec![routes::route_configuration(table, &firewall.client_address)],
        extensions: extensions(firewall),
    }
}

/// The resources that change with a rule, with a trusted proxy, or with an identity.
pub fn extensions(firewall: &Firewall) -> Vec<TypedExtensionConfig> {
    let sides = [Listener::Data, Listener::Management];
    let proxies = firewall.client_address.trusted_proxies();
    let client = proxies.map(|proxies| http::extension(client::RESOURCE, &client::filter(proxies)));
    let needs_identities = sides
        .iter()
        .any(|side| grants::needs_identities(firewall, *side));
    let pods = needs_identities.then(|| http::extension(grants::PODS, &grants::pods(firewall)));
    let facts =
        rbac::Fact::ALL.map(|fact| http::extension(fact.resource(), &fact.filter(firewall)));
    let services = grants::has_bypass(firewall)
        .then(|| http::extension(grants::SERVICES, &grants::services(firewall)));
    let decisions = sides.map(|side| {
        http::extension(
            decision::decision_resource(side),
            &decision::decision(firewall, side),
        )
    });
    let tokens = firewall.tokens.as_ref().map(|rules| {
        [
            http::extension(token::KEYS, &token::keys(rules)),
            http::extension(token::IDENTITY, &token::identity(rules)),
        ]
    });
    let tokens = tokens.into_iter().flatten();
    let before = client.into_iter().chain(tokens).chain(pods);
    let facts = facts.into_iter().chain(services);
    before.chain(facts).chain(decisions).collect()
}
