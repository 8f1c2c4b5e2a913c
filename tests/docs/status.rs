//! The tables of conditions, reasons and warnings are complete, and hold nothing that does not exist.

use std::collections::BTreeSet;

use vaultwall::controller::firewall::status::{MEANINGS, WARNINGS};

use crate::docs::page::Page;

/// Of the rows under the page's headings: the heading, and the names in backticks in each of the first two cells.
fn rows() -> Vec<(String, [Vec<String>; 2])> {
    let pages = Page::all();
    let page = pages
        .iter()
        .find(|page| page.path.to_str() == Some("docs/status.md"))
        .unwrap();
    let mut heading = "";
    let mut rows = Vec::new();
    for (_, line) in &page.prose {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        } else if let Some(row) = line.strip_prefix("| `") {
            let row = format!("`{row}");
            let mut cells = row.split(" | ").map(|cell| {
                let names = cell.split('`').skip(1).step_by(2);
                names.map(str::to_owned).collect::<Vec<_>>()
            });
            let first = cells.next().unwrap();
            rows.push((heading.to_owned(), [first, cells.next().unwrap()]));
        }
    }
    rows
}

#[test]
fn every_reason_is_explained() {
    let mut explained = BTreeSet::new();
    for (heading, [statuses, reasons]) in rows() {
        if MEANINGS.iter().any(|(kind, ..)| kind.name() == heading) {
            for reason in reasons {
                assert_eq!(statuses.len(), 1, "{heading}: {reason}");
                let is_new = explained.insert(format!("{heading} {} {reason}", statuses[0]));
                assert!(is_new, "{heading}: {reason} is explained twice");
            }
        }
    }
    let said: BTreeSet<String> = MEANINGS
        .iter()
        .map(|(kind, status, reason)| {
            format!("{} {} {}", kind.name(), status.name(), reason.name())
        })
        .collect();
    assert_eq!(explained, said);
}

#[test]
fn every_warning_is_explained() {
    let explained: Vec<String> = rows()
        .into_iter()
        .filter(|(heading, _)| heading == "Warnings")
        .flat_map(|(_, [warnings, _])| warnings)
        .collect();
    assert_eq!(explained, WARNINGS);
}
