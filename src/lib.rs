//! Vaultwall: the network firewall of Azure Key Vault for a vault on Kubernetes.
//!
//! Data flows one way: facts → validated → resolved [`policy::Firewall`] → compiled → served to Envoy.
//!
//! | module | what it is |
//! |---|---|
//! | [`api`] | the custom resources: wire types and their schema |
//! | [`cli`] | the command line: one file a subcommand |
//! | [`compile`] | firewall → Kubernetes NetworkPolicies and Envoy resources: pure |
//! | [`controller`] | the operator: watches, xDS to every proxy, children and status |
//! | [`index`] | facts from watches or files, and which firewalls a change touches |
//! | [`policy`] | validation, resolution, decision: pure |
//! | [`standalone`] | standalone mode: files in, a local Envoy out |
//! | [`vault_api`] | request → plane and operations, by profiles that are data: pure |
//! | [`xds`] | the delta ADS server: snapshots to Envoy, acknowledgements back |

pub mod api;
pub mod cli;
pub mod compile;
pub mod controller;
pub mod index;
pub mod policy;
pub mod standalone;
pub mod vault_api;
pub mod xds;
