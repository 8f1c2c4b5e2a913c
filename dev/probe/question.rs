//! One HTTP request to a vault.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A request.
#[derive(clap::Args, Clone)]
pub(crate) struct Question {
    /// URL, `http://…` or `https://…`
    url: Uri,
    /// HTTP method
    #[arg(long, default_value = "GET")]
    method: Method,
    /// Token for the header `X-Vault-Token`
    #[arg(long)]
    token: Option<String>,
    /// Token for the header `X-Vaultwall-Token`; `@FILE` reads it from a file
    #[arg(long, value_parser = text_or_file)]
    identity: Option<String>,
    /// Text for the header `User-Agent`, which the access log of the firewall contains
    #[arg(long, default_value = "probe")]
    agent: String,
    /// Body of the request
    #[arg(long, default_value = "")]
    body: String,
    /// Text that replaces `JWT` in the body; `@FILE` reads it from a file
    #[arg(long, value_parser = text_or_file)]
    jwt: Option<String>,
    /// File with the trusted authorities, in PEM
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Timeout for an answer, in milliseconds
    #[arg(long, default_value_t = 3000)]
    timeout: u64,
}

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

impl Question {
    /// A client that keeps connections, or opens one for each request.
    pub(crate) fn client(&self, keep: bool) -> Result<HttpClient, Error> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &self.ca {
            for certificate in CertificateDer::pem_file_iter(file)? {
                roots.add(certificate?)?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(if keep { usize::MAX } else { 0 })
            .build(connector))
    }

    /// Sends the request. Returns the status code and the body.
    pub(crate) async fn send(&self, client: &HttpClient) -> Result<(u16, Bytes), Error> {
        let headers = [
            ("User-Agent", Some(&self.agent)),
            ("X-Vault-Token", self.token.as_ref()),
            ("X-Vaultwall-Token", self.identity.as_ref()),
        ];
        let mut request = Request::builder().method(&self.method).uri(&self.url);
        for (name, value) in headers {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let body = match &self.jwt {
            Some(jwt) => self.body.replace("JWT", jwt),
            None => self.body.clone(),
        };
        let request = request.body(Full::from(body))?;
        let answer = async {
            let answer = client.request(request).await?;
            let status = answer.status().as_u16();
            Ok::<_, Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        tokio::time::timeout(Duration::from_millis(self.timeout), answer)
            .await
            .map_err(|_| format!("no answer in {} ms", self.timeout))?
    }
}

/// A text as it is written, or, after `@`, the content of a file: projected tokens are files.
fn text_or_file(text: &str) -> Result<String, std::io::Error> {
    text.strip_prefix('@')
        .map_or_else(|| Ok(text.to_owned()), std::fs::read_to_string)
}

/// An error with its causes: the outermost alone is "client error".
pub(crate) fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += ": ";
        text += &inner.to_string();
        cause = inner.source();
    }
    text
}
