//! Why an API server cannot be asked, in words for the person who has to change that.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::CertificateError;

use super::connect::WAIT;
use super::kubeconfig::Source;

/// An API server, as messages name it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Its address.
    pub(super) url: String,
    /// Who says so.
    pub(super) source: Source,
}

impl Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

impl Server {
    /// Where the credentials and the certificate authority are from.
    fn place(&self) -> &'static str {
        match self.source {
            Source::Files(_) => "the kubeconfig",
            Source::ServiceAccount => "the pod's service account",
        }
    }

    /// What to do when the wrong one answers, or none.
    fn check_address(&self) -> String {
        match &self.source {
            Source::Files(files) => {
                format!("check the address in the kubeconfig {}", files_list(files))
            }
            Source::ServiceAccount => {
                "check that NetworkPolicies let this pod reach it (the address is the pod's \
                 KUBERNETES_SERVICE_HOST)"
                    .to_owned()
            }
        }
    }

    /// What to do when its certificate is not believed.
    fn check_authority(&self) -> String {
        match &self.source {
            Source::Files(files) => format!(
                "check certificate-authority and server in the kubeconfig {}: the address may belong to another cluster",
                files_list(files)
            ),
            Source::ServiceAccount => {
                "delete the pod, so that another is given the cluster's authority of now; or \
                 something on the way answers in the API server's place"
                    .to_owned()
            }
        }
    }

    /// What to do when it does not believe the credentials.
    fn check_credentials(&self) -> String {
        match &self.source {
            Source::Files(files) => {
                format!(
                    "they may have expired: log in again, or correct {}",
                    files_list(files)
                )
            }
            Source::ServiceAccount => {
                "the service account may have been deleted: make it, and delete the pod, so that \
                 another is given its token"
                    .to_owned()
            }
        }
    }

    /// What to do when there are none.
    fn get_credentials(&self) -> &'static str {
        match self.source {
            Source::Files(_) => "log in again",
            Source::ServiceAccount => "set automountServiceAccountToken: true in the pod",
        }
    }
}

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
    #[error("{} is not a kubeconfig: {message}; correct it, or give another with --kubeconfig", file.display())]
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
    /// The client cannot be made from what is said of the API server.
    #[error("what {} says of the API server {server} cannot be used: {message}", server.place())]
    Unusable {
        /// The API server.
        server: Server,
        /// Why.
        message: String,
    },
    /// A proxy is in between.
    #[error(
        "the API server {server} is to be reached through the proxy {proxy}, which is not supported yet; if it can be \
         reached directly, name it in NO_PROXY"
    )]
    Proxy {
        /// The API server.
        server: Server,
        /// Host of the proxy.
        proxy: String,
    },
    /// The command that should fetch a token failed, or a token's file is not there.
    #[error("there are no credentials for the API server {server}: {message}; {}", server.get_credentials())]
    NoCredentials {
        /// The API server.
        server: Server,
        /// Why.
        message: String,
    },
    /// Nobody answers.
    #[error(
        "the API server {server} cannot be reached: {message}; {}, and that the cluster runs",
        server.check_address()
    )]
    Unreachable {
        /// The API server.
        server: Server,
        /// Why.
        message: String,
    },
    /// It does not answer in time.
    #[error(
        "the API server {server} did not answer within {} s; {}, and that nothing blocks the way (VPN, firewall)",
        waited.as_secs(),
        server.check_address()
    )]
    Slow {
        /// The API server.
        server: Server,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Its certificate is not of an authority that is trusted.
    #[error(
        "the certificate of the API server {server} is not trusted: {message}; {}",
        server.check_authority()
    )]
    Untrusted {
        /// The API server.
        server: Server,
        /// Why.
        message: String,
    },
    /// The credentials are refused.
    #[error(
        "the API server {server} refuses the credentials of {} (401 {message}); {}",
        server.place(),
        server.check_credentials()
    )]
    Unauthorized {
        /// The API server.
        server: Server,
        /// What it says.
        message: String,
    },
    /// Something else listens there.
    #[error(
        "{server} does not answer as a Kubernetes API server does: {message}; {}",
        server.check_address()
    )]
    NotKubernetes {
        /// The API server.
        server: Server,
        /// What it said.
        message: String,
    },
}

impl ConnectError {
    /// Why a request got no answer, or none that counts.
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

    fn of_transport(server: Server, error: &(dyn std::error::Error + 'static)) -> Self {
        let found = causes(error);
        if let Some(Cause::Tls(cause)) = found.iter().find(|cause| matches!(cause, Cause::Tls(_))) {
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

fn certificate(why: &CertificateError, place: &str) -> String {
    match why {
        // Most certificate authorities of clusters have one name, `kubernetes`, and then it is the signature that is wrong.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("it was not issued by a certificate authority that {place} names")
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
