//! A client of a vault, for pods of the local cluster: asks once, or asks on and on and counts the answers. A development
//! fixture, never shipped.
//!
//! It is no `curl` because its image holds nothing else, and because it counts: while something is replaced, a client
//! that is let in must not lose a request, and another must not get one through.

mod load;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A client of a vault.
#[derive(Parser)]
enum Command {
    /// Does nothing until it is asked to end, which keeps a pod alive.
    Hold,
    /// Asks once, on a connection of its own; prints the status code and the body, or `unreachable` and why.
    Ask {
        #[command(flatten)]
        question: Question,
    },
    /// Asks until standard input ends; prints how often each answer came, as JSON.
    Load {
        #[command(flatten)]
        question: Question,
        /// Requests under way at a time, each half of them on connections that are kept, and on one each.
        #[arg(long, default_value_t = 4)]
        clients: usize,
    },
}

/// Requests, and how they are sent.
#[derive(clap::Args, Clone)]
struct Question {
    /// URL of the requests, `http://…` or `https://…`.
    url: Uri,
    /// The method.
    #[arg(long, default_value = "GET")]
    method: Method,
    /// The token, as the header `X-Vault-Token`.
    #[arg(long)]
    token: Option<String>,
    /// File with the trusted authorities.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// How long an answer may take, in milliseconds.
    #[arg(long, default_value_t = 3000)]
    patience: u64,
}

type Error = Box<dyn std::error::Error + Send + Sync>;
type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

impl Question {
    /// A client that keeps connections, or makes one for each request.
    fn client(&self, keep: bool) -> Result<HttpClient, Error> {
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

    /// The status code and the body.
    async fn ask(&self, client: &HttpClient) -> Result<(u16, Bytes), Error> {
        let mut request = Request::builder().method(&self.method).uri(&self.url);
        if let Some(token) = &self.token {
            request = request.header("X-Vault-Token", token);
        }
        let request = request.body(Empty::new())?;
        let answer = async {
            let answer = client.request(request).await?;
            let status = answer.status().as_u16();
            Ok::<_, Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        tokio::time::timeout(Duration::from_millis(self.patience), answer)
            .await
            .map_err(|_| format!("no answer in {} ms", self.patience))?
    }
}

/// Formats an error with its causes: the outermost alone is "client error".
fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += ": ";
        text += &inner.to_string();
        cause = inner.source();
    }
    text
}

async fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Hold => {
            // The first process of a pod is not ended by a signal that it does not handle.
            let mut end =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            end.recv().await;
        }
        Command::Ask { question } => {
            let client = question.client(false)?;
            match question.ask(&client).await {
                Ok((status, body)) => {
                    println!("{status} {}", String::from_utf8_lossy(&body).trim());
                }
                Err(error) => println!("unreachable {}", causes(&error)),
            }
        }
        Command::Load { question, clients } => {
            let counts = load::load(&question, clients).await?;
            println!("{}", serde_json::to_string(&counts)?);
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Command::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {}", causes(&error));
            ExitCode::from(2)
        }
    }
}
