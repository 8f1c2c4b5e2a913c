//! Globs in the roles of a vault, as its library compares them.

/// Whether a glob of Vault's Go library matches: each `*` stands for any characters, or none.
pub fn glob(pattern: &str, text: &str) -> bool {
    let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
    let whole = regex::Regex::new(&format!("(?s)^{}$", parts.join(".*")));
    whole.is_ok_and(|whole| whole.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // a table
    fn a_star_of_a_glob_is_any_text() {
        for (pattern, text, matches) in [
            ("web", "web", true), ("web", "web2", false), ("", "", true), ("", "web", false),
            ("*", "web", true), ("**", "web", true), ("w*", "web", true), ("w*", "api", false), ("*b", "web", true),
            ("*b", "web2", false), ("w*b", "wb", true), ("a*a", "a", false), ("w?b", "web", false),
            ("w.b", "web", false), ("W*", "web", false), ("*e*", "web", true), ("w**b", "web", true),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }
}
