//! Requests that stand for all others: one for each pair of classes that the tables of both firewalls give a request.

use std::collections::BTreeSet;

use crate::policy::decide::Listener;
use crate::policy::model::Firewall;
use crate::vault_api::{
    Class, HeaderMatch, PathMatch, Plane, Prefix, Request, Row, Table, Verb, classify,
};

/// A request, by its classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Endpoint that receives it.
    pub listener: Listener,
    /// Whether it carries a token of the vault.
    pub vault_token: bool,
    /// Class before the change; `None` for a bad request.
    pub old: Option<Class>,
    /// Class after the change; `None` for a bad request.
    pub new: Option<Class>,
}

/// Returns the requests; no two are alike. `old` is `None` if there is no firewall before the change: then only
/// requests to the data endpoint that a rule could allow, because every firewall closes the others.
pub(super) fn samples(old: Option<&Firewall>, new: &Firewall) -> Vec<Sample> {
    let by_operation = old.into_iter().chain([new]).any(|firewall| {
        firewall.grants.services().next().is_some() || firewall.grants.deployers.is_some()
    });
    let classes = match old {
        Some(old) if !has_same_table(old, new) => of_both(&old.table(), &new.table()),
        _ => {
            let rows = new.table().rows.into_iter();
            let same = rows.map(|row| (Some(row.class.clone()), Some(row.class)));
            same.collect()
        }
    };
    let mut samples: Vec<Sample> = Vec::new();
    for (old_class, new_class) in classes {
        let general = |class: Option<Class>| {
            class.map(|class| Class {
                operations: if by_operation {
                    class.operations
                } else {
                    crate::vault_api::Operations::default()
                },
                ..class
            })
        };
        let (before, after) = (general(old_class), general(new_class));
        let is_open =
            |class: &Class| matches!(class.plane, Plane::Data | Plane::Session | Plane::Control);
        let listeners: &[Listener] = match (old, &after) {
            (Some(_), _) => &[Listener::Data, Listener::Management],
            (None, Some(class)) if is_open(class) => &[Listener::Data],
            (None, _) => &[],
        };
        let is_data = |class: &Option<Class>| {
            class
                .as_ref()
                .is_some_and(|class| class.plane == Plane::Data)
        };
        let tokens: &[bool] = if is_data(&before) || is_data(&after) {
            &[true, false]
        } else {
            &[true]
        };
        for listener in listeners {
            for vault_token in tokens {
                let sample = Sample {
                    listener: *listener,
                    vault_token: *vault_token,
                    old: before.clone(),
                    new: after.clone(),
                };
                if !samples.contains(&sample) {
                    samples.push(sample);
                }
            }
        }
    }
    samples
}

/// Whether both firewalls classify every request alike.
pub fn has_same_table(old: &Firewall, new: &Firewall) -> bool {
    let described = |firewall: &Firewall| {
        (
            firewall.api,
            firewall.engines.clone(),
            firewall.auth_mounts.clone(),
            firewall.namespaces.clone(),
            firewall.token_creation,
        )
    };
    described(old) == described(new)
}

type Classes = (Option<Class>, Option<Class>);

/// Classes of a request for each row of both tables, and for each of its paths and namespaces.
fn of_both(old: &Table, new: &Table) -> Vec<Classes> {
    let mut requests = BTreeSet::new();
    for table in [old, new] {
        let namespaces: BTreeSet<&String> = old.namespaces.iter().chain(&*new.namespaces).collect();
        for row in &table.rows {
            add_requests(table, row, &namespaces, &mut requests);
        }
    }
    let mut found: Vec<Classes> = Vec::new();
    for Asked {
        method,
        target,
        namespace,
    } in &requests
    {
        let request = Request {
            method,
            target,
            announced: None,
            namespace: namespace.as_deref(),
            has_body: false,
            several_tokens: false,
        };
        let class = |table| classify(table, &request).ok().map(|row| row.class.clone());
        let classes = (class(old), class(new));
        if !found.contains(&classes) {
            found.push(classes);
        }
    }
    found
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    method: String,
    target: String,
    namespace: Option<String>,
}

fn add_requests(
    table: &Table,
    row: &Row,
    namespaces: &BTreeSet<&String>,
    requests: &mut BTreeSet<Asked>,
) {
    let dialect = &table.dialect;
    let verbs: Vec<Verb> = if row.verbs.is_empty() {
        dialect
            .methods
            .keys()
            .copied()
            .filter(|verb| *verb != Verb::Help)
            .collect()
    } else {
        row.verbs.clone()
    };
    let (prefix, paths): (&Prefix, Vec<String>) = match &row.path {
        PathMatch::Any => (&Prefix::None, vec!["unlisted/x".to_owned()]),
        PathMatch::Api(prefix, templates) => (
            prefix,
            templates
                .iter()
                .map(crate::vault_api::Template::sample)
                .collect(),
        ),
    };
    let in_path: Vec<&str> = match prefix {
        Prefix::None => Vec::new(),
        Prefix::Optional(names) | Prefix::Required(names) => {
            names.iter().map(String::as_str).collect()
        }
    };
    let in_header: Vec<&str> = match &row.header {
        HeaderMatch::Root => Vec::new(),
        HeaderMatch::Any => {
            let listed = namespaces.iter().map(|name| name.as_str());
            listed.chain(["unlisted-namespace"]).collect()
        }
        HeaderMatch::RootOr(names) | HeaderMatch::Listed(names) => {
            names.iter().map(String::as_str).collect()
        }
    };
    for path in paths {
        for verb in &verbs {
            let Some((method, query)) = spelled(table, *verb) else {
                continue;
            };
            let start = &dialect.prefix;
            let mut add = |target: String, namespace: Option<&str>| {
                requests.insert(Asked {
                    method: method.clone(),
                    target: format!("{target}{query}"),
                    namespace: namespace.map(str::to_owned),
                });
            };
            add(format!("{start}{path}"), None);
            for name in &in_path {
                add(format!("{start}{name}/{path}"), None);
            }
            for name in &in_header {
                add(format!("{start}{path}"), Some(name));
            }
        }
    }
}

/// Method and query of a verb.
fn spelled(table: &Table, verb: Verb) -> Option<(String, &'static str)> {
    let dialect = &table.dialect;
    if let Some(method) = dialect.methods_of(verb).first() {
        return Some((method.clone(), ""));
    }
    let query = match verb {
        Verb::List => "?list=true",
        Verb::Scan => "?scan=true",
        Verb::Help => "?help=1",
        _ => return None,
    };
    let get = dialect.methods_of(Verb::Get).first()?;
    Some((get.clone(), query))
}
