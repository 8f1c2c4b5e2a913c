//! The cluster in place of files: how subcommands reach a Kubernetes API server and what they read there. What is read
//! goes the way of files from there on.

mod connect;
mod error;
mod kubeconfig;
mod list;
mod proxy;
mod read;

pub(crate) use connect::connect;
pub(crate) use error::ConnectError;
pub(crate) use kubeconfig::ClusterArgs;
pub(crate) use list::{ReadError, namespace};
pub(crate) use read::{Scope, Who, to_explain, to_render, to_validate};
