//! Why an API server cannot be asked, in words for the person who has to change that.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::CertificateError;

use super::connect::WAIT;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody says which cluster.
    #[error(
        "there is no kubeconfig{}; give one with --kubeconfig or KUBECONFIG, or files with -f where the subcommand takes them",
        own.as_ref().map(|own| format!(": KUBECONFIG is not set, and there is no {}", own.display())).unwrap_or_default()
    )]
    NoKubeconfig {
        /// The file that was looked for in the user's home.
        own: Option<PathBuf>,
    },
    /// None of the files of the variable is there.
    #[error("KUBECONFIG names {}, which is not there; correct it, or give --kubeconfig", list(files.iter().map(|file| file.display())))]
    NamedByVariable {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// A file cannot be read.
    #[error("the kubeconfig {} cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is something else.
    #[error("{} is not a kubeconfig: {message}", file.display())]
    NoKubeconfigFile {
        /// The file.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// No context is chosen.
    #[error(
        "the kubeconfig {} says no current-context; choose one with --context; it has{}",
        files_list(files),
        contexts_list(contexts)
    )]
    NoCurrentContext {
        /// The files.
        files: Vec<PathBuf>,
        /// Their contexts.
        contexts: Vec<String>,
    },
    /// A context is chosen that is not there.
    #[error(
        "there is no context \"{context}\" in the kubeconfig {}; it has{}",
        files_list(files),
        contexts_list(contexts)
    )]
    NoSuchContext {
        /// The context.
        context: String,
        /// The files.
        files: Vec<PathBuf>,
        /// Their contexts.
        contexts: Vec<String>,
    },
    /// A context that leads nowhere.
    #[error(
        "the context \"{context}\" of the kubeconfig {} cannot be used: {message}",
        files_list(files)
    )]
    Context {
        /// The context.
        context: String,
        /// The files.
        files: Vec<PathBuf>,
        /// Why.
        message: String,
    },
    /// The pod's service account cannot be used.
    #[error(
        "the pod's service account cannot be used: {message}; set automountServiceAccountToken: true in the pod, or give --kubeconfig"
    )]
    InPod {
        /// Why.
        message: String,
    },
    /// The client cannot be made from what the kubeconfig says.
    #[error("the kubeconfig's entry for {server} cannot be used: {message}")]
    Unusable {
        /// Address of the API server.
        server: String,
        /// Why.
        message: String,
    },
    /// A proxy is in between.
    #[error(
        "the API server {server} is to be reached through the proxy {proxy}, which is not supported yet; if it can be \
         reached directly, name it in NO_PROXY"
    )]
    Proxy {
        /// Address of the API server.
        server: String,
        /// Host of the proxy.
        proxy: String,
    },
    /// The command that should fetch a token failed, or a token's file is not there.
    #[error("there are no credentials for the API server {server}: {message}; log in again")]
    NoCredentials {
        /// Its address.
        server: String,
        /// Why.
        message: String,
    },
    /// Nobody answers.
    #[error(
        "the API server {server} cannot be reached: {message}; check the address in the kubeconfig, and that the cluster runs"
    )]
    Unreachable {
        /// Its address.
        server: String,
        /// Why.
        message: String,
    },
    /// It does not answer in time.
    #[error(
        "the API server {server} did not answer within {} s; check the address in the kubeconfig, and that nothing blocks the way (VPN, firewall)",
        waited.as_secs()
    )]
    Slow {
        /// Its address.
        server: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Its certificate is not the one that the kubeconfig trusts.
    #[error(
        "the certificate of the API server {server} is not trusted: {message}; check certificate-authority and server in the \
         kubeconfig: the address may belong to another cluster"
    )]
    Untrusted {
        /// Its address.
        server: String,
        /// Why.
        message: String,
    },
    /// The credentials are refused.
    #[error(
        "the API server {server} refuses the credentials of the kubeconfig (401 {message}); they may have expired: log in again"
    )]
    Unauthorized {
        /// Its address.
        server: String,
        /// What it says.
        message: String,
    },
    /// Something else listens there.
    #[error(
        "{server} does not answer as a Kubernetes API server does: {message}; check the address in the kubeconfig"
    )]
    NotKubernetes {
        /// Its address.
        server: String,
        /// What it said.
        message: String,
    },
}

impl ConnectError {
    /// Why a request got no answer, or none that counts.
    pub(crate) fn of_request(server: &str, error: &kube::Error) -> Self {
        let server = server.to_owned();
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

    fn of_transport(server: String, error: &(dyn std::error::Error + 'static)) -> Self {
        let found = causes(error);
        if let Some(Cause::Tls(cause)) = found.iter().find(|cause| matches!(cause, Cause::Tls(_))) {
            return match cause {
                rustls::Error::InvalidCertificate(why) => Self::Untrusted {
                    server,
                    message: certificate(why),
                },
                rustls::Error::AlertReceived(alert) => Self::Unauthorized {
                    server,
                    message: format!("TLS alert {alert:?}"),
                },
                rustls::Error::InvalidMessage(_) => Self::NotKubernetes {
                    server,
                    message: "it does not speak TLS".to_owned(),
                },
                other => Self::Unreachable {
                    server,
                    message: other.to_string(),
                },
            };
        }
        let timed_out = |cause: &Cause| matches!(cause, Cause::Io(cause) if cause.kind() == io::ErrorKind::TimedOut);
        if found.iter().any(timed_out) {
            return Self::Slow {
                server,
                waited: WAIT,
            };
        }
        // The innermost cause says the most.
        let message = match found.last() {
            Some(cause) => cause.to_string(),
            None => error.to_string(),
        };
        Self::Unreachable { server, message }
    }
}

/// A cause of an error.
enum Cause<'a> {
    Tls(&'a rustls::Error),
    Io(&'a io::Error),
    Other(&'a (dyn std::error::Error + 'static)),
}

impl Display for Cause<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls(cause) => cause.fmt(f),
            Self::Io(cause) => cause.fmt(f),
            Self::Other(cause) => cause.fmt(f),
        }
    }
}

/// The causes of an error, outermost first. What an [`io::Error`] wraps is not among its sources, so it is unwrapped here.
fn causes<'a>(error: &'a (dyn std::error::Error + 'static)) -> Vec<Cause<'a>> {
    let mut found = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        if let Some(cause) = error.downcast_ref::<rustls::Error>() {
            found.push(Cause::Tls(cause));
        } else if let Some(cause) = error.downcast_ref::<io::Error>() {
            found.push(Cause::Io(cause));
            next = cause
                .get_ref()
                .map(|inner| inner as &(dyn std::error::Error + 'static));
        } else {
            found.push(Cause::Other(error));
        }
    }
    found
}

fn certificate(why: &CertificateError) -> String {
    match why {
        // Most certificate authorities of clusters have one name, `kubernetes`, and then it is the signature that is wrong.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it was not issued by a certificate authority that the kubeconfig names".to_owned()
        }
        why => why.to_string(),
    }
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    items.join(", ")
}

fn files_list(files: &[PathBuf]) -> String {
    list(files.iter().map(|file| file.display()))
}

fn contexts_list(contexts: &[String]) -> String {
    if contexts.is_empty() {
        " none".to_owned()
    } else {
        format!(": {}", contexts.join(", "))
    }
}
