//! Vaultwall: the network firewall of Azure Key Vault for a vault on Kubernetes.
//!
//! Data flows one way: facts → validated → resolved [`policy::Firewall`] → compiled → served to Envoy.
//! A module uses only modules below it in this table.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the command line: one file a subcommand |
//! | [`controller`] | the operator: one reconcile a kind, and the start of all its parts |
//! | [`standalone`] | standalone mode: files in, a local Envoy out |
//! | [`runtime`] | parts that use no reconciler: watches, leader election, apply, permissions, health, metrics, replicas |
//! | [`access_log`] | records of the access log: denials, kept and grouped |
//! | [`publish`] | resolve → compile → publish → confirmed |
//! | [`transport`] | TLS: server, credentials, certificates |
//! | [`objects`] | decodes objects from files and watches, and checks them against the schema |
//! | [`compile`] | firewall → Kubernetes objects and Envoy resources: pure |
//! | [`index`] | facts from watches or files, and which firewalls a change touches |
//! | [`policy`] | validation, resolution, decision: pure |
//! | [`vault_api`] | request → plane and operations, by profiles that are data: pure |
//! | [`xds`] | the delta ADS protocol: snapshots to Envoy, acknowledgements back |
//! | [`api`] | the custom resources: wire types and their schema |
//! | [`address`] | IPv4 addresses and ranges: pure, used by any module |
//! | [`limits`] | largest numbers of rules, addresses and proxies, used by any module |
//! | [`clock`] | time that tests can set, used by any module |

pub mod access_log;
pub mod address;
pub mod api;
pub mod cli;
pub mod clock;
pub mod compile;
pub mod controller;
pub mod index;
pub mod limits;
pub mod objects;
pub mod policy;
pub mod publish;
pub mod runtime;
pub mod standalone;
pub mod transport;
pub mod vault_api;
pub mod xds;
