//! Facts from watches or files, and which firewalls a change of them touches. No kube client and no async. Only
//! [`objects`] reads files; whoever watches hands plain objects in.

mod endpoints;
mod facts;
mod membership;
mod memory;
mod vault;

pub use endpoints::{EndpointSliceFact, Endpoints};
pub use facts::*;
pub use memory::*;

pub use crate::policy::ObjectName;

#[cfg(test)]
mod tests;
