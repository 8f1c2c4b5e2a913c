//! Requests to the API server that need no term, with a timeout.

use std::future::Future;
use std::time::Duration;

/// Timeout of one request to the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reason why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server refused the request, or could not be reached.
    #[error(transparent)]
    Api(kube::Error),
    /// The API server did not answer in time.
    #[error("no answer in {} s", TIMEOUT.as_secs())]
    Slow,
}

impl RequestError {
    /// Status code of the API server's answer, if it answered.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

/// Waits for the answer to a request, at most 10 s.
pub(crate) async fn answer<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(answer) => answer.map_err(RequestError::Api),
        Err(_) => Err(RequestError::Slow),
    }
}
