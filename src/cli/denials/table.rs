//! Groups of denials as a table for people.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::access_log::{Denials, Group};

const HEAD: [&str; COLUMNS] = [
    "LAST",
    "COUNT",
    "SINCE",
    "VAULT",
    "WHO",
    "REASON",
    "OPERATIONS",
    "REQUEST",
    "DECISION",
];
const COLUMNS: usize = 9;
/// Largest width for which the other rows leave room.
const WIDTH: usize = 48;

/// The widths of the columns; rows that come later keep them.
#[derive(Default)]
pub(super) struct Table {
    widths: [usize; COLUMNS],
}

impl Table {
    /// All groups, and their number.
    pub(super) fn list(&mut self, denials: &Denials) -> String {
        let since = seconds(denials.since);
        if denials.groups.is_empty() {
            return format!("no denials since {since}\n");
        }
        let rows: Vec<[String; COLUMNS]> = denials.groups.iter().map(cells).collect();
        let head = HEAD.map(str::to_owned);
        for row in rows.iter().chain([&head]) {
            self.fit(row);
        }
        let mut text = self.line(&head);
        text.extend(rows.iter().map(|row| self.line(row)));
        let noun = if denials.count == 1 {
            "denial"
        } else {
            "denials"
        };
        let _ = write!(text, "\n{} {noun} since {since}", denials.count);
        if denials.forgotten > 0 {
            let _ = write!(
                text,
                "; {} of them are in no row, because there were too many different ones",
                denials.forgotten
            );
        }
        text.push('\n');
        text
    }

    /// One more row.
    pub(super) fn row(&mut self, group: &Group) -> String {
        let cells = cells(group);
        self.fit(&cells);
        self.line(&cells)
    }

    fn fit(&mut self, row: &[String; COLUMNS]) {
        for (width, cell) in self.widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len().min(WIDTH));
        }
    }

    fn line(&self, row: &[String; COLUMNS]) -> String {
        let cells = self.widths.iter().zip(row);
        let cells: Vec<String> = cells
            .map(|(width, cell)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    }
}

fn cells(group: &Group) -> [String; COLUMNS] {
    let key = &group.key;
    let through = key.through.iter().map(|peer| format!(" through {peer}"));
    let who: String = [key.who.clone()].into_iter().chain(through).collect();
    let reason = match &key.reason {
        Some(reason) if key.only_recorded => format!("{reason} (Audit)"),
        Some(reason) => reason.clone(),
        None => {
            let details = key.details.as_deref().unwrap_or("no details");
            format!("not decided: {details}")
        }
    };
    let first = group.requests.first().map_or("-", String::as_str);
    let request = if group.more {
        format!("{first} and more")
    } else if group.requests.len() > 1 {
        format!("{first} and {} more", group.requests.len() - 1)
    } else {
        first.to_owned()
    };
    [
        seconds(group.last),
        group.count.to_string(),
        seconds(group.first),
        key.vault.clone(),
        who,
        reason,
        key.operations.clone().unwrap_or_else(|| "-".into()),
        request,
        group
            .decision_ids
            .first()
            .cloned()
            .unwrap_or_else(|| "-".into()),
    ]
    .map(|cell| printable(&cell))
}

/// A time with the precision that a person reads.
fn seconds(time: Timestamp) -> String {
    let seconds = Timestamp::from_second(time.as_second()).unwrap_or(time);
    seconds.to_string()
}

/// Text of a client with everything escaped that could steer a terminal, or look like another text.
fn printable(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_graphic() || character == ' ';
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if is_plain(character) {
            plain.push(character);
        } else {
            plain.extend(character.escape_default());
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_client_steers_the_terminal() {
        assert_eq!(printable("/v1/a b"), "/v1/a b");
        assert_eq!(
            printable("\u{1b}[2Jé\n\u{202e}"),
            "\\u{1b}[2J\\u{e9}\\n\\u{202e}"
        );
    }
}
