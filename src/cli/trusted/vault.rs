//! Reads roles and policies from a vault, bounded in time and size. A part that cannot be read is an error, because a
//! comparison without it would find too little.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value};
use url::Url;

use crate::cli::outcome::Failure;
use crate::policy::vault_access::{Binding, Role, SubjectRule, VaultAccess, acl};
use crate::runtime::issuer_keys::{Authorities, FetchError, causes, within_limits};
use crate::vault_api::HEADER_NAMESPACE;

/// Timeout of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of all requests.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Most roles that are read.
const MAX_ROLES: usize = 2_000;
/// Environment variable with the token, as the vault's own command line has it.
const TOKEN_VARIABLE: &str = "VAULT_TOKEN";

/// Data of an answer.
type Data = Map<String, Value>;

/// A token of the vault. It is never printed.
pub(super) struct Token(HeaderValue);

/// A vault, and how it is read.
pub(super) struct Connection {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    address: Url,
    namespace: Option<HeaderValue>,
    token: Token,
}

/// Reasons why the vault was not read. None contains the token.
#[derive(Debug, thiserror::Error)]
pub(super) enum VaultError {
    #[error(
        "there is no token of the vault: write one into a file and name it with --token-file, or set {TOKEN_VARIABLE}"
    )]
    NoToken,
    #[error("--token-file {0}: {1}")]
    TokenFile(PathBuf, std::io::Error),
    #[error(
        "the token of the vault is not one line of printable characters; correct the file or {TOKEN_VARIABLE}"
    )]
    Token,
    #[error("--vault-namespace is not a namespace; write it as segments, such as team-a/app")]
    Namespace,
    #[error(
        "the vault at {address} refuses to read {path} ({status}); give a token with the capability {capability} on \
         that path"
    )]
    Refused {
        address: String,
        path: String,
        status: StatusCode,
        capability: &'static str,
    },
    #[error(
        "{path} of the vault at {address} cannot be read: {problem}; check the address and the vault"
    )]
    Unreadable {
        address: String,
        path: String,
        problem: String,
    },
    #[error("the vault has more than {MAX_ROLES} roles, the most that are compared")]
    TooMany,
    #[error("the vault was not read within {} s; try again", TIMEOUT.as_secs())]
    Slow,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Reads the token from a file or, without one, from the environment.
    pub(super) fn read(file: Option<&Path>) -> Result<Self, VaultError> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| VaultError::TokenFile(file.to_owned(), error))?,
            None => std::env::var(TOKEN_VARIABLE).map_err(|_| VaultError::NoToken)?,
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(VaultError::NoToken);
        }
        let mut value = HeaderValue::from_str(text).map_err(|_| VaultError::Token)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Connection {
    /// Prepares the requests to a vault.
    pub(super) fn new(
        address: Url,
        namespace: Option<String>,
        ca_file: Option<&Path>,
        token: Token,
    ) -> Result<Self, Failure> {
        if address.scheme() == "http" {
            tracing::warn!("the token is sent to {address} without encryption; prefer https");
        }
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(Authorities::new(ca_file)?.tls())
            .https_or_http()
            .enable_http1()
            .build();
        let namespace = namespace.map(HeaderValue::try_from).transpose();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            address,
            namespace: namespace.map_err(|_| VaultError::Namespace)?,
            token,
        })
    }

    /// Reads all roles of the auth methods for Kubernetes and JWT, and their policies.
    pub(super) async fn access(&self) -> Result<VaultAccess, VaultError> {
        let read = tokio::time::timeout(TIMEOUT, async {
            let roles = self.roles().await?;
            let compared = roles.iter().filter(|role| role.binding != Binding::Browser);
            let names: BTreeSet<&String> = compared.flat_map(|role| &role.policies).collect();
            let mut policies = BTreeMap::new();
            for name in names {
                let read = self.read(&["sys", "policies", "acl", name]).await?;
                let text = read.as_ref().map(|policy| text(policy, "policy"));
                let parsed = text.map(|text| acl::parse(name, &text.unwrap_or_default()));
                policies.insert(name.clone(), parsed);
            }
            Ok(VaultAccess { roles, policies })
        });
        read.await.unwrap_or(Err(VaultError::Slow))
    }

    async fn roles(&self) -> Result<Vec<Role>, VaultError> {
        let methods = self.read(&["sys", "auth"]).await?.unwrap_or_default();
        let mut roles = Vec::new();
        for (mount, method) in &methods {
            let kind = method.get("type").and_then(Value::as_str);
            let read: fn(&Data, &Data) -> Binding = match kind {
                Some("kubernetes") => |role, _| service_accounts(role),
                Some("jwt" | "oidc") => claims,
                _ => continue,
            };
            let path: Vec<&str> = ["auth"]
                .into_iter()
                .chain(mount.trim_end_matches('/').split('/'))
                .collect();
            let below = |part: &'static str| [path.as_slice(), &[part]].concat();
            let config = self.read(&below("config")).await?.unwrap_or_default();
            let list = self.get(&below("role"), true).await?.unwrap_or_default();
            for name in texts(&list, "keys") {
                if roles.len() >= MAX_ROLES {
                    return Err(VaultError::TooMany);
                }
                let path = [below("role").as_slice(), &[&name]].concat();
                // A role that was deleted since it was listed admits nobody.
                let Some(role) = self.read(&path).await? else {
                    continue;
                };
                roles.push(Role {
                    path: path.join("/"),
                    binding: read(&role, &config),
                    policies: policies(&role),
                });
            }
        }
        Ok(roles)
    }

    async fn read(&self, path: &[&str]) -> Result<Option<Data>, VaultError> {
        self.get(path, false).await
    }

    /// Reads the data of a path; `None` if there is nothing.
    async fn get(&self, path: &[&str], list: bool) -> Result<Option<Data>, VaultError> {
        let shown = path.join("/");
        let unreadable = |problem: String| VaultError::Unreadable {
            address: self.address.to_string(),
            path: shown.clone(),
            problem,
        };
        let mut url = self.address.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().push("v1").extend(path);
        }
        url.set_query(list.then_some("list=true"));
        let mut request = Request::get(url.as_str())
            .header(header::USER_AGENT, "vaultwall")
            .header("x-vault-request", "true")
            .header("x-vault-token", self.token.0.clone());
        if let Some(namespace) = &self.namespace {
            request = request.header(HEADER_NAMESPACE, namespace.clone());
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| unreadable(error.to_string()))?;
        let answer = within_limits(REQUEST_TIMEOUT, async {
            let answer = self.client.request(request).await;
            answer.map_err(|error| FetchError::Unreachable(causes(&error)))
        });
        let body = match answer.await {
            Ok(body) => body,
            Err(FetchError::Status(StatusCode::NOT_FOUND)) => return Ok(None),
            Err(FetchError::Status(
                status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
            )) => {
                return Err(VaultError::Refused {
                    address: self.address.to_string(),
                    path: shown,
                    status,
                    capability: if list { "list" } else { "read" },
                });
            }
            Err(FetchError::Status(status)) => {
                return Err(unreadable(format!("it answers {status}")));
            }
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let document: Value =
            serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
        match document.get("data") {
            Some(Value::Object(data)) => Ok(Some(data.clone())),
            _ => Err(unreadable("the answer has no `data`".to_owned())),
        }
    }
}

/// Binding of a role of the Kubernetes auth method.
fn service_accounts(role: &Data) -> Binding {
    Binding::ServiceAccounts {
        names: texts(role, "bound_service_account_names"),
        namespaces: texts(role, "bound_service_account_namespaces"),
        has_selector: text(role, "bound_service_account_namespace_selector").is_some(),
        audience: text(role, "audience"),
    }
}

/// Binding of a role of the JWT auth method.
fn claims(role: &Data, config: &Data) -> Binding {
    if text(role, "role_type").as_deref() == Some("oidc") {
        return Binding::Browser;
    }
    let by_claims = role
        .get("bound_claims")
        .and_then(|claims| claims.get("sub"));
    let by_claims = match by_claims {
        Some(Value::String(subject)) => vec![subject.clone()],
        Some(Value::Array(list)) => strings(list),
        _ => Vec::new(),
    };
    let has_globs = text(role, "bound_claims_type").as_deref() == Some("glob");
    let subject = match text(role, "bound_subject") {
        Some(subject) => SubjectRule::Exact(vec![subject]),
        None if by_claims.is_empty() => SubjectRule::Any,
        None if has_globs => SubjectRule::Globs(by_claims),
        None => SubjectRule::Exact(by_claims),
    };
    Binding::Claims {
        issuer: text(config, "bound_issuer").or_else(|| text(config, "oidc_discovery_url")),
        subject,
        audiences: texts(role, "bound_audiences"),
    }
}

/// Policies of a role, also by the name of older versions.
fn policies(role: &Data) -> Vec<String> {
    let names: BTreeSet<String> = ["token_policies", "policies"]
        .into_iter()
        .flat_map(|field| texts(role, field))
        .collect();
    names.into_iter().collect()
}

/// A text that is not empty.
fn text(object: &Data, field: &str) -> Option<String> {
    let text = object.get(field).and_then(Value::as_str);
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn texts(object: &Data, field: &str) -> Vec<String> {
    let list = object.get(field).and_then(Value::as_array);
    list.map_or_else(Vec::new, |list| strings(list))
}

fn strings(list: &[Value]) -> Vec<String> {
    let texts = list.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}
