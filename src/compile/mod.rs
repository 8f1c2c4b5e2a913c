//! From the resolved [`Firewall`](crate::policy::Firewall) to the configuration and the objects that enforce it.
//!
//! Pure: no I/O, no clock, no kube client, no runtime; Kubernetes' own types are fine. A test enforces it.

pub mod envoy;
pub mod kubernetes;
mod names;
mod ports;

pub use names::{firewall_name, vault_name};
pub use ports::ProxyPorts;
