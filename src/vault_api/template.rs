//! Path templates of a profile, and equal regular expressions for Envoy.
//!
//! | template | matches |
//! |---|---|
//! | `sys/mounts` | exactly this text |
//! | `:name` | one segment |
//! | `*` at the end | one or more characters |
//! | `*/` at the end | one or more characters, then a slash |
//! | `/**` at the end | nothing, or a slash and any text |
//! | `/?` at the end | nothing, or a slash |

use super::pattern::{Token, literal};

/// A path template, without `/v1/` and without the vault's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Segment,
    Rest,
    RestAndSlash,
    OptionalRest,
    OptionalSlash,
}

impl Template {
    /// Parses a template.
    pub fn parse(text: &str) -> Self {
        let endings = [
            ("/**", Part::OptionalRest),
            ("*/", Part::RestAndSlash),
            ("/?", Part::OptionalSlash),
            ("*", Part::Rest),
        ];
        let ending = endings
            .into_iter()
            .find_map(|(ending, part)| Some((text.strip_suffix(ending)?, part)));
        let (fixed, ending) = ending.map_or((text, None), |(fixed, part)| (fixed, Some(part)));
        let mut parts = Vec::new();
        let mut literal = String::new();
        for (index, segment) in fixed.split('/').enumerate() {
            if index > 0 {
                literal.push('/');
            }
            if segment.starts_with(':') {
                parts.push(Part::Text(std::mem::take(&mut literal)));
                parts.push(Part::Segment);
            } else {
                literal.push_str(segment);
            }
        }
        parts.push(Part::Text(literal));
        parts.extend(ending);
        parts.retain(|part| *part != Part::Text(String::new()));
        Self(parts)
    }

    /// Returns the template below a mount path. The empty template matches the mount itself, with or without a slash.
    #[must_use]
    pub fn under(&self, mount: &str) -> Self {
        if self.0.is_empty() {
            return Self(vec![Part::Text(mount.to_owned()), Part::OptionalSlash]);
        }
        let mut parts = vec![Part::Text(format!("{mount}/"))];
        parts.extend(self.0.iter().cloned());
        Self(parts)
    }

    /// Returns the template of an auth method's path for a mount path of several segments, if it is one:
    /// `auth/:mount/login` becomes `auth/team/k8s/login`.
    pub fn at_auth_mount(&self, mount: &str) -> Option<Self> {
        let [Part::Text(auth), Part::Segment, Part::Text(next), rest @ ..] = self.0.as_slice()
        else {
            return None;
        };
        if auth != "auth/" {
            return None;
        }
        let mut parts = vec![Part::Text(format!("auth/{mount}{next}"))];
        parts.extend(rest.iter().cloned());
        Some(Self(parts))
    }

    /// Returns the first segment of every matching path; empty if the template does not determine it.
    pub fn first_segment(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text.split('/').next().unwrap_or_default(),
            _ => "",
        }
    }

    /// Returns a path that matches.
    pub fn sample(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Segment | Part::Rest => "x".to_owned(),
            Part::RestAndSlash => "x/".to_owned(),
            Part::OptionalRest | Part::OptionalSlash => String::new(),
        };
        self.0.iter().map(part).collect()
    }

    /// Whether a path, without `/v1/` and the vault's namespace, matches.
    pub fn matches(&self, path: &str) -> bool {
        let mut rest = path;
        for part in &self.0 {
            match part {
                Part::Text(text) => match rest.strip_prefix(text.as_str()) {
                    Some(after) => rest = after,
                    None => return false,
                },
                Part::Segment => match rest.find('/').unwrap_or(rest.len()) {
                    0 => return false,
                    end => rest = rest.get(end..).unwrap_or_default(),
                },
                Part::Rest => return !rest.is_empty(),
                Part::RestAndSlash => return rest.len() > 1 && rest.ends_with('/'),
                Part::OptionalRest => return rest.is_empty() || rest.starts_with('/'),
                Part::OptionalSlash => return rest.is_empty() || rest == "/",
            }
        }
        rest.is_empty()
    }

    /// Returns patterns that together match the same paths.
    pub fn patterns(&self) -> Vec<Vec<Token>> {
        let mut tokens = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => tokens.extend(literal(text)),
                Part::Segment => tokens.push(Token::Segment),
                Part::Rest => tokens.push(Token::Rest),
                Part::RestAndSlash => tokens.extend([Token::Rest, Token::Char('/')]),
                Part::OptionalRest | Part::OptionalSlash => {}
            }
        }
        let further: &[Token] = match self.0.last() {
            Some(Part::OptionalRest) => &[Token::Char('/'), Token::End],
            Some(Part::OptionalSlash) => &[Token::Char('/')],
            _ => return vec![tokens],
        };
        let longer = tokens.iter().chain(further).copied().collect();
        vec![tokens, longer]
    }

    /// Converts to a regular expression for a whole path.
    pub fn regex(&self) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => regex::escape(text),
                Part::Segment => "[^/]+".into(),
                Part::Rest => ".+".into(),
                Part::RestAndSlash => ".+/".into(),
                Part::OptionalRest => "(?:/.*)?".into(),
                Part::OptionalSlash => "/?".into(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::vault_api::pattern::common;

    /// Template, path, and whether it matches.
    const TABLE: &[(&str, &str, bool)] = &[
        ("sys/mounts", "sys/mounts", true),
        ("sys/mounts", "sys/mounts/", false),
        ("sys/mounts/?", "sys/mounts/", true),
        ("sys/mounts/?", "sys/mounts/x", false),
        ("auth/:m/login", "auth/k8s/login", true),
        ("auth/:m/login", "auth//login", false),
        ("auth/:m/login", "auth/a/b/login", false),
        ("auth/:m/login/:u", "auth/a/login/bob", true),
        ("auth/:m/login/:u", "auth/a/login/", false),
        ("data/*", "data/a/b", true),
        ("data/*", "data/", false),
        ("data/*", "data", false),
        ("ca*", "ca_chain", true),
        ("data/*/", "data/a/", true),
        ("data/*/", "data/a/b", false),
        ("data/*/", "data/", false),
        ("metadata/**", "metadata", true),
        ("metadata/**", "metadata/", true),
        ("metadata/**", "metadata/a/b", true),
        ("metadata/**", "metadatas", false),
        ("keys/:n/?", "keys/a/", true),
        ("keys/:n", "keys/a/rotate", false),
        ("*", "anything", true),
        ("*", "", false),
    ];

    #[test]
    fn a_template_and_its_regular_expression_match_the_same_paths() {
        for (template, path, fits) in TABLE {
            let parsed = Template::parse(template);
            assert_eq!(parsed.matches(path), *fits, "{template} {path}");
            let regex = regex::Regex::new(&format!("^(?:{})$", parsed.regex())).unwrap();
            assert_eq!(regex.is_match(path), *fits, "regex of {template} {path}");
            assert!(parsed.matches(&parsed.sample()), "sample of {template}");
            let path: Vec<Token> = literal(path).collect();
            let mut patterns = parsed.patterns().into_iter();
            let found = patterns.any(|pattern| common(&pattern, &path).is_some());
            assert_eq!(found, *fits, "patterns of {template}");
        }
    }
}
