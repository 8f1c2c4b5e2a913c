//! What has to be there for a vault: the compilers' objects, with the identity that its proxies have now.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde_json::Value;

use crate::clock::Clock;
use crate::compile::envoy::{MetricsPort, Tls};
use crate::compile::kubernetes::fleet::{self, FleetInputs};
use crate::compile::{ProxyPorts, firewall_name, network_policies, vault_policy};
use crate::controller::LocalProxy;
use crate::controller::firewall::state::{PolicyEntry, VaultEntry};
use crate::index::ObjectName;
use crate::policy::VaultId;
use crate::runtime::generated::{ChildKind, Children};
use crate::transport::certificates::{Authority, Identity};

/// What all fleets have in common.
#[derive(Debug)]
pub(crate) struct FleetMaker {
    /// Envoy's image.
    image: String,
    /// Where proxies find the operator.
    xds: (String, u16),
    local: BTreeMap<VaultId, LocalProxy>,
    /// What proxies are started with, which is the most work to make and changes with the ports and TLS alone.
    started_with: Mutex<BTreeMap<VaultId, (ProxyPorts, Tls, Files)>>,
}

/// Files by name.
type Files = BTreeMap<String, String>;

/// What has to be there.
pub(crate) struct Wanted {
    /// The objects, in the order of writing.
    pub(crate) objects: Vec<(ChildKind, Value)>,
    /// When the proxies' certificate ends.
    pub(crate) certificate_expiry: Timestamp,
    /// What cannot be made, in words.
    pub(crate) problem: Option<String>,
}

impl FleetMaker {
    pub(crate) fn new(
        image: String,
        xds: (String, u16),
        local: BTreeMap<VaultId, LocalProxy>,
    ) -> Self {
        Self {
            image,
            xds,
            local,
            started_with: Mutex::default(),
        }
    }

    /// Forgets a vault that no policy is about any more.
    pub(crate) fn forget(&self, vault: &VaultId) {
        self.started_with().remove(vault);
    }

    fn started_with(&self) -> MutexGuard<'_, BTreeMap<VaultId, (ProxyPorts, Tls, Files)>> {
        // Whole at every moment, so a panic elsewhere while it was held does no harm.
        self.started_with
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Where clients reach an endpoint of a vault's proxies.
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

    /// Makes the objects; an error is a defect of this program, in words.
    pub(crate) fn make(
        &self,
        vault: &VaultId,
        entry: &VaultEntry,
        policies: &[PolicyEntry],
        authority: &Authority,
        children: &Children,
        clock: &Clock,
    ) -> Result<Wanted, String> {
        let owners = fleet::owner_references(
            policies
                .iter()
                .map(|policy| (policy.stored.id.name.clone(), policy.stored.uid.clone())),
        );
        let name = ObjectName {
            namespace: vault.namespace.clone(),
            name: firewall_name(&vault.service),
        };
        let (identity, expiry) = identity(
            vault,
            children.get(ChildKind::Secret, &name).as_ref(),
            authority,
            clock.now(),
        )?;
        let resolution = &entry.resolution.resolution;
        let made = fleet::objects(&FleetInputs {
            vault,
            ports: entry.ports,
            settings: &resolution.proxy,
            image: &self.image,
            files: self.files(vault, entry)?,
            identity: &identity,
            owners: &owners,
        });
        let mut problem = None;
        let walls = match &entry.target {
            Ok(service) => {
                network_policies(&resolution.firewall, service).unwrap_or_else(|error| {
                    problem = Some(error.to_string());
                    vec![vault_policy(vault, service)]
                })
            }
            Err(_) => Vec::new(),
        };
        let mut objects = Vec::new();
        for mut wall in walls {
            wall.metadata.owner_references = Some(owners.clone());
            objects.push((ChildKind::NetworkPolicy, json(&wall)?));
        }
        objects.push((ChildKind::ServiceAccount, json(&made.service_account)?));
        objects.push((ChildKind::Secret, json(&made.secret)?));
        objects.push((ChildKind::ConfigMap, json(&made.config_map)?));
        objects.push((ChildKind::Service, json(&made.service)?));
        objects.push((ChildKind::Deployment, json(&made.deployment)?));
        objects.push((
            ChildKind::PodDisruptionBudget,
            json(&made.pod_disruption_budget)?,
        ));
        Ok(Wanted {
            objects,
            certificate_expiry: expiry,
            problem,
        })
    }

    /// What the proxies are started with.
    fn files(&self, vault: &VaultId, entry: &VaultEntry) -> Result<Files, String> {
        let tls = fleet::tls(vault, &entry.resolution.resolution.proxy);
        if let Some((ports, known, files)) = self.started_with().get(vault)
            && (ports, known) == (&entry.ports, &tls)
        {
            return Ok(files.clone());
        }
        let in_cluster = MetricsPort::in_cluster(entry.ports);
        let metrics = match self.local.get(vault) {
            Some(local) => in_cluster.on(local.listen),
            None => in_cluster,
        };
        let (host, port) = &self.xds;
        let files =
            fleet::files(vault, metrics, &tls, host, *port).map_err(|error| error.to_string())?;
        self.started_with()
            .insert(vault.clone(), (entry.ports, tls, files.clone()));
        Ok(files)
    }
}

/// The identity that the proxies have, as long as it is good, a new one otherwise; and when its certificate ends.
fn identity(
    vault: &VaultId,
    secret: Option<&Value>,
    authority: &Authority,
    now: Timestamp,
) -> Result<(fleet::Identity, Timestamp), String> {
    let stored = |file: &str| -> Option<String> {
        let text = secret?.get("data")?.get(file)?;
        let bytes: ByteString = serde_json::from_value(text.clone()).ok()?;
        String::from_utf8(bytes.0).ok()
    };
    let certificate = stored(fleet::CERTIFICATE_FILE).zip(stored(fleet::KEY_FILE));
    let good = certificate.and_then(|(certificate, key)| {
        let identity = Identity::Proxy(vault.clone());
        let lifetime = authority.lifetime(&certificate, &key, &identity, now)?;
        (now < lifetime.renew_at).then_some((certificate, key, lifetime.not_after))
    });
    let (certificate, key, expiry) = if let Some(good) = good {
        good
    } else {
        let issued = authority
            .proxy(vault, now)
            .map_err(|error| error.to_string())?;
        (issued.certificate_pem, issued.key_pem, issued.not_after)
    };
    let identity = fleet::Identity {
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
    fn a_good_certificate_stays_and_its_end_is_known() {
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
            fleet::CERTIFICATE_FILE: base64(&first.certificate),
            fleet::KEY_FILE: base64(&first.key),
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
