//! Words and numbers without quotes: which of them YAML 1.1, as kubectl reads it, and YAML 1.2 read alike.

use std::sync::LazyLock;

use regex::Regex;

/// Reading of a scalar without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// A text for both.
    Text,
    /// Null, a boolean or a number for both.
    Other,
    /// A boolean for kubectl and a text here.
    Word,
    /// A number that is read differently, or that only one of them reads as a number.
    Number,
}

/// Words that YAML 1.1 reads as booleans and YAML 1.2 as texts, in lower case.
const BOOLEAN_WORDS: [&str; 6] = ["yes", "no", "on", "off", "y", "n"];
/// Words that both read alike.
const WORDS: [&str; 11] = [
    "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE",
];

/// Everything that looks like a number to either reader: octal, hexadecimal, with signs, underscores or points.
static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?x) ^ [-+]? (
            (\.[0-9_]+ | [0-9][0-9_]*(\.[0-9_]*)?) ([eE][-+]?[0-9_]*)?
            | 0[xXoObB][0-9a-fA-F_]*
            | \.?(?i:inf|infinity|nan)
        ) $",
    )
    .ok()
});
/// A number as in JSON, which all readers read alike.
static JSON_NUMBER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$").ok());

/// Returns the reading of a scalar without quotes.
pub(super) fn reading(text: &str) -> Plain {
    let matches = |pattern: &LazyLock<Option<Regex>>, otherwise: bool| {
        pattern
            .as_ref()
            .map_or(otherwise, |pattern| pattern.is_match(text))
    };
    if WORDS.contains(&text) {
        Plain::Other
    } else if BOOLEAN_WORDS
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text))
    {
        Plain::Word
    } else if !matches(&NUMBER, true) {
        Plain::Text
    } else if matches(&JSON_NUMBER, false) {
        Plain::Other
    } else {
        Plain::Number
    }
}

#[cfg(test)]
mod tests {
    use super::{Plain, reading};

    #[test]
    fn words_and_numbers() {
        for (texts, expected) in [
            (
                "openbao 10.0.0.1 203.0.113.0/24 1.2.3 2027-01-31 2027-01-31T00:00:00Z 100m 512Mi - -- 1:30 v1 0g . .. \
                 _1 e3 <<",
                Plain::Text,
            ),
            ("~ null true FALSE 0 -1 8200 1.5 1e3 2.5E-3", Plain::Other),
            ("yes No OFF y N", Plain::Word),
            (
                "010 007 +5 1_000 0x1F 0o17 0b11 .5 5. -.5 00.5 01e3 1_0.5 .inf -.INF .nan inf NaN -0x1 0_1 0x 1e \
                 5e- 0b2",
                Plain::Number,
            ),
        ] {
            for text in texts.split_whitespace() {
                assert_eq!(reading(text), expected, "{text}");
            }
        }
        assert_eq!(reading(""), Plain::Other);
    }
}
