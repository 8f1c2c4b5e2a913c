//! The output that a page shows after a command, and the comparison with real output.

use regex::Regex;

/// A command and the output that is shown for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub command: String,
    pub output: String,
}

/// Takes a block of commands apart. A command goes on after a line that ends in a backslash.
pub(crate) fn commands(block: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut goes_on = false;
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            all.push(Shown {
                command: command.to_owned(),
                output: String::new(),
            });
        } else {
            let shown = all
                .last_mut()
                .expect("a block of commands begins with `$ `");
            let into = if goes_on {
                &mut shown.command
            } else {
                &mut shown.output
            };
            into.push('\n');
            into.push_str(line);
        }
        goes_on = line.ends_with('\\') && all.last().is_some_and(|shown| shown.output.is_empty());
    }
    for shown in &mut all {
        shown.output = shown.output.trim().to_owned();
    }
    all
}

/// Whether output fits what is shown: `…` stands for any text in its line, and alone on a line for any lines.
pub(crate) fn fits(shown: &str, output: &str) -> bool {
    let lines: Vec<String> = shown
        .lines()
        .map(|line| {
            if line.trim() == "…" {
                return "(?:.*\n)*?".to_owned();
            }
            let parts: Vec<String> = line.trim_end().split('…').map(regex::escape).collect();
            format!("{}[ \t]*\n", parts.join(".*"))
        })
        .collect();
    let pattern = format!("^\\s*{}\\s*$", lines.concat());
    let output = format!("{}\n", output.trim());
    Regex::new(&pattern).unwrap().is_match(&output)
}

#[test]
fn blocks_are_taken_apart() {
    let block = "$ one\nsaid\n\nmore\n$ two \\\n  three\n$ four\n";
    let expected = [
        ("one", "said\n\nmore"),
        ("two \\\n  three", ""),
        ("four", ""),
    ];
    let found = commands(block);
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|shown| (shown.command.as_str(), shown.output.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn ellipses_stand_for_anything() {
    // shown | output | fits
    for (shown, output, expected) in [
        ("", "", true),
        ("", "more", false),
        ("a", "a\n", true),
        ("a", "ab", false),
        ("a…c", "abbc", true),
        ("a…c", "ab\nc", false),
        ("a\n…\nc", "a\nb\nb\nc", true),
        ("a\n…\nc", "a\nc", true),
        ("…\nc", "c\nd", false),
        ("…\nc\n…", "b\nc\nd\n", true),
        ("(.)", "(.)", true),
        ("(.)", "(x)", false),
    ] {
        assert_eq!(fits(shown, output), expected, "{shown:?} {output:?}");
    }
}
