//! From the resolved [`Firewall`](crate::policy::Firewall) to what enforces it.
//!
//! Pure: no I/O, no clock, no kube client, no runtime; Kubernetes' own types are fine. A test enforces it.

pub mod envoy;
pub mod kubernetes;
mod names;
mod ports;

pub use kubernetes::network_policy::*;
pub use kubernetes::protected_service::*;
pub use names::{firewall_name, vault_name};
pub use ports::*;
