//! Keys and values of labels and annotations.

use std::collections::BTreeMap;

/// Label with the name of a namespace; the API server sets it on every namespace.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Label on a namespace that opts its pods in to the vault's service endpoint. Inline pod rules apply only to
/// namespaces with this label, unless they set `ignoreMissingServiceEndpoint`; see `docs/guide.md`.
pub const SERVICE_ENDPOINT_LABEL: &str = "vaultwall.dev/service-endpoint";
/// Value of [`SERVICE_ENDPOINT_LABEL`] that opts in; no other value does.
pub const SERVICE_ENDPOINT_ENABLED: &str = "enabled";
/// Label on a namespace with the name of its subscription.
pub const SUBSCRIPTION_LABEL: &str = "vaultwall.dev/subscription";
/// Label on a pod with its service account, so that a `NetworkPolicy` can select it; see `docs/trusted-services.md`.
pub const SERVICE_ACCOUNT_LABEL: &str = "vaultwall.dev/service-account";
/// Most characters of a label's value.
pub const LABEL_VALUE_LENGTH: usize = 63;
/// Characters of a service account's name in the value of [`SERVICE_ACCOUNT_LABEL`] if the whole name is too long.
pub const ACCOUNT_LABEL_NAME_LENGTH: usize = 46;
/// Label on every object that is generated for a vault; the value is the name of the vault's Service.
pub const VAULT_LABEL: &str = "vaultwall.dev/vault";
/// Kubernetes' recommended label for the name of an application.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Value of [`NAME_LABEL`] on proxies and their objects.
pub const PROXY_NAME: &str = "vaultwall-firewall";
/// Kubernetes' recommended label for the tool that manages an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`] on generated objects.
pub const MANAGED_BY: &str = "vaultwall";

/// Annotation on the operator's lease: address of the leader for the other replicas, as `host:port`.
pub const ADDRESS_ANNOTATION: &str = "vaultwall.dev/address";
/// Annotation on the proxies' pods: hash of their bootstrap, so that the pods are replaced when it changes.
pub const BOOTSTRAP_HASH_ANNOTATION: &str = "vaultwall.dev/bootstrap-hash";

/// Annotation on an object that the operator applied: hash of the applied content. A difference shows that fields have
/// to be removed.
pub const APPLIED_HASH_ANNOTATION: &str = "vaultwall.dev/applied-hash";

/// Annotation on a `NetworkPolicy` of a vault's pods: the labels that it selects, as JSON. The operator reads it when
/// the Service selects other pods, because the policy's own selector may have been edited.
pub const SELECTOR_ANNOTATION: &str = "vaultwall.dev/pod-selector";

/// Returns the labels that select the proxies of a vault in the vault's namespace.
///
/// The vault's namespace is trusted: any pod with these labels there counts as a proxy.
pub fn proxy_labels(service: &str) -> BTreeMap<String, String> {
    labels([(NAME_LABEL, PROXY_NAME), (VAULT_LABEL, service)])
}

/// Returns the labels of an object that is generated for the vault's Service.
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

/// Name of the operator's Lease, in the operator's own namespace.
pub const LEASE: &str = "vaultwall";
