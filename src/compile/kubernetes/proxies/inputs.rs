//! The data that the objects of the proxies are generated from.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::compile::ports::ProxyPorts;
use crate::policy::{ProxySettings, VaultId};

/// Default image of Envoy: the version that the tests run.
pub const ENVOY_IMAGE: &str = "envoyproxy/envoy:distroless-v1.40.0";
/// Default address of the operator for the proxies, `HOST:PORT`: its Service, and the Service's port for xDS.
pub const OPERATOR_ADDRESS: &str = "vaultwall.vaultwall-system.svc:8500";

/// The data that the objects of one vault's proxies are generated from.
pub struct ProxyInputs<'a> {
    /// The vault, which names the objects.
    pub vault: &'a VaultId,
    /// The proxies' ports, which depend on the vault's own port.
    pub ports: ProxyPorts,
    /// `spec.proxy` of the vault's policies.
    pub settings: &'a ProxySettings,
    /// Envoy's image, as in a container's `image`.
    pub image: &'a str,
    /// Files by name, from [`files`](super::files()). A change replaces the proxies.
    pub files: BTreeMap<String, String>,
    /// The proxies' identity towards the operator. A change replaces nothing: Envoy reads the new files.
    pub identity: &'a Identity,
    /// The vault's policies, from [`owner_references`](super::owner_references).
    pub owners: &'a [OwnerReference],
}

/// Identity of a vault's proxies towards the operator, in PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The proxies' certificate; its URI names the vault.
    pub certificate: String,
    /// Private key of the certificate.
    pub key: String,
    /// The authority that signs the operator's certificate.
    pub authority: String,
}

/// Leaves the key out.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
