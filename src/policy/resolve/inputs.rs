//! Inputs of resolution.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::VaultApi;
use crate::limits::Limits;
use crate::policy::account_label::AccountLabels;
use crate::policy::accounts::Accounts;
use crate::policy::identity::VaultId;
use crate::policy::issuer_keys::IssuerKeys;
use crate::policy::trusted_service::ValidatedTrustedService;
use crate::policy::validated::{ValidatedPolicy, ValidatedVirtualNetwork};

/// Valid `VirtualNetwork`s by name.
pub type VirtualNetworks = BTreeMap<String, Arc<ValidatedVirtualNetwork>>;

/// Valid `TrustedService`s by name.
pub type TrustedServices = BTreeMap<String, Arc<ValidatedTrustedService>>;

/// Everything that [`super::resolve`] reads.
#[derive(Clone, Copy)]
pub struct Inputs<'a, M> {
    /// The vault to resolve.
    pub vault: &'a VaultId,
    /// Port of the firewall if no policy is accepted; otherwise the oldest accepted policy sets it.
    pub port: u16,
    /// API of the vault if no policy is accepted.
    pub api: VaultApi,
    /// Valid policies of the vault, in any order.
    pub policies: &'a [Arc<ValidatedPolicy>],
    /// Names of policies of this vault that cannot be read, so that their intent is not known. Each counts as
    /// `defaultAction: Deny`, because a mistake must not open a vault.
    pub unreadable: &'a [String],
    /// Valid `VirtualNetwork`s of the cluster.
    pub virtual_networks: &'a VirtualNetworks,
    /// Members of groups of pods (see [`PodMembership`](crate::policy::PodMembership)).
    pub membership: &'a M,
    /// Valid `TrustedService`s of the cluster.
    pub trusted_services: &'a TrustedServices,
    /// Service accounts and their pods.
    pub accounts: &'a dyn Accounts,
    /// Whether a `NetworkPolicy` may select pods by their service account.
    pub account_labels: AccountLabels,
    /// Keys of token issuers.
    pub keys: &'a IssuerKeys,
    /// Largest numbers of rules, for the sum of all policies of the vault.
    pub limits: &'a Limits,
}
