//! Operations that ACL policies grant: for every path and capability, requests that the policy's path and the vault's
//! API have in common.

use super::acl::{Rule, granting};
use crate::vault_api::pattern::{Token, common};
use crate::vault_api::{Class, Operations, PathMatch, Plane, Request, Table, Template, classify};

/// Capability, and the method of a request that needs it.
const CAPABILITIES: [(&str, &str); 7] = [
    ("read", "GET"),
    ("list", "LIST"),
    ("scan", "SCAN"),
    ("create", "POST"),
    ("update", "POST"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
];

/// A request that ACL policies allow.
#[derive(Clone, Debug)]
pub struct Access<'r> {
    /// The path of a policy that grants it.
    pub rule: &'r Rule,
    /// The capability.
    pub capability: &'static str,
    /// An example of a path of the vault's API, without `/v1/`.
    pub example: String,
    /// Class of the request; `None` if no known request fits the policy's path.
    pub class: Option<Class>,
}

/// Returns the requests that the rules allow. A path and capability that fit no known request are one access without a
/// class.
pub fn accesses<'r>(rules: &'r [Rule], table: &Table, namespace: Option<&str>) -> Vec<Access<'r>> {
    let api = paths_of(table);
    let granted = rules.iter().flat_map(|rule| {
        let tokens = rule.tokens();
        let examples: Vec<String> = api
            .iter()
            .filter_map(|path| common(&tokens, path))
            .collect();
        CAPABILITIES
            .iter()
            .filter(|(capability, _)| rule.capabilities.contains(*capability))
            .flat_map(move |(capability, method)| {
                of_capability(
                    rules,
                    rule,
                    &examples,
                    (capability, method),
                    table,
                    namespace,
                )
            })
            .collect::<Vec<_>>()
    });
    granted.collect()
}

/// Accesses of one path and capability.
fn of_capability<'r>(
    rules: &'r [Rule],
    rule: &'r Rule,
    examples: &[String],
    (capability, method): (&'static str, &str),
    table: &Table,
    namespace: Option<&str>,
) -> Vec<Access<'r>> {
    let mut known = Vec::new();
    let mut recognised = false;
    for example in examples {
        let Some(mut class) = class_of(table, method, example, namespace) else {
            continue;
        };
        if capability == "read" {
            class.operations = without_lists(class.operations);
        }
        recognised = true;
        if granting(rules, example, capability) == Some(rule)
            && !known
                .iter()
                .any(|access: &Access<'_>| access.class.as_ref() == Some(&class))
        {
            known.push(Access {
                rule,
                capability,
                example: example.clone(),
                class: Some(class),
            });
        }
    }
    if !recognised {
        known.push(Access {
            rule,
            capability,
            example: rule.path.clone(),
            class: None,
        });
    }
    known
}

/// Operations without those that need the capability `list`, if others remain: the firewall requires both for a `GET`
/// of a path that ends with a slash, but the capability `read` alone lists nothing.
fn without_lists(operations: Operations) -> Operations {
    let others = operations
        .names
        .iter()
        .filter(|name| !name.ends_with("/list"));
    let others: Vec<String> = others.cloned().collect();
    if others.is_empty() {
        return operations;
    }
    Operations {
        all: operations.all && others.len() > 1,
        names: others.into(),
    }
}

/// Class of a request; `None` if its operation is unknown.
fn class_of(table: &Table, method: &str, path: &str, namespace: Option<&str>) -> Option<Class> {
    let target = format!("{}{path}", table.dialect.prefix);
    let request = Request {
        method,
        target: &target,
        announced: None,
        namespace,
        has_body: false,
        several_tokens: false,
    };
    let class = &classify(table, &request).ok()?.class;
    let is_unknown = class.operations.names.iter().any(|name| name == "unknown");
    (class.plane != Plane::Data || !is_unknown).then(|| class.clone())
}

/// Patterns of all paths that the table has.
fn paths_of(table: &Table) -> Vec<Vec<Token>> {
    let templates = table.rows.iter().filter_map(|row| match &row.path {
        PathMatch::Any => None,
        PathMatch::Api(_, templates) => Some(templates),
    });
    let all = templates.flat_map(|templates| templates.iter());
    let mut paths: Vec<Vec<Token>> = all.flat_map(Template::patterns).collect();
    paths.dedup();
    paths
}
