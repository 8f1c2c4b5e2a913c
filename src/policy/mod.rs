//! Meaning of policies: wire types → validated objects → the resolved [`Firewall`], and a request → a decision.
//!
//! Pure: no I/O, no clock, no kube client, no async runtime. A test enforces it.

mod account_label;
mod accounts;
mod admitted;
pub mod client_address;
mod decide;
pub mod difference;
mod grants;
mod identity;
mod issuer_keys;
pub mod key_set;
mod model;
mod near;
mod nearest;
mod pod_group;
mod proxy_settings;
mod quantity;
mod reason;
mod remedy;
mod resolve;
mod selector;
pub mod token;
mod trusted_service;
mod unsupported;
mod validate;
mod validated;
pub mod vault_access;
mod violation;

pub use crate::api::{
    AccessLogLevel, DefaultAction, Denial, EngineType, ExternalTrafficPolicy, ManagementAccess,
    Mode, ServiceType, TokenCreation, VaultApi,
};
pub use crate::vault_api::{Engine, EngineNamespace};
pub use account_label::{AccountLabels, NoAccountLabels, account_label_value};
pub use accounts::{AccountPod, Accounts, ExistingAccount};
pub use admitted::{Admitted, admitted};
pub use decide::{
    BEARER, Caller, Decision, Listener, PlaneRule, Step, decide, decide_class, plane_rule,
};
pub use grants::{
    DEPLOYMENT, Grants, Holders, Identity, SERVICE, Scope, ServiceGrant, is_deployment,
};
pub use identity::{ObjectName, ObjectNameError, VaultId, VaultIdError};
pub use issuer_keys::{ClusterIssuer, ClusterKeys, FailedFetch, IssuerKeys};
pub use model::{AddressRules, ClientAddressSource, Firewall, Peer, TrustedProxies};
pub use nearest::{Mismatch, Nearest, PodLabels, nearest};
pub use pod_group::{GroupMembers, GroupSelector, NamespaceMembership, PodMembership, PodsInRange};
pub use proxy_settings::{Http2, ProxyResources, ProxyService, ProxySettings, UpstreamTls};
pub use quantity::Quantity;
pub use reason::{Reason, Verdict};
pub use remedy::{Denied, remedy};
#[cfg(test)]
pub(crate) use resolve::fixtures;
pub use resolve::{
    Diagnostic, DiagnosticReason, Inputs, RefusedPolicy, Resolution, TrustedServices,
    VirtualNetworks, accounts_of_identity, referenced_accounts, referenced_groups,
    referenced_identities, referenced_ranges, resolve,
};
pub use selector::Selector;
pub use trusted_service::{
    FederatedIdentity, KeySource, ServiceIdentity, ValidatedScenario, ValidatedTrustedService,
};
pub(crate) use unsupported::{is_supported_field, is_supported_value};
pub(crate) use validate::{is_dns_label, unknown_operation};
pub use validate::{validate_policy, validate_trusted_service, validate_virtual_network};
pub use validated::{
    AddressRule, BypassSettings, ClientAddressSettings, NetworkRule, NetworkRuleSource, PodGroup,
    ProxyEntry, ProxySource, SubnetMembers, ValidatedPolicy, ValidatedSubnet,
    ValidatedVirtualNetwork,
};
pub use violation::{Violation, ViolationReason};
pub(crate) use violation::{field_of, quoted};
