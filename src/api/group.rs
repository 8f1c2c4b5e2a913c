//! API group and version of the custom resources.

/// API group of every kind.
pub const GROUP: &str = "vaultwall.dev";
/// The only API version. Changes to it are additive.
pub const VERSION: &str = "v1alpha1";
