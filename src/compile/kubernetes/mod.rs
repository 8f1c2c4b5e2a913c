//! From a firewall to the Kubernetes objects that enforce it: the `NetworkPolicy` objects, and the objects of the
//! proxies.

pub mod network_policy;
pub mod protected_service;
pub mod proxies;
