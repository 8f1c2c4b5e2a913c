//! From a request to its row of the [`Table`], or to the reason why it has more than one reading.

use std::sync::LazyLock;

use regex::Regex;

use super::path::{self, Target};
use super::profile::Verb;
use super::table::{HeaderMatch, PathMatch, Prefix, Row, Table};

/// The header that names a vault namespace.
pub const HEADER_NAMESPACE: &str = "x-vault-namespace";
/// What that header may hold: clean segments and at most one slash at the end.
pub const NAMESPACE_VALUE: &str =
    "[A-Za-z0-9_~-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?";
/// Values of a flag in the query that the vault reads as true.
pub const FLAGS_TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];
/// Values that it reads as false, or as if the flag were not there.
pub const FLAGS_FALSE: [&str; 7] = ["", "0", "f", "F", "FALSE", "false", "False"];

/// What the classification needs of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Method as sent.
    pub method: &'a str,
    /// Target as sent: path with `/v1` and the query.
    pub target: &'a str,
    /// First value of `X-Vault-Namespace`; the proxy drops any further ones.
    pub namespace: Option<&'a str>,
}

/// Why a request cannot be judged.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("{0}")]
pub struct BadRequest(String);

/// Finds the row of the table that a request belongs to.
///
/// # Errors
/// A request that the proxy and the vault could read differently, with what is wrong.
pub fn classify<'t>(table: &'t Table, request: &Request<'_>) -> Result<&'t Row, BadRequest> {
    let Target { path, query } = path::normalise(request.target).map_err(BadRequest)?;
    refuse_unless(
        PATTERNS.path.as_ref(),
        &path,
        "the path holds `;`, or an encoding that is not a plain data byte",
    )?;
    let query = query.unwrap_or_default();
    refuse_unless(
        PATTERNS.query.as_ref(),
        &query,
        "the query holds `;`, `#`, a broken encoding, or an encoded key",
    )?;
    let verb = verb(request.method, &query)?;
    if let Some(namespace) = request.namespace {
        refuse_unless(
            PATTERNS.namespace.as_ref(),
            namespace,
            "X-Vault-Namespace is not a clean namespace path",
        )?;
        if split_namespace(table, &path).is_some() {
            return Err(BadRequest(
                "a namespace is named by header and by path".into(),
            ));
        }
    }
    let namespace = request
        .namespace
        .map(|name| name.strip_suffix('/').unwrap_or(name))
        .filter(|name| *name != "root");
    let row = table.rows.iter().find(|row| {
        (row.verbs.contains(&verb) || row.verbs.is_empty() && verb != Verb::Help)
            && header_matches(&row.header, namespace)
            && path_matches(&row.path, &path)
    });
    // The last row of every table matches what has no row; a table without rows judges nothing.
    row.ok_or_else(|| BadRequest("no row of the table matches".into()))
}

struct Patterns {
    path: Option<Regex>,
    query: Option<Regex>,
    namespace: Option<Regex>,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let whole = |pattern: &str| Regex::new(&format!("^(?:{pattern})$")).ok();
    Patterns {
        path: whole(path::PATH),
        query: whole(path::QUERY),
        namespace: whole(NAMESPACE_VALUE),
    }
});

/// A pattern that did not compile refuses everything.
fn refuse_unless(pattern: Option<&Regex>, text: &str, problem: &str) -> Result<(), BadRequest> {
    if pattern.is_some_and(|pattern| pattern.is_match(text)) {
        Ok(())
    } else {
        Err(BadRequest(problem.into()))
    }
}

fn verb(method: &str, query: &str) -> Result<Verb, BadRequest> {
    let flag = |name: &str| match first_value(query, name) {
        None => Ok(false),
        Some(value) if FLAGS_TRUE.contains(&value) => Ok(true),
        Some(value) if FLAGS_FALSE.contains(&value) => Ok(false),
        Some(value) => Err(BadRequest(format!(
            "the query's {name}={value} is neither true nor false"
        ))),
    };
    let (list, scan) = (flag("list")?, flag("scan")?);
    let verb = Verb::METHODS
        .iter()
        .find(|(_, methods)| methods.contains(&method))
        .map(|(verb, _)| *verb);
    let verb =
        verb.ok_or_else(|| BadRequest(format!("method {method} is not one that a vault knows")))?;
    Ok(match verb {
        _ if first_value(query, "help").is_some_and(|value| !value.is_empty()) => Verb::Help,
        Verb::Get if list => Verb::List,
        Verb::Get if scan => Verb::Scan,
        verb => verb,
    })
}

/// The first value of a key, as the vault reads it.
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

fn path_matches(wanted: &PathMatch, path: &str) -> bool {
    let (prefix, templates) = match wanted {
        PathMatch::Any => return true,
        PathMatch::V1(prefix, templates) => (prefix, templates),
    };
    let fits = |path: &str| templates.iter().any(|template| template.matches(path));
    let Some(path) = path.strip_prefix("/v1/") else {
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

fn split_namespace<'t>(table: &'t Table, path: &str) -> Option<&'t str> {
    let path = path.strip_prefix("/v1/")?;
    let prefix = |name: &&String| {
        path.strip_prefix(name.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
    };
    table.namespaces.iter().find(prefix).map(String::as_str)
}
