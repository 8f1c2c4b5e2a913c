//! An API server, as messages name it.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

/// Timeout for a connection, and for the answer to the first request.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Origin of the client's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Kubeconfig files.
    Files(Vec<PathBuf>),
    /// The service account of the pod that this process runs in.
    ServiceAccount,
}

/// An API server, as messages name it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// URL without a slash at the end.
    pub(super) url: String,
    /// Origin of the URL and of the credentials.
    pub(super) source: Source,
}

impl Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Server {
    /// Origin of the credentials and of the certificate authority.
    pub(super) fn place(&self) -> &'static str {
        match self.source {
            Source::Files(_) => "the kubeconfig",
            Source::ServiceAccount => "the pod's service account",
        }
    }

    /// Advice for a server that does not answer, or that is no API server.
    pub(super) fn check_address(&self) -> String {
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

    /// Advice for a server whose certificate is not trusted.
    pub(super) fn check_authority(&self) -> String {
        match &self.source {
            Source::Files(files) => format!(
                "check certificate-authority and server in the kubeconfig {}: \
                 the address may belong to another cluster",
                files_list(files)
            ),
            Source::ServiceAccount => {
                "delete the pod, so that a new pod gets the cluster's current authority; \
                 if that does not help, something between the pod and the API server answers in its place"
                    .to_owned()
            }
        }
    }

    /// Advice for a server that refuses the credentials.
    pub(super) fn check_credentials(&self) -> String {
        match &self.source {
            Source::Files(files) => {
                format!(
                    "they may have expired: log in again, or correct {}",
                    files_list(files)
                )
            }
            Source::ServiceAccount => {
                "the service account may have been deleted: create it, and delete the pod, \
                 so that a new pod gets a token"
                    .to_owned()
            }
        }
    }

    /// Advice for missing credentials.
    pub(super) fn get_credentials(&self) -> &'static str {
        match self.source {
            Source::Files(_) => "log in again",
            Source::ServiceAccount => "set automountServiceAccountToken: true in the pod",
        }
    }
}

/// The files, separated by commas.
pub(super) fn files_list(files: &[PathBuf]) -> String {
    let files: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    files.join(", ")
}
