//! Real clients of a vault through the firewall: hvac, `bao agent`, the requests of Terraform's provider, clients in
//! the rhythm of the vault's idle timeout, and one that waits long. `vaultwall serve` with a real Envoy and a real
//! `OpenBao`.
//!
//! `VAULTWALL_HVAC_PYTHON`, `VAULTWALL_ENVOY` and `VAULTWALL_BAO` name other programs than those that `dev/tools
//! install` puts in place. The agent that vault-k8s injects is in `tests/injected`, because it needs an API server.

mod agent;
mod application;
mod azure;
mod idle;
pub(crate) mod scene;
mod slow;
mod terraform;
