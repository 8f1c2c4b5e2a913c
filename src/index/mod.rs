//! Facts from watches or files, and the firewalls that a change of a fact affects.
//!
//! [`Index::apply`] and [`Index::delete`] change the known objects; [`Index::resolve`] also records what a vault
//! depends on. The index does no I/O, and depends on no client and no async runtime: [`crate::objects`] decodes the
//! objects.

mod account_label;
mod accounts;
mod changes;
mod endpoints;
mod facts;
mod identities;
mod kind;
mod labels;
mod membership;
mod network_policy;
mod observed_service;
mod payload;
mod resolution;
mod state;
mod vault;
mod watched;

pub use account_label::LabelCorrection;
pub use endpoints::EndpointSliceFact;
pub use facts::*;
pub(crate) use kind::for_each_kind;
pub use kind::{Key, Kind, KindOf, Object};
pub use network_policy::{NetworkPolicyFact, Protected};
pub use observed_service::{IdentityProblem, ObservedAccounts, ObservedIdentity, ObservedService};
pub use payload::Payload;
pub use resolution::VaultResolution;
pub use state::{Index, Indexed};

pub use crate::policy::ObjectName;

#[cfg(test)]
mod tests;
