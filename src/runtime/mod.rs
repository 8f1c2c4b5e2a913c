//! Parts that any operator needs: watches, leader election, apply, permissions, health, metrics and replicas.

pub(crate) mod authority;
pub(crate) mod generated;
pub mod leader;
pub mod operations;
pub mod permissions;
pub mod replicas;
pub(crate) mod watch;
