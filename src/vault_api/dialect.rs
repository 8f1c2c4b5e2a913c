//! Rules of an API dialect for every request, before any line of its profile: methods, query flags, the beginning of
//! paths, namespaces.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::path;

/// Verb of a request: the vault derives it from the method and the flags.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// `GET` without a flag.
    Get,
    /// `HEAD`.
    Head,
    /// `LIST`, or `GET` with `?list=true`.
    List,
    /// `SCAN`, or `GET` with `?scan=true`.
    Scan,
    /// `POST`, and `PUT` where the dialect does not distinguish them.
    Post,
    /// `PUT`, where it is not the same as `POST`.
    Put,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
    /// `OPTIONS`.
    Options,
    /// `HELP`, or any method with `?help=…`; the vault answers it without a token.
    Help,
}

/// Rules of a dialect for every request. The default has no methods, so that every request is a bad request.
#[derive(Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// Beginning of every path of the API, with a slash at both ends.
    pub prefix: String,
    /// All verbs with their methods. A request with any other method is a bad request. A dialect with `LIST`, `SCAN` or
    /// `HELP` also has the flag of that name in the query.
    pub methods: BTreeMap<Verb, Vec<String>>,
    /// Whether a request can be for a vault namespace, by header or at the beginning of the path.
    #[serde(default)]
    pub namespaces: bool,
    /// Whether the vault accepts its paths in capital letters, too.
    #[serde(default)]
    pub ignores_case: bool,
    /// First segment of the paths that are critical unless a line has them.
    #[serde(default)]
    pub guarded: Option<String>,
}

impl Dialect {
    /// Returns the verb of a method, before any flag.
    pub fn verb(&self, method: &str) -> Option<Verb> {
        self.methods
            .iter()
            .find(|(_, methods)| methods.iter().any(|known| known == method))
            .map(|(verb, _)| *verb)
    }

    /// Returns the methods of a verb.
    pub fn methods_of(&self, verb: Verb) -> &[String] {
        self.methods.get(&verb).map_or(&[], Vec::as_slice)
    }

    /// Returns all methods, in the order of their verbs.
    pub fn all_methods(&self) -> Vec<&str> {
        self.methods
            .values()
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// Whether the dialect has a verb, and so its query flag.
    pub fn has(&self, verb: Verb) -> bool {
        self.methods.contains_key(&verb)
    }

    /// Whether a flag in the query can change the verb.
    pub fn has_flags(&self) -> bool {
        [Verb::List, Verb::Scan, Verb::Help]
            .into_iter()
            .any(|verb| self.has(verb))
    }

    /// Returns the regular expression for queries with one meaning.
    pub fn query(&self) -> &'static str {
        if self.has_flags() {
            path::QUERY
        } else {
            path::QUERY_WITHOUT_FLAGS
        }
    }
}
