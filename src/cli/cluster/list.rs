//! Lists of objects from the API server, page by page, in the words of JSON. Each is read as a file would be; which ones a
//! question needs is [`super::read`]'s business.

use std::fmt;
use std::time::Duration;

use kube::Client;
use kube::api::{GetParams, ListParams};
use kube::core::Request;
use serde_json::Value;

use super::ConnectError;
use super::error::Server;
use crate::api::{GROUP, VERSION};
use crate::limits::Limits;
use crate::objects::{FileContents, read_from_cluster};

/// Objects a page, as kubectl has it.
const PAGE: u32 = 500;
/// Longest wait for one page.
const WAIT: Duration = Duration::from_secs(30);

/// A kind that a question needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Policies,
    VirtualNetworks,
    Namespaces,
    Pods,
    Services,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Policies => "vaultnetworkpolicies",
            Self::VirtualNetworks => "virtualnetworks",
            Self::Namespaces => "namespaces",
            Self::Pods => "pods",
            Self::Services => "services",
        }
    }

    fn is_ours(self) -> bool {
        matches!(self, Self::Policies | Self::VirtualNetworks)
    }

    /// What cannot be told without it.
    fn consequence(self) -> &'static str {
        match self {
            Self::Policies => "which rules there are",
            Self::VirtualNetworks => "whom the subnets of the rules let in",
            Self::Namespaces => "whose pods the rules select, and which namespaces have opted in",
            Self::Pods => "which addresses belong to which pods",
            Self::Services => "which pods are the vault's",
        }
    }

    fn path(self, namespace: Option<&str>) -> String {
        let group = if self.is_ours() {
            format!("/apis/{GROUP}/{VERSION}")
        } else {
            "/api/v1".to_owned()
        };
        match namespace {
            Some(namespace) => format!("{group}/namespaces/{namespace}/{}", self.plural()),
            None => format!("{group}/{}", self.plural()),
        }
    }
}

/// As RBAC writes it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())?;
        if self.is_ours() {
            write!(f, ".{GROUP}")?;
        }
        Ok(())
    }
}

/// Why objects could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// A right is missing.
    #[error(
        "you may not {verb} {kind} {}, and without them nobody can tell {}; ask an admin of the cluster for that right (the API \
         server says: {message})",
        place(*kind, namespace.as_deref()),
        kind.consequence()
    )]
    Forbidden {
        /// `get` or `list`.
        verb: &'static str,
        /// Of what.
        kind: Kind,
        /// In one namespace, or in all.
        namespace: Option<String>,
        /// The API server's words.
        message: String,
    },
    /// The kinds are not installed.
    #[error(
        "the cluster does not know {0}; install the kinds: vaultwall crds | kubectl apply --server-side -f -"
    )]
    NotInstalled(Kind),
    /// The API server could not answer.
    #[error("the API server could not {verb} {kind}: {message}; try again")]
    Failed {
        /// `get` or `list`.
        verb: &'static str,
        /// Of what.
        kind: Kind,
        /// Its words.
        message: String,
    },
    /// This process lacks what it needs to connect.
    #[error("no connection can be opened: {0}")]
    Runtime(#[source] std::io::Error),
    /// The connection is no more, or the credentials.
    #[error(transparent)]
    Connection(#[from] ConnectError),
}

impl ReadError {
    /// Whether it is a right that lacks.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }
}

fn place(kind: Kind, namespace: Option<&str>) -> String {
    match (kind, namespace) {
        (Kind::VirtualNetworks | Kind::Namespaces, _) => "of the cluster".to_owned(),
        (_, Some(namespace)) => format!("in namespace {namespace}"),
        (_, None) => "in all namespaces".to_owned(),
    }
}

/// An API server that answers, for questions that are asked once.
pub(super) struct Cluster {
    pub(super) client: Client,
    /// For messages.
    pub(super) server: Server,
    pub(super) limits: Limits,
}

impl Cluster {
    /// All objects of a kind, in one namespace or in all; `field_selector` narrows them down.
    pub(super) async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        field_selector: Option<String>,
    ) -> Result<Vec<FileContents>, ReadError> {
        if !namespace.is_none_or(may_be_a_namespace) {
            return Ok(Vec::new());
        }
        let mut params = ListParams {
            limit: Some(PAGE),
            field_selector,
            ..ListParams::default()
        };
        let mut pages = Vec::new();
        loop {
            let request = Request::new(kind.path(namespace)).list(&params);
            let page = match self.ask(request).await {
                Ok(page) => page,
                // The snapshot that the pages are taken from has expired: all at once, then.
                Err(Unanswered::Refused { code: 410, .. }) if params.limit.is_some() => {
                    pages.clear();
                    params.limit = None;
                    params.continue_token = None;
                    continue;
                }
                Err(error) => return Err(self.read_error(error, "list", kind, namespace)),
            };
            let next = page.pointer("/metadata/continue").and_then(Value::as_str);
            let next = next.filter(|token| !token.is_empty()).map(str::to_owned);
            pages.push(read_from_cluster(page, &self.limits));
            match next {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(pages),
            }
        }
    }

    /// One object, if it is there.
    pub(super) async fn get(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<FileContents>, ReadError> {
        if !namespace.is_none_or(may_be_a_namespace) {
            return Ok(None);
        }
        let request = Request::new(kind.path(namespace)).get(name, &GetParams::default());
        match self.ask(request).await {
            Ok(object) => Ok(Some(read_from_cluster(object, &self.limits))),
            Err(Unanswered::Refused { code: 404, .. }) if !kind.is_ours() => Ok(None),
            Err(error) => Err(self.read_error(error, "get", kind, namespace)),
        }
    }

    async fn ask(
        &self,
        request: Result<axum::http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, Unanswered> {
        let request = request.map_err(|error| Unanswered::Impossible(error.to_string()))?;
        match tokio::time::timeout(WAIT, self.client.request::<Value>(request)).await {
            Err(_) => Err(Unanswered::Slow),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code != 401 => Err(Unanswered::Refused {
                code: status.code,
                message: status.message.clone(),
            }),
            Ok(Err(error)) => Err(Unanswered::Lost(ConnectError::of_request(
                &self.server,
                &error,
            ))),
        }
    }

    fn read_error(
        &self,
        error: Unanswered,
        verb: &'static str,
        kind: Kind,
        namespace: Option<&str>,
    ) -> ReadError {
        match error {
            Unanswered::Refused { code: 404, .. } if kind.is_ours() => {
                ReadError::NotInstalled(kind)
            }
            Unanswered::Refused { code: 403, message } => ReadError::Forbidden {
                verb,
                kind,
                namespace: namespace.map(str::to_owned),
                message,
            },
            Unanswered::Refused { code, message } => ReadError::Failed {
                verb,
                kind,
                message: format!("{code} {message}"),
            },
            Unanswered::Impossible(message) => ReadError::Failed {
                verb,
                kind,
                message,
            },
            Unanswered::Slow => ReadError::Connection(ConnectError::Slow {
                server: self.server.clone(),
                waited: WAIT,
            }),
            Unanswered::Lost(error) => ReadError::Connection(error),
        }
    }
}

/// Whether the API server could know a namespace of this name; anything else would be read as a part of the path.
fn may_be_a_namespace(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// A namespace on the command line.
pub(crate) fn namespace(text: &str) -> Result<String, String> {
    if may_be_a_namespace(text) {
        Ok(text.to_owned())
    } else {
        Err("write the name of a namespace, for example vault".into())
    }
}

/// Why there is no answer.
enum Unanswered {
    Refused { code: u16, message: String },
    Impossible(String),
    Slow,
    Lost(ConnectError),
}
