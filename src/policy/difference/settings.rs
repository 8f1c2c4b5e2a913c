//! Settings of a firewall as texts, to show which of them a change adds and removes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::policy::grants::Identity;
use crate::policy::model::{Firewall, TrustedProxies};
use crate::vault_api::EngineNamespace;

/// A setting that differs.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Name of the setting.
    pub setting: &'static str,
    /// Values that only the old firewall has.
    pub removed: Vec<String>,
    /// Values that only the new firewall has.
    pub added: Vec<String>,
}

/// Returns the settings that differ; `None` is a vault without a firewall.
pub fn settings(old: Option<&Firewall>, new: Option<&Firewall>) -> Vec<Setting> {
    let (old, new) = (
        old.map(values).unwrap_or_default(),
        new.map(values).unwrap_or_default(),
    );
    let none = BTreeSet::new();
    let names: BTreeSet<&'static str> = old.keys().chain(new.keys()).copied().collect();
    let differing = names.into_iter().map(|setting| {
        let (old, new) = (
            old.get(setting).unwrap_or(&none),
            new.get(setting).unwrap_or(&none),
        );
        Setting {
            setting,
            removed: old.difference(new).cloned().collect(),
            added: new.difference(old).cloned().collect(),
        }
    });
    differing
        .filter(|setting| !setting.removed.is_empty() || !setting.added.is_empty())
        .collect()
}

fn values(firewall: &Firewall) -> BTreeMap<&'static str, BTreeSet<String>> {
    let one = |text: &str| BTreeSet::from([text.to_owned()]);
    let grants = &firewall.grants;
    let listed = |holders: &BTreeSet<Identity>| holders.iter().map(Identity::described).collect();
    let scenarios = grants.services().flat_map(|grant| {
        let name = grant.name();
        let scenarios = grant.service.scenarios.iter();
        scenarios.map(move |scenario| {
            let operations: Vec<&str> = scenario.operations.iter().map(String::as_str).collect();
            format!("{name}/{} ({})", scenario.name, operations.join(", "))
        })
    });
    let identities = grants.services().flat_map(|grant| {
        let name = grant.name();
        grant
            .holders
            .iter()
            .map(move |holder| format!("{name}: {}", holder.described()))
    });
    let proxies = firewall.client_address.trusted_proxies();
    let proxies = proxies.map(TrustedProxies::addresses).unwrap_or_default();
    let engines = firewall.engines.iter().map(|engine| {
        let place = match &engine.namespace {
            EngineNamespace::Root => String::new(),
            EngineNamespace::EveryListed => " in every listed namespace".to_owned(),
            EngineNamespace::Named(name) => format!(" in namespace {name}"),
        };
        format!("{} ({:?}){place}", engine.path, engine.engine_type)
    });
    BTreeMap::from([
        ("mode", one(&format!("{:?}", firewall.mode))),
        ("defaultAction", one(firewall.default_action.name())),
        ("denial", one(&format!("{:?}", firewall.denial))),
        (
            "management.access",
            one(&format!("{:?}", firewall.management)),
        ),
        (
            "management.tokenCreation",
            one(&format!("{:?}", firewall.token_creation)),
        ),
        (
            "management.operators",
            grants.operators.as_ref().map(listed).unwrap_or_default(),
        ),
        (
            "management.deployers",
            grants.deployers.as_ref().map(listed).unwrap_or_default(),
        ),
        (
            "bypass",
            one(if grants.services.is_some() {
                "TrustedServices"
            } else {
                "None"
            }),
        ),
        ("trustedServices.scenarios", scenarios.collect()),
        ("trustedServices.identities", identities.collect()),
        (
            "clientAddress.source",
            one(if firewall.client_address.trusted_proxies().is_some() {
                "XForwardedFor"
            } else {
                "Direct"
            }),
        ),
        (
            "clientAddress.trustedProxies",
            proxies.iter().map(ToString::to_string).collect(),
        ),
        ("vault.api", one(&format!("{:?}", firewall.api))),
        ("vault.engines", engines.collect()),
        (
            "vault.authMounts",
            firewall.auth_mounts.iter().cloned().collect(),
        ),
        (
            "vault.namespaces",
            firewall.namespaces.iter().cloned().collect(),
        ),
        (
            "accessLog.level",
            one(&format!("{:?}", firewall.access_log)),
        ),
        ("targetRef.port", one(&firewall.port.to_string())),
        ("policies", firewall.policies.iter().cloned().collect()),
    ])
}
