//! Reads objects from a cluster instead of files: connects to the API server and lists the objects that a subcommand
//! needs. From there on they are treated like objects from files.

mod connect;
mod error;
mod freshness;
mod kubeconfig;
mod list;
mod proxy;
mod read;
mod server;

pub(crate) use connect::connect;
pub(crate) use kubeconfig::ClusterArgs;
pub(crate) use list::namespace;
pub(crate) use read::{
    CallerId, Checked, Scope, ToCompare, ToExplain, current_namespace, to_check, to_compare,
    to_explain, to_render, to_validate,
};
