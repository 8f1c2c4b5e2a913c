//! Characters and lines that end a line or a document for one reader alone.

use std::ops::Range;

use super::TwoReadings;

/// Checks the characters and lines of a file.
pub(super) fn check(text: &str) -> Result<(), TwoReadings> {
    let mut line = 1;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let problem = match character {
            '\n' => {
                line += 1;
                continue;
            }
            '\r' if characters.peek().is_some_and(|(_, next)| *next == '\n') => continue,
            '\r' => "a carriage return without a line feed ends a line here and none for kubectl; end lines with a \
                     line feed"
                .to_owned(),
            '\u{85}' | '\u{2028}' | '\u{2029}' => format!(
                "the character {} ends a line for kubectl and none here, so that one of them reads on in a comment; \
                 remove it, or write \\u{:04X} in double quotes",
                code(character),
                u32::from(character)
            ),
            '\u{feff}' if at == 0 => continue,
            '\u{feff}' => format!(
                "the byte order mark {} may stand only at the start of a file; remove it",
                code(character)
            ),
            '\t' | ' '..='~' | '\u{a0}'..='\u{fffd}' | '\u{10000}'.. => continue,
            _ => format!(
                "kubectl refuses the control character {}; remove it, or write \\u{:04X} in double quotes",
                code(character),
                u32::from(character)
            ),
        };
        return Err(TwoReadings { line, problem });
    }
    separators(text)
}

fn code(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}

/// Checks the lines that begin with `---`: kubectl takes them for separators by rules of its own.
fn separators(text: &str) -> Result<(), TwoReadings> {
    for (index, line) in text.lines().enumerate() {
        let Some(rest) = line.strip_prefix("---") else {
            continue;
        };
        let content = rest.trim_matches([' ', '\t']);
        let is_separator =
            content.is_empty() || (content.starts_with('#') && rest.starts_with([' ', '\t']));
        if !is_separator {
            return Err(TwoReadings {
                line: index + 1,
                problem:
                    "kubectl takes nothing but a comment after ---; write the rest on the next line"
                        .to_owned(),
            });
        }
    }
    Ok(())
}

/// Checks that no line begins with a tab, after spaces and indicators such as `-`, outside of the scalars, which are
/// given by their bytes in their order: kubectl does not take it for white space there.
pub(super) fn check_tabs(text: &str, scalars: &[Range<usize>]) -> Result<(), TwoReadings> {
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let begins = line.trim_start_matches([' ', '-', '?', ':']);
        let at = start + line.len() - begins.len();
        start += line.len();
        let after = scalars.partition_point(|scalar| scalar.end <= at);
        let in_scalar = scalars.get(after).is_some_and(|scalar| scalar.start < at);
        if begins.starts_with('\t') && !in_scalar && !line.starts_with("---") {
            return Err(TwoReadings {
                line: index + 1,
                problem: "kubectl does not take a tab at the start of a line; write spaces"
                    .to_owned(),
            });
        }
    }
    Ok(())
}
