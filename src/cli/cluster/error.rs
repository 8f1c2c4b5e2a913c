//! Reasons why there is no connection to an API server, with advice for the user.

use std::error::Error;
use std::io;
use std::iter;
use std::path::PathBuf;
use std::time::Duration;

use rustls::CertificateError;

use super::server::{CONNECT_TIMEOUT, Server, files_list};

/// Reasons why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// No kubeconfig was found.
    #[error(
        "there is no kubeconfig{}; give one with --kubeconfig or KUBECONFIG, \
         or files with -f where the subcommand takes them",
        own.as_ref()
            .map(|own| format!(": KUBECONFIG is not set, and there is no {}", own.display()))
            .unwrap_or_default()
    )]
    NoKubeconfig {
        /// Path of the default kubeconfig in the user's home.
        own: Option<PathBuf>,
    },
    /// None of the files in the variable `KUBECONFIG` exists.
    #[error(
        "KUBECONFIG names {}, which does not exist; correct it, or give --kubeconfig",
        files_list(files)
    )]
    NamedByVariable {
        /// Paths of the kubeconfig files.
        files: Vec<PathBuf>,
    },
    /// A kubeconfig file cannot be read.
    #[error("the kubeconfig {} cannot be read: {source}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    /// A file is no kubeconfig.
    #[error(
        "{} is not a kubeconfig: {message}; correct it, or give another with --kubeconfig",
        file.display()
    )]
    NoKubeconfigFile { file: PathBuf, message: String },
    /// The kubeconfig has no current context, and no context was given.
    #[error(
        "the kubeconfig {} has no current-context; choose a context with --context; it has{}",
        files_list(files),
        contexts_list(contexts)
    )]
    NoCurrentContext {
        /// Paths of the kubeconfig files.
        files: Vec<PathBuf>,
        /// Names of their contexts.
        contexts: Vec<String>,
    },
    /// The chosen context does not exist.
    #[error(
        "there is no context \"{context}\" in the kubeconfig {}; it has{}",
        files_list(files),
        contexts_list(contexts)
    )]
    NoSuchContext {
        context: String,
        /// Paths of the kubeconfig files.
        files: Vec<PathBuf>,
        /// Names of their contexts.
        contexts: Vec<String>,
    },
    /// The context refers to something that is missing or cannot be read.
    #[error(
        "the context \"{context}\" of the kubeconfig {} cannot be used: {message}",
        files_list(files)
    )]
    Context {
        context: String,
        /// Paths of the kubeconfig files.
        files: Vec<PathBuf>,
        message: String,
    },
    /// The pod's service account cannot be used.
    #[error(
        "the pod's service account cannot be used: {message}; \
         set automountServiceAccountToken: true in the pod, or give --kubeconfig"
    )]
    InPod { message: String },
    /// The settings for the API server are invalid.
    #[error(
        "the settings for the API server {server} in {} cannot be used: {message}",
        server.place()
    )]
    Unusable { server: Server, message: String },
    /// An HTTP proxy is configured.
    #[error(
        "the API server {server} would be reached through the proxy {proxy}, which is not supported yet; if it can be \
         reached directly, add it to NO_PROXY"
    )]
    Proxy {
        server: Server,
        /// Host of the proxy.
        proxy: String,
    },
    /// The command that fetches a token failed, or a token's file does not exist.
    #[error(
        "there are no credentials for the API server {server}: {message}; {}",
        server.get_credentials()
    )]
    NoCredentials { server: Server, message: String },
    /// The connection failed.
    #[error(
        "the API server {server} cannot be reached: {message}; {}, and that the cluster runs",
        server.check_address()
    )]
    Unreachable { server: Server, message: String },
    /// The API server did not answer in time.
    #[error(
        "the API server {server} did not answer within {} s; {}, and that nothing blocks the way (VPN, firewall)",
        waited.as_secs(),
        server.check_address()
    )]
    Slow {
        server: Server,
        /// Time that was waited.
        waited: Duration,
    },
    /// No trusted authority signed the API server's certificate.
    #[error(
        "the certificate of the API server {server} is not trusted: {message}; {}",
        server.check_authority()
    )]
    Untrusted { server: Server, message: String },
    /// The API server refuses the credentials.
    #[error(
        "the API server {server} refuses the credentials of {} (401 {message}); {}",
        server.place(),
        server.check_credentials()
    )]
    Unauthorized {
        server: Server,
        /// Message of its answer.
        message: String,
    },
    /// Another server listens at the address.
    #[error(
        "{server} does not answer like a Kubernetes API server: {message}; {}",
        server.check_address()
    )]
    NotKubernetes {
        server: Server,
        /// Its answer, or the error when it was read.
        message: String,
    },
}

impl ConnectError {
    /// The error for a request that got no answer, or an invalid one.
    pub(crate) fn of_request(server: &Server, error: &kube::Error) -> Self {
        let server = server.clone();
        match error {
            kube::Error::Api(status) if status.code == 401 => Self::Unauthorized {
                server,
                message: status.message.clone(),
            },
            kube::Error::Api(status) => Self::NotKubernetes {
                server,
                message: format!("{} {}", status.code, status.message),
            },
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::NotKubernetes {
                server,
                message: error.to_string(),
            },
            kube::Error::Auth(error) => Self::NoCredentials {
                server,
                message: error.to_string(),
            },
            error => Self::of_transport(server, error),
        }
    }

    fn of_transport(server: Server, error: &(dyn Error + 'static)) -> Self {
        let tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
        if let Some(cause) = tls {
            return match cause {
                rustls::Error::InvalidCertificate(why) => Self::Untrusted {
                    message: certificate(why, server.place()),
                    server,
                },
                rustls::Error::AlertReceived(alert) => Self::Unauthorized {
                    server,
                    message: format!("TLS alert {alert:?}"),
                },
                rustls::Error::InvalidMessage(_) => Self::NotKubernetes {
                    server,
                    message: "it does not use TLS".to_owned(),
                },
                other => Self::Unreachable {
                    server,
                    message: other.to_string(),
                },
            };
        }
        let mut io_errors = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
        if io_errors.any(|cause| cause.kind() == io::ErrorKind::TimedOut) {
            return Self::Slow {
                server,
                waited: CONNECT_TIMEOUT,
            };
        }
        // The innermost cause is the most specific one.
        let message = causes(error).last().unwrap_or(error).to_string();
        Self::Unreachable { server, message }
    }
}

/// The causes of an error, outermost first. The error inside an [`io::Error`] is not among its sources, so it is added
/// here.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>() {
            Some(cause) => cause.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

fn certificate(why: &CertificateError, place: &str) -> String {
    match why {
        // Most clusters' authorities have the same name, `kubernetes`; then the signature is wrong and not the issuer.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("it was not issued by a certificate authority that {place} names")
        }
        why => why.to_string(),
    }
}

fn contexts_list(contexts: &[String]) -> String {
    if contexts.is_empty() {
        " none".to_owned()
    } else {
        format!(": {}", contexts.join(", "))
    }
}
