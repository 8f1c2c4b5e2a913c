//! What a policy means: from wire types to the resolved [`Firewall`], and from a request to a decision.
//!
//! Pure: no I/O, no clock of its own, no kube client, no runtime. A test enforces it.

pub mod client_address;
mod decide;
mod model;
mod validated;

pub use decide::*;
pub use model::*;
pub use validated::*;
