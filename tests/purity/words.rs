//! Comments, messages and pages are in plain English and standard terms. CONTRIBUTING.md has the style guide.

use std::fs;
use std::path::{Path, PathBuf};

use super::root;

/// Longest line of source, in characters. Rows of tables may be longer.
const COLUMNS: usize = 120;

/// Openings of a comment that make the reader wait for the subject. Open with a verb or a noun phrase.
const OPENINGS: [&str; 5] = ["What", "Who", "Whatever", "Whoever", "Whom"];

/// Refused words in any case, and the words to write in their place.
const WORDS: [(&str, &str); 26] = [
    ("of now", "current"),
    ("of before", "earlier, previous"),
    ("anew", "again"),
    ("beside", "next to, during, in addition to"),
    ("whoever", "the caller, the owner, anybody who"),
    ("has to be there", "must exist"),
    ("have to be there", "must exist"),
    ("stopgap", "cold-start snapshot"),
    ("hinge", "symlink"),
    ("hinges", "symlinks"),
    ("ledger", "file set"),
    ("farewell", "grace period"),
    ("patience", "timeout"),
    ("remark", "diagnostic"),
    ("remarks", "diagnostics"),
    ("retire", "prune"),
    ("leaving port", "drain port"),
    ("tells", "reports, sends, shows"),
    ("told", "reported, sent, configured"),
    ("hears", "receives"),
    ("heard", "received"),
    ("believes", "trusts, accepts"),
    ("believed", "trusted, accepted"),
    ("walls", "the vault's NetworkPolicies"),
    ("now and then", "from time to time"),
    ("as it were", "(leave it out)"),
];

/// Refused identifiers, as they are spelled, and the standard terms.
const NAMES: [(&str, &str); 13] = [
    ("Book", "State"),
    ("News", "Delta"),
    ("Look", "Scope"),
    ("Looked", "Outcome"),
    ("Places", "PathResolver"),
    ("Ledger", "FileSet"),
    ("Remark", "Diagnostic"),
    ("Lack", "Mismatch"),
    ("Standing", "Membership"),
    ("leaving_port", "drain_port"),
    ("is_gone", "delete"),
    ("enter_news", "commit"),
    ("mend", "repair"),
];

#[test]
fn comments_open_with_a_verb_or_a_noun() {
    let mut wrong = Vec::new();
    for (place, line) in lines() {
        let opening =
            comment(&line).and_then(|text| text.split(|c: char| !c.is_alphabetic()).next());
        if opening.is_some_and(|word| OPENINGS.contains(&word)) {
            wrong.push(format!("{place}: {}", line.trim()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {OPENINGS:?}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn words_are_plain_and_terms_are_standard() {
    let mut wrong = Vec::new();
    for (place, line) in lines() {
        let lower = line.to_lowercase();
        let words = WORDS.iter().filter(|(word, _)| holds(&lower, word));
        let names = NAMES.iter().filter(|(name, _)| holds(&line, name));
        for (refused, instead) in words.chain(names) {
            wrong.push(format!(
                "{place}: \"{refused}\", write {instead}: {}",
                line.trim()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn lines_are_short() {
    let mut wrong = Vec::new();
    for (place, line) in lines() {
        if is_source(&place) && !is_row(&line) && line.chars().count() > COLUMNS {
            wrong.push(format!("{place}: {} columns", line.chars().count()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} over {COLUMNS}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_rules_find_what_they_refuse() {
    assert_eq!(
        comment("    /// What a vault needs."),
        Some("What a vault needs.")
    );
    assert_eq!(comment("# Who may"), Some("Who may"));
    assert_eq!(comment("let text = \"What\";"), None);
    assert!(holds("the firewall of now, and", "of now"));
    assert!(!holds("a number of nows", "of now"));
    assert!(!holds("let phone_book_of = 1", "book"));
}

/// The text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let text = ["///", "//!", "//", "# "]
        .iter()
        .find_map(|mark| line.strip_prefix(mark))?;
    Some(text.trim_start())
}

/// Whether a line holds a word or phrase, not as a part of a longer word.
fn holds(line: &str, phrase: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(phrase).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + phrase.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Whether a line is a row of a table, in a comment or in an array of tuples, which cannot be broken.
fn is_row(line: &str) -> bool {
    let line = line.trim();
    let text = comment(line).unwrap_or(line);
    text.starts_with('|') || (line.starts_with('(') && line.ends_with("),"))
}

fn is_source(place: &str) -> bool {
    let file = place.split(':').next().unwrap_or_default();
    let extension = Path::new(file)
        .extension()
        .and_then(|extension| extension.to_str());
    matches!(extension, None | Some("rs" | "go" | "sh")) && file != "Makefile"
}

/// Lines of every text that people write here, with file and line number.
fn lines() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in texts() {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let shown = file.strip_prefix(root()).unwrap().display().to_string();
        let numbered = text.lines().enumerate();
        found.extend(
            numbered.map(|(index, line)| (format!("{shown}:{}", index + 1), line.to_owned())),
        );
    }
    assert!(found.len() > 10_000, "{} lines", found.len());
    found
}

/// Everything but generated files, expected output, this file and the pages that quote refused words as examples.
fn texts() -> Vec<PathBuf> {
    const NOT_OURS: [&str; 13] = [
        ".git",
        ".tools",
        "target",
        "Cargo.lock",
        "LICENSE",
        "crds",
        "docs/reference",
        "charts/vaultwall-crds/templates/generated",
        "charts/vaultwall/templates/generated",
        "tests/charts/golden",
        "tests/golden",
        "tests/purity/words.rs",
        "CONTRIBUTING.md",
    ];
    const EXTENSIONS: [&str; 11] = [
        "rs", "md", "yaml", "yml", "go", "sh", "toml", "tpl", "txt", "json", "proto",
    ];
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let inside = path.strip_prefix(root()).unwrap();
            if NOT_OURS.iter().any(|skipped| inside == Path::new(skipped)) {
                continue;
            }
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if extension.is_none_or(|extension| EXTENSIONS.contains(&extension)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
