//! What a policy means: from wire types to the resolved [`Firewall`], and from a request to a decision.
//!
//! Pure: no I/O, no clock of its own, no kube client, no runtime. A test enforces it.

pub mod client_address;
mod decide;
mod model;
mod nearest;
mod pod_group;
mod proxy_settings;
mod quantity;
mod remedy;
mod resolve;
mod selector;
mod validate;
mod validated;
mod violation;

pub use decide::*;
pub use model::*;
pub use nearest::*;
pub use pod_group::*;
pub use proxy_settings::*;
pub use quantity::Quantity;
pub use remedy::*;
#[cfg(test)]
pub(crate) use resolve::fixtures;
pub use resolve::*;
pub use selector::Selector;
pub use validate::{validate_policy, validate_virtual_network};
pub use validated::*;
pub use violation::{Violation, ViolationReason};
pub(crate) use violation::{field_of, quoted};
