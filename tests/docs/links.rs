//! Links between files of the repository lead somewhere, headings too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

use crate::docs::page::{Page, root};

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r#"\]\(([^)\s]+)\)|(?:href|src|srcset)="([^"]+)""#).unwrap();
    let pages = Page::all();
    let mut problems = Vec::new();
    let mut count = 0;
    for page in &pages {
        let folder = page.path.parent().unwrap();
        for (line, text) in &page.prose {
            for found in link.captures_iter(text) {
                let target = found.get(1).or(found.get(2)).unwrap().as_str();
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                count += 1;
                let (path, heading) = target.split_once('#').unwrap_or((target, ""));
                let path = if path.is_empty() {
                    page.path.clone()
                } else {
                    plain(&folder.join(path))
                };
                let there = fs::exists(root().join(&path)).unwrap()
                    && (heading.is_empty() || headings(&pages, &path).contains(heading));
                if !there {
                    problems.push(format!("{}:{line}: {target}", page.path.display()));
                }
            }
        }
    }
    assert!(
        problems.is_empty(),
        "lead nowhere:\n{}",
        problems.join("\n")
    );
    assert!(count > 10, "only {count} links were found");
}

/// Pages that no link leads to are not found by readers.
#[test]
fn every_page_is_linked() {
    let link = Regex::new(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)").unwrap();
    let pages = Page::all();
    let mut linked = BTreeSet::new();
    for page in &pages {
        for (_, text) in &page.prose {
            for found in link.captures_iter(text) {
                linked.insert(plain(&page.path.parent().unwrap().join(&found[1])));
            }
        }
    }
    let alone: Vec<&PathBuf> = pages
        .iter()
        .map(|page| &page.path)
        .filter(|path| !linked.contains(*path) && path.file_name().unwrap() != "README.md")
        .filter(|path| !path.starts_with(".github"))
        .collect();
    assert!(alone.is_empty(), "no link leads to {alone:?}");
}

/// Anchors of a page's headings, as forges make them.
fn headings(pages: &[Page], path: &Path) -> BTreeSet<String> {
    let page = pages.iter().find(|page| page.path == path);
    let prose = page.into_iter().flat_map(|page| &page.prose);
    prose
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}
