//! The operator: watches a Kubernetes API server, keeps every vault's proxies at the firewall of now, applies what belongs
//! to a firewall and tells the truth in status.
//!
//! Data flows one way: watches → index → resolved firewalls → xDS snapshots (every replica) → children and status (the
//! leader alone writes).

pub mod certificates;
pub mod clock;
pub mod leader;
pub mod operations;
pub mod replicas;
pub mod rights;
pub mod status;
