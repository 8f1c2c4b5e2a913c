//! Labels and annotations: the one place where their keys and values are written.

use std::collections::BTreeMap;

/// Label that names a namespace; the API server sets it on every namespace.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Label on a namespace whose owner opted its pods in to the vault's service endpoint (R3).
pub const SERVICE_ENDPOINT_LABEL: &str = "vaultwall.dev/service-endpoint";
/// The value of [`SERVICE_ENDPOINT_LABEL`] that opts in; any other value does not.
pub const SERVICE_ENDPOINT_ENABLED: &str = "enabled";
/// Label on a namespace that says which subscription it belongs to.
pub const SUBSCRIPTION_LABEL: &str = "vaultwall.dev/subscription";
/// Label on everything that is generated for a vault; the value is the name of the vault's Service.
pub const VAULT_LABEL: &str = "vaultwall.dev/vault";
/// Kubernetes' recommended label for the name of an application.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// The value of [`NAME_LABEL`] on proxies and on what belongs to them.
pub const PROXY_NAME: &str = "vaultwall-firewall";
/// Kubernetes' recommended label for the tool that manages an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`] on generated objects.
pub const MANAGED_BY: &str = "vaultwall";

/// Annotation on the operator's lease: where the other replicas reach the one that holds it, as `host:port`.
pub const ADDRESS_ANNOTATION: &str = "vaultwall.dev/address";
/// Annotation on the proxies' pods: a hash of what they are started with, so that they are replaced when it changes.
pub const BOOTSTRAP_HASH_ANNOTATION: &str = "vaultwall.dev/bootstrap-hash";

/// Annotation on an object that the operator applied: a hash of what it applied, so that what is no longer wanted is taken
/// away too.
pub const APPLIED_HASH_ANNOTATION: &str = "vaultwall.dev/applied-hash";

/// What selects the proxies of one vault, in the vault's namespace; their pods carry these labels.
///
/// The vault's namespace is trusted: a pod there that wears them counts as a proxy.
pub fn proxy_labels(service: &str) -> BTreeMap<String, String> {
    labels([(NAME_LABEL, PROXY_NAME), (VAULT_LABEL, service)])
}

/// Labels of an object that was generated for the vault's Service.
pub fn generated_labels(service: &str) -> BTreeMap<String, String> {
    labels([
        (MANAGED_BY_LABEL, MANAGED_BY),
        (NAME_LABEL, PROXY_NAME),
        (VAULT_LABEL, service),
    ])
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
