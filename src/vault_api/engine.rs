//! A secret engine of a vault, as far as its requests have to be told apart.

use crate::api::EngineType;

/// A mounted secret engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Mount path without slashes at either end.
    pub path: String,
    /// Its type.
    pub engine_type: EngineType,
    /// Where it is mounted.
    pub namespace: EngineNamespace,
}

/// Vault namespace of an engine's mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineNamespace {
    /// The root namespace only.
    Root,
    /// Every listed namespace (not the root).
    EveryListed,
    /// One listed namespace.
    Named(String),
}
