//! Whether packets of a caller reach the proxies of a vault with `denial: Drop`, whose `NetworkPolicy` drops all that
//! it does not select. Pure; for explanations: Envoy decides without it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::account_label::account_label_value;
use super::client_address::{ipv4, is_listed};
use super::decide::Listener;
use super::identity::ObjectName;
use super::model::{Firewall, Peer};
use super::selector::Selector;
use crate::api::{ManagementAccess, NAMESPACE_NAME_LABEL, SERVICE_ACCOUNT_LABEL};

/// Whether packets of a caller reach the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// By its address, or because nothing is dropped.
    Yes,
    /// Only if its pod has the label of its service account.
    ByAccountLabel,
    /// No: it gets no answer.
    No,
}

/// Returns whether packets from `peer` reach the proxies. `account` is the service account of the pod at that address.
pub fn admitted(
    firewall: &Firewall,
    listener: Listener,
    peer: IpAddr,
    account: Option<&ObjectName>,
) -> Admitted {
    let is_open = match listener {
        Listener::Data => false,
        Listener::Management => firewall.management != ManagementAccess::NetworkRules,
    };
    if is_open || !firewall.drops() || has_address(firewall, peer) {
        return Admitted::Yes;
    }
    let is_selected = |account| {
        let mut services = firewall.service_peers.iter();
        services.any(|service| selects(service, account))
    };
    if account.is_some_and(is_selected) {
        Admitted::ByAccountLabel
    } else {
        Admitted::No
    }
}

/// Whether a rule or the list of trusted proxies has the address.
fn has_address(firewall: &Firewall, peer: IpAddr) -> bool {
    let rules = [&firewall.virtual_networks, &firewall.ip_rules];
    let has = |address| rules.iter().any(|rules| rules.find(address).is_some());
    let proxies = firewall.client_address.trusted_proxies();
    ipv4(peer).is_some_and(has) || proxies.is_some_and(|proxies| is_listed(proxies, peer))
}

/// Whether a selector of a trusted service's pods selects a labelled pod of the account.
fn selects(service: &Peer, account: &ObjectName) -> bool {
    let Peer::Pods { namespaces, pods } = service else {
        return false;
    };
    let has = |selector, label: &str, value| {
        Selector::new(selector).matches(&BTreeMap::from([(label.to_owned(), value)]))
    };
    has(namespaces, NAMESPACE_NAME_LABEL, account.namespace.clone())
        && has(
            pods,
            SERVICE_ACCOUNT_LABEL,
            account_label_value(&account.name),
        )
}
