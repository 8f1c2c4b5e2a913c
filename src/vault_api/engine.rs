//! Secret engines of a vault, with everything that the classification of requests needs.

use crate::api::EngineType;

/// A mounted secret engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Mount path without slashes at either end.
    pub path: String,
    /// Type of the engine; it selects the lines of the profile.
    pub engine_type: EngineType,
    /// Vault namespaces in which it is mounted.
    pub namespace: EngineNamespace,
}

/// Vault namespaces of an engine's mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineNamespace {
    /// Only the root namespace.
    Root,
    /// All namespaces in `spec.vault.namespaces`, without the root.
    EveryListed,
    /// One namespace in `spec.vault.namespaces`.
    Named(String),
}
