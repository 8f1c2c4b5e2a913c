//! End to end, on a cluster with nodes: charts, pods, packets. `make e2e` makes the cluster and runs this in it; it is no
//! part of a plain `cargo test`, which needs no cluster.
//!
//! | file | what is played |
//! |---|---|
//! | `rules` | pods come and go, labels, edits, `denial: Drop`, `defaultAction` |
//! | `peers` | a vault of three peers with integrated storage, and back to one |
//! | `tls` | TLS switched off and on, a Secret that is missing, a certificate that is renewed |
//! | `replaced` | proxies and operator are replaced under load; the operator is taken away, upgraded and rolled back |
//! | `enforced` | whether the cluster's network enforces NetworkPolicies at all: cyclonus' cases |
//! | `installed` | what the charts install: rights, Pod Security, refusals |
//! | `pages` | what `docs/openbao.md` and `docs/install.md` show |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../../dev/cluster_fixtures/mod.rs"]
#[allow(dead_code, reason = "the demo plays on the same stage")]
mod cluster_fixtures;
mod enforced;
mod installed;
mod pages;
mod peers;
mod replaced;
mod rules;
mod scene;
mod tls;

use std::sync::{Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cluster_fixtures::operator::Release;

static INSTALLED: Once = Once::new();
static STAGE: RwLock<()> = RwLock::new(());

fn install() {
    Release::current().install();
}

/// The operator runs, and others may use it too.
fn shared() -> RwLockReadGuard<'static, ()> {
    INSTALLED.call_once(install);
    STAGE.read().unwrap_or_else(PoisonError::into_inner)
}

/// The operator runs, and nobody else uses it.
fn alone() -> RwLockWriteGuard<'static, ()> {
    INSTALLED.call_once(install);
    STAGE.write().unwrap_or_else(PoisonError::into_inner)
}
