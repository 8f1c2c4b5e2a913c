//! The reconcile of a vault's firewall: desired objects, apply, status.

pub(crate) mod desired;
pub(crate) mod state;
pub mod status;
pub(crate) mod writer;
