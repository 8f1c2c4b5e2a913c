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
//! | `account_labels` | the label of service accounts on pods, by the leader |
//! | `statuses` | status of virtual networks and of trusted services, by the leader |
//! | `debounce` | how long a status that is not urgent waits |
//! | `options` | options of the operator, and the errors of its start |
//! | `role` | role of this replica: leader or follower |

mod account_labels;
mod debounce;
pub mod firewall;
mod options;
mod role;
mod run;
mod statuses;

pub use self::options::{ControllerError, LocalProxy, Options};
pub use self::run::run;
