//! End to end, on a cluster with nodes: charts, pods, packets. `make e2e` makes the cluster and runs these tests on it.
//! A plain `cargo test` does not run them, and needs no cluster.
//!
//! | file | scenario |
//! |---|---|
//! | `rules` | pods are created and deleted, labels and rules change, `denial: Drop`, `defaultAction` |
//! | `audit` | a vault in `mode: Audit` under load, then `Enforced`, then `Audit` again |
//! | `peers` | a vault of three peers with integrated storage, and back to one |
//! | `tls` | TLS is disabled and enabled, a Secret is missing, a certificate is renewed |
//! | `operator` | the operator is uninstalled, upgraded and rolled back under load |
//! | `replaced` | proxies are replaced under load |
//! | `external_secrets` | External Secrets Operator as a trusted service |
//! | `identities` | trusted services, operators and deployers, by each kind of identity and proof |
//! | `labels` | the label of service accounts, for trusted services of a vault with `denial: Drop` |
//! | `typos` | typing errors in the target of a policy that is in force, under load |
//! | `enforced` | the cluster's network enforces NetworkPolicies: cyclonus' cases |
//! | `installed` | the charts: permissions, Pod Security, refusals |
//! | `pages` | the commands of `docs/openbao.md` and `docs/install.md` |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod audit;
mod enforced;
mod external_secrets;
mod identities;
mod installed;
mod labels;
mod operator;
mod pages;
mod peers;
mod replaced;
mod rules;
mod scene;
mod session;
mod tls;
mod typos;

use std::sync::{Mutex, MutexGuard, Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use testkit::cluster::operator::Release;

static INSTALLED: Once = Once::new();
static OPERATOR: RwLock<()> = RwLock::new(());
static POD_LABELS: Mutex<()> = Mutex::new(());

fn install() {
    Release::current().install();
}

/// Installs the operator once; other tests may use it at the same time.
fn shared() -> RwLockReadGuard<'static, ()> {
    INSTALLED.call_once(install);
    OPERATOR.read().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the operator once; no other test uses it at the same time.
fn alone() -> RwLockWriteGuard<'static, ()> {
    INSTALLED.call_once(install);
    OPERATOR.write().unwrap_or_else(PoisonError::into_inner)
}

/// The label of service accounts is introduced on every pod of the cluster only by the holder. cyclonus compares all
/// labels of its pods with those that it wrote, so it needs the lock too.
fn pod_labels() -> MutexGuard<'static, ()> {
    POD_LABELS.lock().unwrap_or_else(PoisonError::into_inner)
}
