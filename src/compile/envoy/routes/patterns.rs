//! Patterns for parts of a request: the judged method, a flag of the query, a dialect's paths.

use crate::vault_api::{Dialect, HEADER_ANNOUNCED};

/// Request header with the method, a space, and the method that an `OPTIONS` request announces, until the request is
/// forwarded.
pub(in crate::compile::envoy) const HEADER_METHOD: &str = "x-vaultwall-method";

/// Format of [`HEADER_METHOD`].
pub(in crate::compile::envoy) fn method() -> String {
    format!("%REQ(:METHOD)% %REQ({HEADER_ANNOUNCED})%")
}

/// Pattern of [`HEADER_METHOD`] for requests that are judged by one of these methods, which are separated by `|`. An
/// announcement in a request by another method means nothing; it may hold any byte.
pub(super) fn judged_by(methods: &str) -> String {
    let options = if methods.split('|').any(|method| method == "OPTIONS") {
        "|"
    } else {
        ""
    };
    let others: Vec<&str> = methods
        .split('|')
        .filter(|method| *method != "OPTIONS")
        .collect();
    let others = others.join("|");
    format!("(?:{others}) \\C*|OPTIONS (?:{methods}{options})")
}

/// Pattern of a target whose first query pair with this key continues with the pattern `value`, which begins with `=`
/// for a pair with a value. Routes are chosen by headers alone, so the query is matched in `:path`.
pub(super) fn first_value(key: &str, value: &str) -> String {
    let shorter_or_different = key.char_indices().map(|(index, letter)| {
        let (start, _) = key.split_at(index);
        format!("{start}(?:[^{letter}&=][^&]*|=[^&]*)?")
    });
    let longer = format!("{key}[^&=][^&]*");
    let others: Vec<String> = shorter_or_different.chain([longer]).collect();
    format!("[^?]*\\?(?:(?:{})&)*{key}{value}(?:&.*)?", others.join("|"))
}

pub(super) fn alternatives<'n>(names: impl IntoIterator<Item = &'n String>) -> String {
    names
        .into_iter()
        .map(|name| regex::escape(name))
        .collect::<Vec<_>>()
        .join("|")
}

/// Pattern of targets that begin with the dialect's prefix and continue with the pattern `rest`.
pub(super) fn target(dialect: &Dialect, rest: &str) -> String {
    let case = if dialect.ignores_case { "(?i)" } else { "" };
    format!("{case}{}{rest}", regex::escape(&dialect.prefix))
}
