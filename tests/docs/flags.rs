//! Every subcommand and flag of `vaultwall` that a page mentions exists.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use regex::Regex;

use crate::docs::page::{Kind, Page};
use crate::docs::shown::commands;

/// Subcommand → its flags, as its help lists them. The program's own are in every one.
fn flags() -> BTreeMap<String, BTreeSet<String>> {
    let help = |subcommand: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vaultwall"))
            .args(subcommand)
            .arg("--help")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let flag = Regex::new(r"(?m)^ +(?:(-\w), )?(--[a-z-]+)|^ +(-\w)\b").unwrap();
    let list = help(&[]);
    let subcommand = Regex::new(r"(?m)^  ([a-z]+)  ").unwrap();
    let names = subcommand
        .captures_iter(&list)
        .map(|found| found[1].to_owned());
    names
        .map(|name| {
            let help = if name == "help" {
                String::new()
            } else {
                // A page may name the flags of its own subcommands after it.
                let own = help(&[&name]);
                let (_, list) = own.split_once("Commands:\n").unwrap_or_default();
                let parts = subcommand.captures_iter(list);
                let parts: Vec<String> = parts.map(|part| help(&[&name, &part[1]])).collect();
                own + &parts.concat()
            };
            let found = flag.captures_iter(&help);
            let flags = found.flat_map(|found| {
                let groups: Vec<String> = found
                    .iter()
                    .skip(1)
                    .flatten()
                    .map(|group| group.as_str().to_owned())
                    .collect();
                groups
            });
            (name, flags.collect())
        })
        .collect()
}

/// Subcommands that a page may name although only a later version has them; the text marks them.
const LATER: [&str; 4] = ["controller", "suggest", "tags", "import"];

#[test]
fn subcommands_and_flags_exist() {
    let known = flags();
    assert!(
        known.len() > 3 && known["serve"].contains("--upstream"),
        "{known:?}"
    );
    let any: BTreeSet<&String> = known.values().flatten().collect();
    let code = Regex::new("`([^`]+)`").unwrap();
    let lone_flag = Regex::new(r"^--[a-z-]+").unwrap();
    let mut problems = Vec::new();
    for page in Page::all() {
        // The changelog and the decisions are not about the current program.
        let of_today = !page.path.ends_with("CHANGELOG.md");
        let mut said: Vec<(usize, String)> = Vec::new();
        for (line, text) in &page.prose {
            said.extend(
                code.captures_iter(text)
                    .map(|found| (*line, found[1].to_owned())),
            );
        }
        for block in &page.blocks {
            match block.kind {
                Kind::Commands | Kind::Server | Kind::Live => {
                    let commands = commands(&block.text).into_iter();
                    said.extend(commands.map(|shown| (block.line, shown.command)));
                }
                Kind::Shown => {
                    let joined = block.text.replace("\\\n", " ");
                    said.extend(joined.lines().map(|text| (block.line, text.to_owned())));
                }
                Kind::Objects { .. } | Kind::Values { .. } => {}
            }
        }
        for (line, text) in said {
            let place = format!("{}:{line}", page.path.display());
            if let Some(flag) = lone_flag.find(&text)
                && of_today
                && !any.iter().any(|known| known.as_str() == flag.as_str())
                && !page.path.starts_with("docs/decisions")
            {
                problems.push(format!(
                    "{place}: {} is no flag of any subcommand",
                    flag.as_str()
                ));
            }
            problems.extend(
                unknown(&known, &text)
                    .into_iter()
                    .map(|what| format!("{place}: {what}")),
            );
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Returns the words of a command line that are no subcommand or flag of ours.
fn unknown(known: &BTreeMap<String, BTreeSet<String>>, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let words: Vec<&str> = text
        .split_whitespace()
        .map(|word| word.trim_matches(['[', ']', '(', ')', ',', '\\']))
        .collect();
    for (index, _) in words
        .iter()
        .enumerate()
        .filter(|(_, word)| **word == "vaultwall")
    {
        let mut rest = words[index + 1..]
            .iter()
            .take_while(|word| !["|", "&&", ";", ">", "&"].contains(word));
        let Some(subcommand) = rest
            .next()
            .filter(|word| word.bytes().all(|b| b.is_ascii_lowercase()))
        else {
            continue;
        };
        let Some(flags) = known.get(*subcommand) else {
            if !LATER.contains(subcommand) {
                problems.push(format!("`vaultwall {subcommand}` is no subcommand"));
            }
            continue;
        };
        for word in rest.filter(|word| word.starts_with('-') && word.len() > 1) {
            let flag = word.split('=').next().unwrap();
            if !flags.contains(flag) {
                problems.push(format!("`vaultwall {subcommand}` has no {flag}"));
            }
        }
    }
    problems
}

#[test]
fn unknown_subcommands_and_flags_are_found() {
    let known = flags();
    // text | problems
    for (text, problems) in [
        ("vaultwall serve -f DIR --upstream HOST:PORT", 0),
        ("vaultwall serve --upstraem x", 1),
        ("vaultwall sreve", 1),
        ("vaultwall crds | kubectl apply --server-side -f -", 0),
        ("RUST_LOG=debug vaultwall validate -x", 1),
        ("vaultwall", 0),
    ] {
        assert_eq!(unknown(&known, text).len(), problems, "{text}");
    }
}
