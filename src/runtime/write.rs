//! Writes of the leader's reconciles. Each goes through [`write()`]: it needs a valid term, has a timeout and is
//! counted. The lease and the authority's Secret are written without it.

use std::future::Future;

use crate::runtime::leader::{Lost, Term};
use crate::runtime::operations::{Metrics, WriteResult};

/// Reason why a leader's write did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Sends a write, unless the term is over. `kind` is the label in the metric of writes.
pub(crate) async fn write<T>(
    term: &Term,
    metrics: &Metrics,
    kind: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, WriteError> {
    term.still_valid()?;
    let answer = term.limited(request).await;
    metrics.wrote(kind, WriteResult::of(&answer));
    Ok(answer?)
}
