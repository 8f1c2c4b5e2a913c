//! ACL policies of a vault, as HCL or JSON: which capabilities they grant on a path.
//!
//! Parameters, time limits and conditions of a path narrow a policy further. They are not evaluated, so a policy is
//! never taken for narrower than it is.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use hcl::{Body, Expression};
use serde_json::{Map, Value};

use crate::vault_api::pattern::{Token, common, literal};

/// Capabilities of a legacy `policy = "write"`.
const WRITE: [&str; 5] = ["create", "read", "update", "delete", "list"];
/// Value that a template such as `{{identity.entity.name}}` is taken for.
const TEMPLATED: &str = "x";

/// A path of an ACL policy, with its capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name of the policy.
    pub policy: String,
    /// Path as written, without a slash at its start.
    pub path: String,
    /// Capabilities, such as `read`; `deny` overrides all.
    pub capabilities: BTreeSet<String>,
}

/// An ACL policy that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AclError(String);

impl Rule {
    /// Tokens of the path: `+` is a segment, `*` at the end anything.
    pub fn tokens(&self) -> Vec<Token> {
        let (fixed, glob) = match self.path.strip_suffix('*') {
            Some(fixed) => (fixed, Some(Token::End)),
            None => (self.path.as_str(), None),
        };
        let mut tokens = Vec::new();
        for (index, segment) in fixed.split('/').enumerate() {
            tokens.extend((index > 0).then_some(Token::Char('/')));
            match segment {
                "+" => tokens.push(Token::Segment),
                segment => tokens.extend(literal(segment)),
            }
        }
        tokens.extend(glob);
        tokens
    }

    /// Order in which the vault prefers the patterns that match a path: the largest counts.
    fn priority(&self) -> impl Ord + '_ {
        let plus = self.path.split('/').filter(|segment| *segment == "+");
        let wildcard = self
            .tokens()
            .iter()
            .position(|token| matches!(token, Token::Segment | Token::End));
        (
            wildcard.unwrap_or(usize::MAX),
            !self.path.ends_with('*'),
            Reverse(plus.count()),
            self.path.len(),
            self.path.as_str(),
        )
    }
}

/// The rule that decides about a capability on a path, if it grants it.
///
/// Of several patterns the most specific one counts, with the capabilities of every policy that has the same pattern.
pub fn granting<'r>(rules: &'r [Rule], path: &str, capability: &str) -> Option<&'r Rule> {
    let path: Vec<Token> = literal(path).collect();
    let matching = rules
        .iter()
        .filter(|rule| common(&rule.tokens(), &path).is_some());
    let best = matching.max_by(|a, b| a.priority().cmp(&b.priority()))?;
    let same = || rules.iter().filter(|rule| rule.path == best.path);
    if same().any(|rule| rule.capabilities.contains("deny")) {
        return None;
    }
    same().find(|rule| rule.capabilities.contains(capability))
}

/// Reads an ACL policy.
///
/// # Errors
/// If it is neither JSON nor HCL, or has a path that cannot be read.
pub fn parse(policy: &str, text: &str) -> Result<Vec<Rule>, AclError> {
    let paths = if text.trim_start().starts_with('{') {
        json_paths(text)?
    } else {
        hcl_paths(text)?
    };
    let rules = paths.into_iter().map(|(path, body)| {
        let path = path.trim_start_matches('/');
        Ok(Rule {
            policy: policy.to_owned(),
            path: without_templates(path)?,
            capabilities: capabilities(path, &body)?,
        })
    });
    rules.collect()
}

/// The built-in policy `root`, which allows everything.
pub fn root() -> Rule {
    let further = ["patch", "scan", "sudo"];
    Rule {
        policy: "root".to_owned(),
        path: "*".to_owned(),
        capabilities: WRITE
            .into_iter()
            .chain(further)
            .map(str::to_owned)
            .collect(),
    }
}

fn json_paths(text: &str) -> Result<Vec<(String, Value)>, AclError> {
    let whole: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| AclError(error.to_string()))?;
    let paths = whole.get("path");
    let objects: Vec<&Map<String, Value>> = match paths {
        None => Vec::new(),
        Some(Value::Object(paths)) => vec![paths],
        Some(Value::Array(list)) if list.iter().all(Value::is_object) => {
            list.iter().filter_map(Value::as_object).collect()
        }
        Some(_) => return Err(AclError("`path` is no object".to_owned())),
    };
    let entries = objects.into_iter().flatten();
    Ok(entries
        .map(|(path, body)| (path.clone(), body.clone()))
        .collect())
}

fn hcl_paths(text: &str) -> Result<Vec<(String, Value)>, AclError> {
    let body: Body = hcl::parse(text).map_err(|error| AclError(error.to_string()))?;
    let mut paths = Vec::new();
    for attribute in body.attributes().filter(|entry| entry.key() == "path") {
        let Value::Object(entries) = plain(attribute.expr())? else {
            return Err(AclError("`path` is no object".to_owned()));
        };
        paths.extend(entries);
    }
    for block in body.blocks().filter(|block| block.identifier() == "path") {
        let [label] = block.labels() else {
            return Err(AclError("a `path` has not exactly one name".to_owned()));
        };
        let mut content = Map::new();
        for attribute in block.body().attributes() {
            if matches!(attribute.key(), "capabilities" | "policy") {
                content.insert(attribute.key().to_owned(), plain(attribute.expr())?);
            }
        }
        paths.push((label.as_str().to_owned(), Value::Object(content)));
    }
    Ok(paths)
}

fn plain(expression: &Expression) -> Result<Value, AclError> {
    serde_json::to_value(expression).map_err(|error| AclError(error.to_string()))
}

fn capabilities(path: &str, body: &Value) -> Result<BTreeSet<String>, AclError> {
    let failed = |problem: &str| AclError(format!("path {path:?}: {problem}"));
    let listed = match body.get("capabilities") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(_) => return Err(failed("`capabilities` is no list")),
    };
    let listed: Option<BTreeSet<String>> = listed
        .into_iter()
        .map(|name| name.map(str::to_owned))
        .collect();
    let mut all = listed.ok_or_else(|| failed("a capability is no text"))?;
    let legacy: &[&str] = match body.get("policy").and_then(Value::as_str) {
        None => &[],
        Some("deny") => &["deny"],
        Some("read") => &["read", "list"],
        Some("write") => &WRITE,
        Some("sudo") => &["create", "read", "update", "delete", "list", "sudo"],
        Some(_) => return Err(failed("`policy` is none of deny, read, write and sudo")),
    };
    all.extend(legacy.iter().map(|name| (*name).to_owned()));
    Ok(all)
}

fn without_templates(path: &str) -> Result<String, AclError> {
    let mut rest = path;
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once("{{") {
        let (_, after) = after
            .split_once("}}")
            .ok_or_else(|| AclError(format!("path {path:?}: a template has no end")))?;
        plain.push_str(before);
        plain.push_str(TEMPLATED);
        rest = after;
    }
    plain.push_str(rest);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rules(text: &str) -> Vec<Rule> {
        parse("app", text).unwrap()
    }

    #[test]
    fn hcl_and_json_have_the_same_rules() {
        let hcl = r#"
            # Comment
            path "secret/data/app/*" { capabilities = ["read", "list"] }
            path "/sys/mounts" {
              policy = "read"
              allowed_parameters = { "*" = [] }
            }
            path "secret/data/{{identity.entity.id}}/*" { capabilities = ["create"] }
        "#;
        let json = r#"{"path": {
            "secret/data/app/*": {"capabilities": ["read", "list"]}, "/sys/mounts": {"policy": "read"},
            "secret/data/{{identity.entity.id}}/*": {"capabilities": ["create"]}}}"#;
        let found = rules(hcl);
        assert_eq!(found, rules(json));
        let paths: Vec<&str> = found.iter().map(|rule| rule.path.as_str()).collect();
        assert_eq!(
            paths,
            ["secret/data/app/*", "sys/mounts", "secret/data/x/*"]
        );
        assert_eq!(rules(""), []);
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_an_error() {
        for text in [
            "path",
            "path \"a\" \"b\" {}",
            "path \"a\" { capabilities = \"read\" }",
            "path \"a\" { capabilities = [1] }",
            "path \"a\" { policy = \"most\" }",
            "path \"a/{{x\" {}",
            "{\"path\": 1}",
            "{",
        ] {
            assert!(parse("app", text).is_err(), "{text}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table
    fn the_most_specific_path_decides() {
        let some = rules(r#"
            path "secret/*" { capabilities = ["read", "update"] }
            path "secret/admin/*" { capabilities = ["deny"] }
            path "secret/+/open" { capabilities = ["list"] }
            path "secret/one" { capabilities = ["delete"] }
            path "both" { capabilities = ["read"] }
            path "both" { capabilities = ["list"] }
        "#);
        for (path, capability, granted) in [
            ("secret/a/b", "read", true), ("secret/", "read", true), ("secret", "read", false),
            ("secret/admin/a", "read", false), ("secret/admins", "read", true), ("secret/x/open", "list", true),
            ("secret/x/open", "read", false), ("secret/one", "read", false), ("secret/one", "delete", true),
            ("both", "read", true), ("both", "list", true), ("other", "read", false),
        ] {
            assert_eq!(granting(&some, path, capability).is_some(), granted, "{path} {capability}");
        }
    }
}
