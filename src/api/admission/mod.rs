//! `ValidatingAdmissionPolicies` for checks that no schema can express. The API server enforces them itself, even while
//! the operator does not run.
//!
//! | module | policy | check |
//! |---|---|---|
//! | [`limits`] | `limits.vaultwall.dev` | number of rules that the installation allows |
//! | [`namespaces`] | `namespaces.vaultwall.dev` | permission to set the labels of a namespace |
//! | [`generated`] | `generated-objects.vaultwall.dev` | permission to set the labels of generated objects |
//! | [`removal`] | `removal.vaultwall.dev` | none: a warning when a policy is deleted |
//! | [`service_accounts`] | `service-account-label.vaultwall.dev` | label of service accounts on pods; another policy sets it |
//! | [`trusted_proxies`] | `trusted-proxies.vaultwall.dev` | entries of a list for which a schema can have no rules |
//!
//! The permissions are RBAC permissions for resources that do not exist, such as `set` on `serviceendpoints` in our API
//! group. The policies check them for the whole cluster, so all permissions in a single namespace, which tenants often
//! have, do not include them.

mod generated;
mod limits;
mod namespaces;
mod policy;
mod removal;
mod service_accounts;
mod trusted_proxies;

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;

pub use self::generated::{GENERATED_POLICY, generated_policy};
pub use self::limits::{LIMITS_POLICY, limits_policy};
pub use self::namespaces::{NAMESPACES_POLICY, namespaces_policy};
pub use self::policy::{
    GENERATED_OBJECTS, LABEL_VERB, SERVICE_ACCOUNT_LABELS, SERVICE_ENDPOINTS, SET_VERB,
    SUBSCRIPTIONS, binding_of,
};
pub use self::removal::{REMOVAL_POLICY, removal_policy};
pub use self::service_accounts::{
    SERVICE_ACCOUNT_LABEL_POLICY, service_account_label_guard, service_account_label_setter,
};
pub use self::trusted_proxies::{TRUSTED_PROXIES_POLICY, trusted_proxies_policy};

use crate::limits::Limits;

/// Returns all admission policies.
pub fn admission_policies(limits: &Limits) -> [ValidatingAdmissionPolicy; 5] {
    [
        generated_policy(),
        limits_policy(limits),
        namespaces_policy(),
        removal_policy(),
        trusted_proxies_policy(),
    ]
}
