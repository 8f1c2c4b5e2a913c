//! Parts that any operator needs: watches, leader election, apply, permissions, health, metrics and replicas.

pub(crate) mod apply;
pub(crate) mod authority;
pub mod events;
pub mod leader;
pub mod operations;
pub mod permissions;
pub(crate) mod queue;
pub(crate) mod reflector;
pub mod replicas;
pub(crate) mod status;
pub(crate) mod watch;
