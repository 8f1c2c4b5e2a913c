//! Desired objects of a vault: the output of the compilers, with the current certificate of its proxies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use crate::compile::envoy::{CERTIFICATE_FILE, KEY_FILE, MetricsPort};
use crate::compile::kubernetes::network_policy::earlier::{current_policy, earlier_policy};
use crate::compile::kubernetes::network_policy::firewall_policy;
use crate::compile::kubernetes::proxies::{self, ProxyInputs};
use crate::compile::{ProxyPorts, firewall_name};
use crate::controller::firewall::earlier::EarlierPods;
use crate::controller::firewall::state::{StoredPolicy, VaultEntry};
use crate::controller::options::LocalProxy;
use crate::index::ObjectName;
use crate::policy::{ProxySettings, VaultId};
use crate::runtime::apply::GeneratedKind;
use crate::transport::certificates::{Authority, Identity};

/// Compiles the desired objects of vaults, with the settings that all vaults have in common.
#[derive(Debug)]
pub(crate) struct DesiredObjects {
    /// Reference of Envoy's image.
    image: String,
    /// Host and port at which proxies connect to the operator.
    xds: (String, u16),
    local: BTreeMap<VaultId, LocalProxy>,
    /// Bootstrap files by vault. They take most of the time, and depend on the ports and the settings alone.
    bootstraps: Mutex<BTreeMap<VaultId, (ProxyPorts, ProxySettings, Files)>>,
}

/// Content of files by name.
type Files = BTreeMap<String, String>;

/// Desired objects of one vault for one stage of its reconcile.
#[derive(Default)]
pub(crate) struct Desired {
    /// Objects as JSON, in the order of the writes.
    pub(crate) objects: Vec<(GeneratedKind, Value)>,
    /// Policies of earlier pods that are not needed any more.
    pub(crate) superfluous: Vec<ObjectName>,
    /// Expiry of the proxies' certificate, if it is one of the objects.
    pub(crate) certificate_expiry: Option<Timestamp>,
    /// Reason why an object is missing here.
    pub(crate) problem: Option<String>,
}

impl DesiredObjects {
    pub(crate) fn new(
        image: String,
        xds: (String, u16),
        local: BTreeMap<VaultId, LocalProxy>,
    ) -> Self {
        Self {
            image,
            xds,
            local,
            bootstraps: Mutex::default(),
        }
    }

    /// Removes a vault that no policy targets any more.
    pub(crate) fn remove(&self, vault: &VaultId) {
        self.bootstraps().remove(vault);
    }

    fn bootstraps(&self) -> MutexGuard<'_, BTreeMap<VaultId, (ProxyPorts, ProxySettings, Files)>> {
        // The map is consistent after every statement, so a poisoned lock can be used.
        self.bootstraps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the address of a vault's proxies for clients, `HOST:PORT`.
    pub(crate) fn endpoint(&self, vault: &VaultId, port: u16) -> String {
        match self.local.get(vault) {
            Some(local) => format!("{}:{port}", local.listen),
            None => format!(
                "{}.{}.svc:{port}",
                firewall_name(&vault.service),
                vault.namespace
            ),
        }
    }

    /// Returns the network policies of a vault. An error is a defect of this program.
    pub(crate) fn isolation(
        vault: &VaultId,
        entry: &VaultEntry,
        policies: &[Arc<StoredPolicy>],
        earlier: EarlierPods,
    ) -> Result<Desired, String> {
        let mut desired = Desired {
            superfluous: earlier.superfluous,
            ..Desired::default()
        };
        let Ok(service) = &entry.target else {
            return Ok(desired);
        };
        // The earlier pods first: the vault's policy still selects them until it is written.
        let isolated = earlier.isolated.into_iter();
        let mut network_policies: Vec<_> = isolated
            .map(|selector| earlier_policy(vault, service, selector))
            .collect();
        network_policies.push(current_policy(vault, service));
        match firewall_policy(&entry.resolution.resolution.firewall) {
            Ok(policy) => network_policies.push(policy),
            // The existing one stays, so that nothing is opened.
            Err(error) => desired.problem = Some(error.to_string()),
        }
        let owners = owners(policies);
        for mut policy in network_policies {
            policy.metadata.owner_references = Some(owners.clone());
            desired
                .objects
                .push((GeneratedKind::NetworkPolicy, json(&policy)?));
        }
        Ok(desired)
    }

    /// Returns the objects of a vault's proxies. `secret` is the existing Secret. An error is a defect of this program.
    pub(crate) fn proxies(
        &self,
        vault: &VaultId,
        entry: &VaultEntry,
        policies: &[Arc<StoredPolicy>],
        authority: &Authority,
        secret: Option<&Value>,
        now: Timestamp,
    ) -> Result<Desired, String> {
        let owners = owners(policies);
        let (identity, expiry) = identity(vault, secret, authority, now)?;
        let resolution = &entry.resolution.resolution;
        let made = proxies::objects(&ProxyInputs {
            vault,
            ports: entry.ports(),
            settings: &resolution.proxy,
            image: &self.image,
            files: self.files(vault, entry)?,
            identity: &identity,
            owners: &owners,
        });
        Ok(Desired {
            objects: vec![
                (GeneratedKind::ServiceAccount, json(&made.service_account)?),
                (GeneratedKind::Secret, json(&made.secret)?),
                (GeneratedKind::ConfigMap, json(&made.config_map)?),
                (GeneratedKind::Service, json(&made.service)?),
                (GeneratedKind::Deployment, json(&made.deployment)?),
                (
                    GeneratedKind::PodDisruptionBudget,
                    json(&made.pod_disruption_budget)?,
                ),
            ],
            superfluous: Vec::new(),
            certificate_expiry: Some(expiry),
            problem: None,
        })
    }

    /// Returns the bootstrap files of the proxies.
    fn files(&self, vault: &VaultId, entry: &VaultEntry) -> Result<Files, String> {
        let settings = &entry.resolution.resolution.proxy;
        let ports = entry.ports();
        if let Some((known_ports, known_settings, files)) = self.bootstraps().get(vault)
            && (known_ports, known_settings) == (&ports, settings)
        {
            return Ok(files.clone());
        }
        let in_cluster = MetricsPort::in_cluster(ports);
        let metrics = match self.local.get(vault) {
            Some(local) => in_cluster.on(local.listen),
            None => in_cluster,
        };
        let (host, port) = &self.xds;
        let files = proxies::files(vault, metrics, settings, host, *port)
            .map_err(|error| error.to_string())?;
        self.bootstraps()
            .insert(vault.clone(), (ports, settings.clone(), files.clone()));
        Ok(files)
    }
}

/// Returns the owner references of the objects: the policies of the vault.
fn owners(policies: &[Arc<StoredPolicy>]) -> Vec<OwnerReference> {
    let names = policies.iter();
    proxies::owner_references(names.map(|policy| (policy.id.name.clone(), policy.uid.clone())))
}

/// Returns the proxies' identity and the expiry of its certificate: the stored one while it is valid and not due for
/// renewal, a new one otherwise.
fn identity(
    vault: &VaultId,
    secret: Option<&Value>,
    authority: &Authority,
    now: Timestamp,
) -> Result<(proxies::Identity, Timestamp), String> {
    let stored = |file: &str| -> Option<String> {
        let text = secret?.get("data")?.get(file)?;
        let bytes: ByteString = serde_json::from_value(text.clone()).ok()?;
        String::from_utf8(bytes.0).ok()
    };
    let certificate = stored(CERTIFICATE_FILE).zip(stored(KEY_FILE));
    let current = certificate.and_then(|(certificate, key)| {
        let identity = Identity::Proxy(vault.clone());
        let lifetime = authority.lifetime(&certificate, &key, &identity, now)?;
        (now < lifetime.renew_at).then_some((certificate, key, lifetime.not_after))
    });
    let (certificate, key, expiry) = if let Some(current) = current {
        current
    } else {
        let issued = authority
            .proxy(vault, now)
            .map_err(|error| error.to_string())?;
        (issued.certificate_pem, issued.key_pem, issued.not_after)
    };
    let identity = proxies::Identity {
        certificate,
        key,
        authority: authority.ca_pem().to_owned(),
    };
    Ok((identity, expiry))
}

fn json<K: serde::Serialize>(object: &K) -> Result<Value, String> {
    serde_json::to_value(object).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::clock::after;
    use crate::transport::certificates::LEAF_LIFE;

    #[test]
    fn a_valid_certificate_is_kept_until_its_renewal() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let vault = VaultId {
            namespace: "team-a".into(),
            service: "openbao".into(),
        };
        let authority = Authority::generate(now).unwrap();
        let (first, end) = identity(&vault, None, &authority, now).unwrap();
        assert_eq!(end, after(now, LEAF_LIFE));
        let base64 = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
        let secret = json!({"data": {
            CERTIFICATE_FILE: base64(&first.certificate),
            KEY_FILE: base64(&first.key),
        }});
        let at = |moment| identity(&vault, Some(&secret), &authority, moment).unwrap();
        let (kept, kept_end) = at(after(now, LEAF_LIFE / 2));
        assert_eq!((&kept.certificate, kept_end), (&first.certificate, end));
        let late = after(now, LEAF_LIFE / 4 * 3);
        let (new, new_end) = at(late);
        assert_ne!(new.certificate, first.certificate);
        assert_eq!(new_end, after(late, LEAF_LIFE));
    }
}
