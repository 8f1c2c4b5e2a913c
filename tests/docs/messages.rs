//! Messages that the pages explain are messages of the program: what stands in backticks in the first column of a table
//! on these pages occurs in its sources.

use std::fs;
use std::path::Path;

use regex::Regex;

use crate::docs::page::{Page, root};

/// Pages whose tables are about messages, and the headings under which they are.
const PAGES: [&str; 2] = ["docs/troubleshooting.md", "docs/denied.md"];

#[test]
fn messages_are_the_programs() {
    let sources = sources();
    // One or two backticks, as Markdown wants it for text with backticks in it.
    let quoted = Regex::new("``(.+?)``|`([^`]+)`").unwrap();
    let mut problems = Vec::new();
    let mut count = 0;
    for page in Page::all() {
        let path = page.path.to_str().unwrap().to_owned();
        if !PAGES.contains(&path.as_str()) {
            continue;
        }
        for (line, text) in &page.prose {
            let Some(cell) = text
                .strip_prefix("| ")
                .and_then(|row| row.split(" | ").next())
            else {
                continue;
            };
            for found in quoted.captures_iter(cell) {
                let message = found.get(1).or(found.get(2)).unwrap().as_str().trim();
                count += 1;
                // `…` stands for what the program fills in.
                let parts = message
                    .split('…')
                    .map(|part| part.trim_matches([' ', '(', ')', ';', ':']));
                let missing: Vec<&str> = parts.filter(|part| !sources.contains(part)).collect();
                if !missing.is_empty() {
                    problems.push(format!("{path}:{line}: {missing:?} of {message}"));
                }
            }
        }
    }
    assert!(
        problems.is_empty(),
        "the program says no such thing:\n{}",
        problems.join("\n")
    );
    assert!(count > 30, "only {count} messages were found");
}

/// All sources of the program, with texts that go on in the next line joined.
fn sources() -> String {
    let mut text = String::new();
    read(&root().join("src"), &mut text);
    let goes_on = Regex::new(r"\\\n\s*").unwrap();
    goes_on.replace_all(&text, "").replace("\\\"", "\"")
}

fn read(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
