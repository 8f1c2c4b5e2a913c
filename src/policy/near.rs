//! Names that are like a misspelled one, for messages.

/// Least similarity, from 0 to 1, of a name that is offered.
const SIMILAR: f64 = 0.75;
/// Most names that are offered.
const OFFERED: usize = 3;

/// Returns the known names that are most like `text`, the nearest first; none if it is like none of them.
pub(crate) fn nearest_names<'a>(text: &str, known: &[&'a str]) -> Vec<&'a str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    let wanted = plain(text);
    let mut near: Vec<(f64, &str)> = known
        .iter()
        .map(|name| {
            let likeness = strsim::normalized_damerau_levenshtein(&plain(name), &wanted);
            (likeness, *name)
        })
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    near.into_iter()
        .map(|(_, name)| name)
        .take(OFFERED)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::OPERATIONS;

    #[test]
    fn the_nearest_operation_comes_first() {
        for (text, expected) in [
            ("secret/get", "secrets/get"),
            ("Secrets/Get", "secrets/get"),
            ("keys/unwrap_key", "keys/unwrapKey"),
            ("keys/wrapkey", "keys/wrapKey"),
            ("certificate/list", "certificates/list"),
        ] {
            let near = nearest_names(text, &OPERATIONS);
            assert_eq!(near.first(), Some(&expected), "{text}");
        }
        for text in ["", "*", "read", "all operations"] {
            let near = nearest_names(text, &OPERATIONS);
            assert_eq!(near, Vec::<&str>::new(), "{text}");
        }
    }
}
