//! Firewall → the Kubernetes objects that enforce it: `NetworkPolicy` objects, and the objects of the proxies.

pub mod fleet;
pub mod network_policy;
pub mod protected_service;
