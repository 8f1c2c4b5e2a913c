//! Patterns of paths, and a path that two patterns have in common.

use std::collections::{BTreeSet, VecDeque};

/// Character that stands for any other one in the path of an intersection.
const SOME: char = 'x';

/// Part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// This character.
    Char(char),
    /// One or more characters of a segment.
    Segment,
    /// One or more characters.
    Rest,
    /// Any characters, or none; only at the end.
    End,
}

/// Tokens of a fixed text.
pub fn literal(text: &str) -> impl Iterator<Item = Token> {
    text.chars().map(Token::Char)
}

/// Returns a shortest path that both patterns match; `None` if there is none.
pub fn common(left: &[Token], right: &[Token]) -> Option<String> {
    let mut seen = BTreeSet::from([(0, 0)]);
    let mut open = VecDeque::from([(0, 0, String::new())]);
    while let Some((i, j, path)) = open.pop_front() {
        if is_end(left, i) && is_end(right, j) {
            return Some(path);
        }
        let (Some(a), Some(b)) = (left.get(i), right.get(j)) else {
            continue;
        };
        let Some(shared) = shared(*a, *b) else {
            continue;
        };
        for i in after(*a, i) {
            for j in after(*b, j) {
                if seen.insert((i, j)) {
                    let mut path = path.clone();
                    path.push(shared);
                    open.push_back((i, j, path));
                }
            }
        }
    }
    None
}

fn is_end(pattern: &[Token], at: usize) -> bool {
    matches!(pattern.get(at..), Some([] | [Token::End]))
}

/// Positions in a pattern after one character of the token at `at`.
fn after(token: Token, at: usize) -> Vec<usize> {
    match token {
        Token::Char(_) => vec![at + 1],
        Token::Segment | Token::Rest => vec![at + 1, at],
        Token::End => vec![at],
    }
}

/// A character that both tokens match.
fn shared(left: Token, right: Token) -> Option<char> {
    match (left, right) {
        (Token::Char(a), Token::Char(b)) => (a == b).then_some(a),
        (Token::Char(c), Token::Segment) | (Token::Segment, Token::Char(c)) => {
            (c != '/').then_some(c)
        }
        (Token::Char(c), _) | (_, Token::Char(c)) => Some(c),
        _ => Some(SOME),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_two_patterns_is_found_if_there_is_one() {
        let tokens = |text: &str| -> Vec<Token> {
            text.chars()
                .map(|c| match c {
                    '+' => Token::Segment,
                    '>' => Token::Rest,
                    '*' => Token::End,
                    c => Token::Char(c),
                })
                .collect()
        };
        for (left, right, path) in [
            ("a/b", "a/b", Some("a/b")),
            ("a/b", "a/c", None),
            ("a/b", "a/b/", None),
            ("a/+", "a/b", Some("a/b")),
            ("a/+", "a/b/c", None),
            ("a/*", "a/", Some("a/")),
            ("a*", "a/b/c", Some("a/b/c")),
            ("t/+/orders", "t/encrypt/+", Some("t/encrypt/orders")),
            ("s/*", "s/data/>", Some("s/data/x")),
            ("s/data/a*", "s/data/>", Some("s/data/a")),
            ("s/>/c", "s/a/b/c", Some("s/a/b/c")),
            ("+", "", None),
            ("*", "", Some("")),
        ] {
            let found = common(&tokens(left), &tokens(right));
            assert_eq!(found.as_deref(), path, "{left} {right}");
            assert_eq!(
                common(&tokens(right), &tokens(left)).is_some(),
                path.is_some()
            );
        }
    }
}
