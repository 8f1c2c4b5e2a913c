//! Every path in a Rust source, as far as names alone show: `use` trees are expanded; comments, strings and modules
//! under `#[cfg(test)]` are left out.

/// `std::fs::read`, `crate::policy::Firewall`, and single identifiers.
pub fn paths_of(source: &str) -> Vec<String> {
    let tokens = without_tests(&tokens(source));
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            at = use_tree(&tokens, at + 1, "", &mut found);
        } else if is_identifier(&tokens[at]) {
            let mut path = tokens[at].clone();
            at += 1;
            while at + 1 < tokens.len() && tokens[at] == "::" && is_identifier(&tokens[at + 1]) {
                path = format!("{path}::{}", tokens[at + 1]);
                at += 2;
            }
            found.push(path);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one tree of a `use` from `at` on, and returns where it ends.
fn use_tree(tokens: &[String], mut at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut path = prefix.to_owned();
    while at < tokens.len() {
        match tokens[at].as_str() {
            "::" | "*" => {}
            "as" => at += 1,
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = use_tree(tokens, at, &path, found);
                    if tokens.get(at).is_some_and(|token| token == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "self" if !path.is_empty() => {}
            name if is_identifier(name) => {
                path = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}::{name}")
                };
            }
            _ => break,
        }
        at += 1;
    }
    found.push(path);
    at
}

/// Cuts out modules under `#[cfg(test)]`, declared or written out.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const CFG: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_test = tokens[at..]
            .iter()
            .map(String::as_str)
            .take(CFG.len())
            .eq(CFG);
        if !is_test {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        // Up to the end of the item: a `;` or the brace that closes its body.
        let mut depth = 0;
        while at < tokens.len() {
            let token = tokens[at].as_str();
            at += 1;
            match token {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 && (token == ";" || token == "}") {
                break;
            }
        }
    }
    kept
}

fn is_identifier(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Identifiers, `::`, and single characters; no comments, no text.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = text(rest) {
            length
        } else if is_identifier(rest) {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let length = end.unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            tokens.push("::".into());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// Length of the string or character that comes next, if one does.
fn text(rest: &str) -> Option<usize> {
    let body = rest.trim_start_matches(['b', 'c']);
    let prefix = rest.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if prefix <= 1 && raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = prefix + 1 + hashes + 1;
            let length = rest[start..].find(&end).unwrap_or(rest.len() - start);
            return Some(start + length + end.len());
        }
    }
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if prefix > 1 {
        return None;
    }
    let inside = &body[1..];
    if quote == '\'' && !inside.starts_with('\\') {
        // A lifetime has no closing quote after its first character.
        let first = inside.chars().next()?;
        let length = first.len_utf8();
        return inside[length..]
            .starts_with('\'')
            .then_some(prefix + length + 2);
    }
    let mut escaped = false;
    for (index, c) in inside.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some(prefix + 1 + index + 1);
        }
    }
    Some(rest.len())
}
