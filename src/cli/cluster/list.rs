//! Lists objects of the API server page by page, as JSON. Each object is read like one in a file; `read` chooses the
//! kinds.

use std::fmt;
use std::time::Duration;

use kube::api::{DynamicObject, GetParams, ListParams};
use kube::core::Request;
use kube::{Client, Resource};
use serde_json::Value;

use super::error::ConnectError;
use super::server::Server;
use crate::api::INSTALL_DEFINITIONS;
use crate::index::Kind;
use crate::limits::Limits;
use crate::objects::{FileContents, KindInfo, info, read_from_cluster};

/// Objects in a page; the same as kubectl's.
const PAGE_SIZE: u32 = 500;
/// Timeout for one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// A kind of object that a subcommand reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    kind: Kind,
    /// Part of a message: the facts that are unknown if objects of the kind cannot be read.
    consequence: &'static str,
}

impl Wanted {
    pub(super) const POLICIES: Self = Self {
        kind: Kind::VaultNetworkPolicy,
        consequence: "which rules there are",
    };
    pub(super) const VIRTUAL_NETWORKS: Self = Self {
        kind: Kind::VirtualNetwork,
        consequence: "which clients the subnets of the rules contain",
    };
    pub(super) const TRUSTED_SERVICES: Self = Self {
        kind: Kind::TrustedService,
        consequence: "which services a bypass lets in",
    };
    pub(super) const SERVICE_ACCOUNTS: Self = Self {
        kind: Kind::ServiceAccount,
        consequence: "which tokens are of an existing account",
    };
    pub(super) const NAMESPACES: Self = Self {
        kind: Kind::Namespace,
        consequence: "whose pods the rules select, and which namespaces have opted in",
    };
    /// Namespaces for `trusted check`, which reads their subscriptions alone.
    pub(super) const SUBSCRIPTIONS: Self = Self {
        kind: Kind::Namespace,
        consequence: "which namespaces are in the vault's subscription",
    };
    pub(super) const PODS: Self = Self {
        kind: Kind::Pod,
        consequence: "which addresses belong to which pods",
    };
    pub(super) const SERVICES: Self = Self {
        kind: Kind::Service,
        consequence: "which pods are the vault's",
    };

    fn info(self) -> &'static KindInfo {
        info(self.kind)
    }

    fn path(self, namespace: Option<&str>) -> String {
        DynamicObject::url_path(&self.info().resource, namespace)
    }
}

/// The resource, as RBAC rules name it.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = &self.info().resource;
        f.write_str(&resource.plural)?;
        if !resource.group.is_empty() {
            write!(f, ".{}", resource.group)?;
        }
        Ok(())
    }
}

/// Reasons why objects could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// A permission is missing.
    #[error(
        "you are not allowed to {verb} {kind} {}, and without them it is unknown {}; \
         ask an admin of the cluster for that permission (answer of the API server: {message})",
        place(*kind, namespace.as_deref()),
        kind.consequence
    )]
    Forbidden {
        /// `get` or `list`.
        verb: &'static str,
        /// The kind that was read.
        kind: Wanted,
        /// The namespace; `None` for all.
        namespace: Option<String>,
        /// Message of the API server.
        message: String,
    },
    /// The custom resource definitions are not installed.
    #[error("the cluster has no {0}; {INSTALL_DEFINITIONS}")]
    NotInstalled(Wanted),
    /// The API server answered with an error.
    #[error("the API server could not {verb} {kind}: {message}; try again")]
    Failed {
        /// `get` or `list`.
        verb: &'static str,
        /// The kind that was read.
        kind: Wanted,
        /// Status code and message of the API server.
        message: String,
    },
    /// The client's async runtime cannot be started.
    #[error("the client cannot be started: {0}")]
    Runtime(#[source] std::io::Error),
    /// The connection or the credentials failed.
    #[error(transparent)]
    Connection(#[from] ConnectError),
}

impl ReadError {
    /// Whether a permission is missing.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }
}

fn place(kind: Wanted, namespace: Option<&str>) -> String {
    match namespace {
        _ if !kind.info().namespaced => "of the cluster".to_owned(),
        Some(namespace) => format!("in namespace {namespace}"),
        None => "in all namespaces".to_owned(),
    }
}

/// A connected API server, for a subcommand that reads once.
pub(super) struct Cluster {
    pub(super) client: Client,
    /// Name of the API server, for messages.
    pub(super) server: Server,
    pub(super) limits: Limits,
}

impl Cluster {
    /// All objects of a kind, in one namespace or in all; `field_selector` narrows them down.
    pub(super) async fn list(
        &self,
        kind: Wanted,
        namespace: Option<&str>,
        field_selector: Option<String>,
    ) -> Result<Vec<FileContents>, ReadError> {
        self.list_and_inspect(kind, namespace, field_selector, |_| ())
            .await
    }

    /// The same; `inspect` receives each page as the API server sent it.
    pub(super) async fn list_and_inspect(
        &self,
        kind: Wanted,
        namespace: Option<&str>,
        field_selector: Option<String>,
        mut inspect: impl FnMut(&Value),
    ) -> Result<Vec<FileContents>, ReadError> {
        if !namespace.is_none_or(may_be_a_namespace) {
            return Ok(Vec::new());
        }
        let mut params = ListParams {
            limit: Some(PAGE_SIZE),
            field_selector,
            ..ListParams::default()
        };
        let mut pages = Vec::new();
        loop {
            let request = Request::new(kind.path(namespace)).list(&params);
            let page = match self.request(request).await {
                Ok(page) => page,
                // The snapshot that the pages come from has expired: read everything in one page.
                Err(RequestError::Refused { code: 410, .. }) if params.limit.is_some() => {
                    pages.clear();
                    params.limit = None;
                    params.continue_token = None;
                    continue;
                }
                Err(error) => return Err(self.read_error(error, "list", kind, namespace)),
            };
            inspect(&page);
            let next = page.pointer("/metadata/continue").and_then(Value::as_str);
            let next = next.filter(|token| !token.is_empty()).map(str::to_owned);
            pages.push(read_from_cluster(page, &self.limits));
            match next {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(pages),
            }
        }
    }

    /// One object, if it exists.
    pub(super) async fn get(
        &self,
        kind: Wanted,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<FileContents>, ReadError> {
        if !namespace.is_none_or(may_be_a_namespace) {
            return Ok(None);
        }
        let request = Request::new(kind.path(namespace)).get(name, &GetParams::default());
        match self.request(request).await {
            Ok(object) => Ok(Some(read_from_cluster(object, &self.limits))),
            Err(RequestError::Refused { code: 404, .. }) if !kind.info().is_custom() => Ok(None),
            Err(error) => Err(self.read_error(error, "get", kind, namespace)),
        }
    }

    pub(super) async fn request(
        &self,
        request: Result<axum::http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, RequestError> {
        let request = request.map_err(|error| RequestError::Invalid(error.to_string()))?;
        match tokio::time::timeout(PAGE_TIMEOUT, self.client.request::<Value>(request)).await {
            Err(_) => Err(RequestError::Slow),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code != 401 => Err(RequestError::Refused {
                code: status.code,
                message: status.message.clone(),
            }),
            Ok(Err(error)) => Err(RequestError::Connection(ConnectError::of_request(
                &self.server,
                &error,
            ))),
        }
    }

    fn read_error(
        &self,
        error: RequestError,
        verb: &'static str,
        kind: Wanted,
        namespace: Option<&str>,
    ) -> ReadError {
        match error {
            RequestError::Refused { code: 404, .. } if kind.info().is_custom() => {
                ReadError::NotInstalled(kind)
            }
            RequestError::Refused { code: 403, message } => ReadError::Forbidden {
                verb,
                kind,
                namespace: namespace.map(str::to_owned),
                message,
            },
            RequestError::Refused { code, message } => ReadError::Failed {
                verb,
                kind,
                message: format!("{code} {message}"),
            },
            RequestError::Invalid(message) => ReadError::Failed {
                verb,
                kind,
                message,
            },
            RequestError::Slow => ReadError::Connection(ConnectError::Slow {
                server: self.server.clone(),
                waited: PAGE_TIMEOUT,
            }),
            RequestError::Connection(error) => ReadError::Connection(error),
        }
    }
}

/// Whether a namespace may have this name. Other characters would change the path of the request.
fn may_be_a_namespace(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Parses a namespace on the command line.
pub(crate) fn namespace(text: &str) -> Result<String, String> {
    if may_be_a_namespace(text) {
        Ok(text.to_owned())
    } else {
        Err("write the name of a namespace, for example vault".into())
    }
}

/// Reasons why a request failed.
pub(super) enum RequestError {
    Refused { code: u16, message: String },
    Invalid(String),
    Slow,
    Connection(ConnectError),
}
