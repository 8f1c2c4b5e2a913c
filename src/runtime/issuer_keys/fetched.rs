//! Results of fetches.

use std::time::Duration;

use hyper::StatusCode;

use crate::policy::key_set::ServedKeys;

/// Longest key set, in bytes. Large issuers serve less than a tenth.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// Reason why keys were not fetched. The text has no part that changes from one fetch to the next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// There is no connection.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The answer is no document.
    #[error("it answers {0}{advice}", advice = advice(*.0))]
    Status(StatusCode),
    /// The document is too long.
    #[error("it sends more than {} KiB", MAX_BYTES / 1024)]
    TooLarge,
    /// The document did not arrive in time.
    #[error("it does not answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// The document has no usable keys.
    #[error("{0}")]
    Content(String),
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        status if status.is_redirection() => {
            "; redirects are not followed, so write the URL of the key set itself"
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; key sets are read without credentials, except the API server's, whose ClusterRole \
             `system:service-account-issuer-discovery` allows it"
        }
        _ => "",
    }
}

/// Result of a fetch.
pub(super) struct Fetched {
    /// Issuer of the keys, if the source names it.
    pub(super) issuer: Option<String>,
    /// The keys.
    pub(super) keys: ServedKeys,
}
