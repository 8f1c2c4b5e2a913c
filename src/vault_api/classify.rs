//! Finds the row of the [`Table`] for a request, or the reason why the request is ambiguous.

use std::sync::LazyLock;

use regex::Regex;

use super::dialect::{Dialect, Verb};
use super::path::{self, Target};
use super::profile::Plane;
use super::table::{HeaderMatch, PathMatch, Prefix, Row, Table};

/// Header with the vault namespace of a request.
pub const HEADER_NAMESPACE: &str = "x-vault-namespace";
/// Header with a signed token that proves an identity to the firewall. The vault does not receive it.
pub const HEADER_TOKEN: &str = "x-vaultwall-token";
/// Header with the method that an `OPTIONS` request asks about (CORS, Fetch standard).
pub const HEADER_ANNOUNCED: &str = "access-control-request-method";
/// Regular expression for the values of [`HEADER_NAMESPACE`]: nothing, or segments without dots at their start. Slashes
/// at both ends mean nothing.
pub const NAMESPACE_VALUE: &str =
    "/*(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/*)?";
/// Regular expression for the values of [`HEADER_NAMESPACE`] that mean the root namespace, as a missing header does.
pub const NAMESPACE_ROOT: &str = "/*(?:root/*)?";
/// Values of a query flag that the vault parses as true.
pub const FLAGS_TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];
/// Values of a query flag that the vault parses as false, or ignores.
pub const FLAGS_FALSE: [&str; 7] = ["", "0", "f", "F", "FALSE", "false", "False"];

/// Parts of a request that the classification needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// HTTP method, as received.
    pub method: &'a str,
    /// Request target, as received: the whole path, and the query.
    pub target: &'a str,
    /// Value of `Access-Control-Request-Method`; repeated ones are joined by commas.
    pub announced: Option<&'a str>,
    /// First value of `X-Vault-Namespace`; the proxy removes any other values.
    pub namespace: Option<&'a str>,
    /// Whether it has a body: a `Content-Length` other than zero, or a `Transfer-Encoding`.
    pub has_body: bool,
    /// Whether it has more than one [`HEADER_TOKEN`]. Envoy joins repeated ones by commas, so that a comma in the only
    /// one counts as well.
    pub several_tokens: bool,
}

/// Reason why a request is refused as ambiguous.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// The vault's API does not have the method.
    #[error("method {0} is not a method of the vault's API")]
    Method(String),
    /// The header has no valid path of a vault namespace.
    #[error("X-Vault-Namespace is not a valid namespace path")]
    Namespace,
    /// It has more than one token that could prove an identity.
    #[error("X-Vaultwall-Token has several lines, or a comma")]
    SeveralTokens,
    /// Both the header and the path contain a vault namespace.
    #[error("both the header and the path contain a namespace")]
    TwoNamespaces,
    /// Path and query are too long.
    #[error("path and query are longer than {} bytes", path::MAX_TARGET)]
    TooLong,
    /// A health probe has a body.
    #[error("a probe cannot have a body")]
    ProbeWithBody,
    /// Path or query has more than one meaning. The text is the cause.
    #[error("{0}")]
    Target(String),
}

/// Finds the row of the table for a request.
///
/// # Errors
/// If the proxy and the vault could interpret the request differently. The error has the cause.
pub fn classify<'t>(table: &'t Table, request: &Request<'_>) -> Result<&'t Row, BadRequest> {
    let Target { path, query } = path::normalise(request.target).map_err(BadRequest::Target)?;
    let query_length = query.as_ref().map_or(0, |query| query.len() + 1);
    if path.len() + query_length > path::MAX_TARGET {
        return Err(BadRequest::TooLong);
    }
    if !table.ocsp.as_ref().is_some_and(|ocsp| ocsp.is_match(&path)) {
        refuse_unless(PATTERNS.path.as_ref(), &path, || {
            target("the path contains `;`, or an encoding that could change its meaning")
        })?;
    }
    let query = query.unwrap_or_default();
    let dialect = &*table.dialect;
    check_query(dialect, &query)?;
    // A browser asks before it sends: the question is judged like the request itself.
    let method = match request.announced {
        Some(announced) if request.method == "OPTIONS" && !announced.is_empty() => announced,
        _ => request.method,
    };
    let verb = verb(dialect, method, &query)?;
    let namespace = request.namespace.filter(|_| dialect.namespaces);
    if let Some(namespace) = namespace {
        refuse_unless(PATTERNS.namespace.as_ref(), namespace, || {
            BadRequest::Namespace
        })?;
    }
    if request.several_tokens {
        return Err(BadRequest::SeveralTokens);
    }
    let namespace = namespace
        .map(|name| name.trim_matches('/'))
        .filter(|name| !name.is_empty() && *name != "root");
    let path = if dialect.ignores_case {
        path.to_ascii_lowercase()
    } else {
        path
    };
    if namespace.is_some() && begins_with_namespace(table, &path) {
        return Err(BadRequest::TwoNamespaces);
    }
    let row = table.rows.iter().find(|row| {
        (row.verbs.contains(&verb) || row.verbs.is_empty() && verb != Verb::Help)
            && header_matches(&row.header, namespace)
            && path_matches(&dialect.prefix, &row.path, &path)
    });
    // The last row of every table matches all other requests, so only a table without rows gets here.
    let row = row.ok_or_else(|| target("no row of the table matches"))?;
    if row.class.plane == Plane::Infrastructure && request.has_body {
        return Err(BadRequest::ProbeWithBody);
    }
    Ok(row)
}

/// Refuses a query with more than one meaning. Encoded keys matter only where a key can be a flag.
fn check_query(dialect: &Dialect, query: &str) -> Result<(), BadRequest> {
    let (pattern, problem) = if dialect.has_flags() {
        let problem = "the query contains `;`, `#`, an invalid encoding, or an encoded key";
        (&PATTERNS.query, problem)
    } else {
        let problem = "the query contains `;`, `#` or an invalid encoding";
        (&PATTERNS.query_without_flags, problem)
    };
    refuse_unless(pattern.as_ref(), query, || target(problem))
}

struct Patterns {
    path: Option<Regex>,
    query: Option<Regex>,
    query_without_flags: Option<Regex>,
    namespace: Option<Regex>,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let whole = |pattern: &str| Regex::new(&format!("^(?:{pattern})$")).ok();
    Patterns {
        path: whole(path::PATH),
        query: whole(path::QUERY),
        query_without_flags: whole(path::QUERY_WITHOUT_FLAGS),
        namespace: whole(NAMESPACE_VALUE),
    }
});

/// Refuses a text that does not match. A pattern that did not compile refuses every text.
fn refuse_unless(
    pattern: Option<&Regex>,
    text: &str,
    problem: impl FnOnce() -> BadRequest,
) -> Result<(), BadRequest> {
    if pattern.is_some_and(|pattern| pattern.is_match(text)) {
        Ok(())
    } else {
        Err(problem())
    }
}

fn target(problem: &str) -> BadRequest {
    BadRequest::Target(problem.to_owned())
}

/// Returns the verb of a method and the flags that the dialect has.
fn verb(dialect: &Dialect, method: &str, query: &str) -> Result<Verb, BadRequest> {
    let flag = |verb: Verb, name: &str| match first_value(query, name) {
        None => Ok(false),
        Some(_) if !dialect.has(verb) => Ok(false),
        Some(value) if FLAGS_TRUE.contains(&value) => Ok(true),
        Some(value) if FLAGS_FALSE.contains(&value) => Ok(false),
        Some(value) => Err(target(&format!(
            "the query's {name}={value} is neither true nor false"
        ))),
    };
    let (list, scan) = (flag(Verb::List, "list")?, flag(Verb::Scan, "scan")?);
    let verb = dialect.verb(method);
    let verb = verb.ok_or_else(|| BadRequest::Method(method.to_owned()))?;
    let help = first_value(query, "help").is_some_and(|value| !value.is_empty());
    Ok(match verb {
        _ if help && dialect.has(Verb::Help) => Verb::Help,
        Verb::Get if list => Verb::List,
        Verb::Get if scan => Verb::Scan,
        verb => verb,
    })
}

/// Returns the first value of a key, which is the one that the vault uses.
fn first_value<'q>(query: &'q str, key: &str) -> Option<&'q str> {
    let pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .into_iter()
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

fn header_matches(wanted: &HeaderMatch, namespace: Option<&str>) -> bool {
    let listed = |names: &[String]| {
        namespace.is_some_and(|namespace| names.iter().any(|name| name == namespace))
    };
    match wanted {
        HeaderMatch::Any => true,
        HeaderMatch::Root => namespace.is_none(),
        HeaderMatch::RootOr(names) => namespace.is_none() || listed(names),
        HeaderMatch::Listed(names) => listed(names),
    }
}

fn path_matches(start: &str, wanted: &PathMatch, path: &str) -> bool {
    let (prefix, templates) = match wanted {
        PathMatch::Any => return true,
        PathMatch::Api(prefix, templates) => (prefix, templates),
    };
    let fits = |path: &str| templates.iter().any(|template| template.matches(path));
    let Some(path) = path.strip_prefix(start) else {
        return false;
    };
    let within = |names: &[String]| {
        names.iter().any(|name| {
            let rest = path
                .strip_prefix(name.as_str())
                .and_then(|rest| rest.strip_prefix('/'));
            rest.is_some_and(fits)
        })
    };
    match prefix {
        Prefix::None => fits(path),
        Prefix::Optional(names) => fits(path) || within(names),
        Prefix::Required(names) => within(names),
    }
}

/// Whether the path begins with one of the listed vault namespaces.
fn begins_with_namespace(table: &Table, path: &str) -> bool {
    let Some(path) = path.strip_prefix(table.dialect.prefix.as_str()) else {
        return false;
    };
    let mut names = table.namespaces.iter();
    names.any(|name| {
        let rest = path.strip_prefix(name.as_str());
        rest.is_some_and(|rest| rest.starts_with('/'))
    })
}
