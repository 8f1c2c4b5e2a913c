//! The operator: watches the API server, publishes every vault's firewall to its proxies, applies the objects that
//! belong to it and writes status.
//!
//! Data flows one way: watches → index → resolved firewalls → xDS snapshots, on every replica; then generated objects
//! and status, which only the leader writes.
//!
//! | module | content |
//! |---|---|
//! | `run` | start and end of all parts |
//! | [`firewall`] | the reconcile of a vault's firewall, by the leader |
//! | `networks` | status of virtual networks, by the leader |
//! | `options` | options of the operator, and the errors of its start |
//! | `role` | role of this replica: leader or follower |

pub mod firewall;
mod networks;
mod options;
mod role;
mod run;

pub use self::options::{ControllerError, LocalProxy, Options};
pub use self::run::run;
