//! `vaultwall denials`: recent denials of an access log, grouped by caller, reason and operations, and followed live.
//!
//! `access_log` groups them, `table` prints them.

mod table;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::arguments::{VaultName, duration};
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Format, Output};
use super::records::Records;
use crate::access_log::{Capacity, Group, Record, Store};
use table::Table;

/// Time between two looks at the end of a followed file.
const POLL: Duration = Duration::from_millis(250);

/// Show the denials of an access log: who was denied, why, how often, and since when.
///
/// Denials of one caller with the same reason and operations are one group, however many paths it asks for. Exit code
/// 0: the log was read, whether there are denials or not. 2: error, also if the log has lines but no record.
#[derive(clap::Args, Debug)]
pub(super) struct Denials {
    /// File with the access log, or - for stdin, such as the output of `kubectl logs`.
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// Go on with new records, also after the file was rotated: prints a group when it is new, and again each time its
    /// number has doubled. With `-o json`, each is a line.
    #[arg(long, short)]
    follow: bool,
    /// Only denials of this last time (90s, 5m, 24h), or since a time (2026-11-22T18:30:00Z).
    #[arg(long, value_name = "DURATION|TIME")]
    since: Option<Since>,
    /// Only denials of this vault; its namespace may be in front of it, as NAMESPACE/SERVICE.
    #[arg(long, value_name = "SERVICE")]
    vault: Option<VaultName>,
    /// Namespace of the vault.
    #[arg(short, long, value_name = "NAMESPACE", requires = "vault")]
    namespace: Option<String>,
}

/// Beginning of the time that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Ago(Duration),
    Time(Timestamp),
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = duration(text).ok().map(Self::Ago);
        ago.or(text.parse().ok().map(Self::Time)).ok_or(
            "write a duration of at least one second (90s, 5m, 24h), or a time with its zone (2026-11-22T18:30:00Z)",
        )
    }
}

impl Since {
    fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Ago(ago) => SignedDuration::try_from(ago)
                .ok()
                .and_then(|ago| now.checked_sub(ago).ok())
                .unwrap_or(Timestamp::MIN),
        }
    }
}

impl Denials {
    pub(super) fn run(self, output: &mut Output) -> Outcome {
        let mut records = Records::open(&self.log)?;
        let mut view = self.view()?;
        // Records of a pipe come one by one, so there is no end at which a list could be printed.
        if !self.follow || records.can_grow() {
            while let Some(record) = records.next()? {
                view.add(record);
            }
            if !self.follow {
                records.rest().and_then(|record| view.add(record).map(drop));
            }
            records.check()?;
            view.print(&records, self.follow, output)?;
        }
        if self.follow {
            follow(&mut records, &mut view, output)?;
        }
        Ok(Answer::Yes)
    }

    fn view(&self) -> Result<View, Failure> {
        let namespace = self.namespace.as_deref();
        let vault = self.vault.as_ref().map(|vault| {
            vault.check(namespace)?;
            vault.id(namespace, None)
        });
        let now = Timestamp::now();
        Ok(View {
            vault: vault.transpose()?.map(|vault| vault.to_string()),
            since: self.since.map(|since| since.time(now)),
            first: None,
            store: Store::new(Capacity::default(), now),
            table: Table::default(),
        })
    }
}

/// The denials that are asked for, as far as the log was read.
struct View {
    vault: Option<String>,
    since: Option<Timestamp>,
    /// Time of the earliest record.
    first: Option<Timestamp>,
    store: Store,
    table: Table,
}

impl View {
    /// Adds a record. Returns its group if it is a denial that is asked for.
    fn add(&mut self, record: Record) -> Option<&Group> {
        let is_asked = self
            .vault
            .as_ref()
            .is_none_or(|vault| *vault == record.vault)
            && self.since.is_none_or(|since| record.time >= since);
        if !is_asked {
            return None;
        }
        self.first = Some(
            self.first
                .map_or(record.time, |first| first.min(record.time)),
        );
        self.store.add("", record, Timestamp::now())
    }

    fn print(&mut self, records: &Records, follow: bool, output: &mut Output) -> io::Result<()> {
        let mut denials = self.store.denials(None, None);
        denials.since = self.since.or(self.first).unwrap_or(denials.since);
        records
            .skipped_lines()
            .inspect(|text| output::message(text));
        match (output.format, follow) {
            (Format::Text, _) => output.text(&self.table.list(&denials)),
            (Format::Json, false) => output.json(&denials),
            (Format::Json, true) => denials
                .groups
                .iter()
                .try_for_each(|group| output.json_line(group)),
        }
    }
}

/// Prints groups as their denials come, until the pipe ends or nobody reads the output any more.
fn follow(records: &mut Records, view: &mut View, output: &mut Output) -> Result<(), Failure> {
    while !output.is_closed() {
        let next = match records.next()? {
            None if !records.can_grow() => records.rest(),
            next => next,
        };
        let Some(record) = next else {
            if !records.can_grow() {
                return Ok(());
            }
            if !records.was_rotated()? {
                thread::sleep(POLL);
            }
            continue;
        };
        let Some(group) = view
            .add(record)
            .filter(|group| group.count.is_power_of_two())
        else {
            continue;
        };
        let group = group.clone();
        match output.format {
            Format::Text => output.text(&view.table.row(&group))?,
            Format::Json => output.json_line(&group)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_beginning_is_a_duration_or_a_time() {
        let now: Timestamp = "2026-11-22T18:30:00Z".parse().unwrap();
        for (text, time) in [
            ("90s", Some("2026-11-22T18:28:30Z")),
            ("24h", Some("2026-11-21T18:30:00Z")),
            ("2026-11-22T19:00:00+01:00", Some("2026-11-22T18:00:00Z")),
            ("2026-11-22", None),
            ("0s", None),
            ("yesterday", None),
        ] {
            let found = text.parse::<Since>().ok();
            let found = found.map(|since| since.time(now).to_string());
            assert_eq!(found.as_deref(), time, "{text}");
        }
    }
}
