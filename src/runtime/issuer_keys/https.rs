//! GET of a small document over https: no redirects, a limit for its size, a timeout for all of it.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::{Request, Response, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::fetched::{FetchError, MAX_BYTES};

/// Certificate authorities of the servers: those of Mozilla's list, and further ones.
#[derive(Clone, Debug)]
pub struct Authorities(ClientConfig);

/// Reason why certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}; write the certificates of authorities into it, in PEM")]
pub struct AuthoritiesError {
    path: String,
    problem: String,
}

impl Authorities {
    /// Authorities of Mozilla's list, and those of a file in PEM.
    ///
    /// # Errors
    /// If the file cannot be read, or contains no certificate, or one that cannot be used.
    pub fn new(file: Option<&Path>) -> Result<Self, AuthoritiesError> {
        let path = file.unwrap_or(Path::new(""));
        let failed = |problem: String| AuthoritiesError {
            path: path.display().to_string(),
            problem,
        };
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let Some(file) = file {
            let certificates = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| failed(error.to_string()))?;
            if certificates.is_empty() {
                return Err(failed("it contains no certificate".into()));
            }
            for certificate in certificates {
                let added = roots.add(certificate);
                added.map_err(|error| failed(error.to_string()))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self(
            config.with_root_certificates(roots).with_no_client_auth(),
        ))
    }
}

impl Authorities {
    /// Settings of a TLS client that accepts only servers with certificates of these authorities.
    pub(crate) fn tls(&self) -> ClientConfig {
        self.0.clone()
    }
}

/// Client for documents over https. It keeps no connection.
#[derive(Clone, Debug)]
pub(super) struct HttpsClient(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl HttpsClient {
    pub(super) fn new(authorities: &Authorities) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(authorities.0.clone())
            .https_only()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Self(client)
    }

    /// Fetches a document.
    pub(super) async fn get(&self, url: &str, timeout: Duration) -> Result<Bytes, FetchError> {
        let request = Request::get(url)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, "vaultwall")
            .body(Empty::new())
            .map_err(|error| FetchError::Unreachable(causes(&error)))?;
        within_limits(timeout, async {
            let response = self.0.request(request).await;
            response.map_err(|error| FetchError::Unreachable(causes(&error)))
        })
        .await
    }
}

/// Reads the document of an answer, with limits for time and size.
pub(crate) async fn within_limits<B>(
    timeout: Duration,
    answer: impl Future<Output = Result<Response<B>, FetchError>>,
) -> Result<Bytes, FetchError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let document = async {
        let answer = answer.await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FetchError::TooLarge
            } else {
                FetchError::Unreachable(causes(error.as_ref()))
            }
        });
        Ok(body?.to_bytes())
    };
    let document = tokio::time::timeout(timeout, document).await;
    document.unwrap_or(Err(FetchError::Slow(timeout)))
}

/// Text of an error and of its causes.
pub(crate) fn causes<'e>(error: &'e (dyn Error + 'static)) -> String {
    let next = |error: &&'e (dyn Error + 'static)| (*error).source();
    let all = std::iter::successors(Some(error), next);
    let texts: Vec<String> = all.map(ToString::to_string).collect();
    texts.join(": ")
}
