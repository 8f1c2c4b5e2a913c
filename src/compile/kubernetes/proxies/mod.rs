//! The proxies of one vault as Kubernetes objects: everything that is applied for a protected Service, except its two
//! `NetworkPolicy` objects.
//!
//! Pure. Fields that the API server would default are spelled out, quantities are in canonical form and lists are
//! sorted, so that applying the same objects again changes nothing.

mod budget;
mod deployment;
mod files;
mod inputs;
mod metadata;
mod objects;
mod service;

pub use files::{ADMIN_SOCKET, BOOTSTRAP_FILE, BOOTSTRAP_FOLDER, IDENTITY_FOLDER, files, tls};
pub use inputs::{ENVOY_IMAGE, Identity, OPERATOR_ADDRESS, ProxyInputs};
pub use metadata::owner_references;
pub use objects::{ProxyObjects, objects};

#[cfg(test)]
mod tests;
