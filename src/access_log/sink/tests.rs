use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use envoy_types::pb::envoy::data::accesslog::v3::{AccessLogCommon, HttpAccessLogEntry};
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, TcpAccessLogEntries,
};

use super::Outcome::{Queue, Rate, Taken, Unreadable, Vault};
use super::*;

#[derive(Default)]
struct Counts {
    outcomes: Mutex<Vec<Outcome>>,
    missing: AtomicU64,
}

impl Counts {
    fn take(&self) -> Vec<Outcome> {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *outcomes)
    }
}

impl Observer for Counts {
    fn record(&self, outcome: Outcome) {
        let outcomes = self.outcomes.lock();
        outcomes
            .unwrap_or_else(PoisonError::into_inner)
            .push(outcome);
    }

    fn missing(&self, records: u64) {
        self.missing.store(records, Ordering::Relaxed);
    }
}

fn sink() -> (Arc<Sink>, mpsc::Receiver<Received>, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let (clock, _) = Clock::settable(jiff::Timestamp::UNIX_EPOCH);
    let (sink, queue) = Sink::new(Arc::clone(&counts) as Arc<dyn Observer>, clock);
    (sink, queue, counts)
}

fn message(records: &[&[(&str, &str)]]) -> StreamAccessLogsMessage {
    let entries = records.iter().map(|tags| {
        let tags = tags
            .iter()
            .map(|(tag, text)| ((*tag).to_owned(), (*text).to_owned()));
        let common = AccessLogCommon {
            custom_tags: tags.collect::<HashMap<_, _>>(),
            ..AccessLogCommon::default()
        };
        TcpAccessLogEntry {
            common_properties: Some(common),
            ..TcpAccessLogEntry::default()
        }
    });
    StreamAccessLogsMessage {
        log_entries: Some(LogEntries::TcpLogs(TcpAccessLogEntries {
            log_entry: entries.collect(),
        })),
        ..StreamAccessLogsMessage::default()
    }
}

fn own() -> Arc<str> {
    "vault/openbao".into()
}

/// A record of a vault, with one more field.
fn record<'a>(vault: &'a str, name: &'a str, text: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("time", "2026-11-22T18:30:16.391Z"),
        ("vault", vault),
        ("listener", "data"),
        (name, text),
    ]
}

#[test]
fn a_message_of_empty_entries_takes_little_of_the_memory() {
    let largest = size_of::<HttpAccessLogEntry>().max(size_of::<TcpAccessLogEntry>());
    assert!(MESSAGE / 2 * largest < 100 << 20);
}

#[test]
fn a_record_is_handed_on_with_its_number() {
    let (sink, mut queue, counts) = sink();
    let tags = record("vault/openbao", "httpStatusCode", "403");
    sink.take(
        &own(),
        message(&[&[&tags[..], &[(NUMBER, "a/1")]].concat()]),
    );
    assert_eq!(counts.take(), [Taken]);
    let received = queue.try_recv().ok();
    assert!(received.is_some_and(|received| {
        received.record.http_status_code == Some(403)
            && received.number.as_deref() == Some("a/1")
            && *received.vault == *received.record.vault
    }));
}

#[test]
fn what_is_no_record_of_this_vault_is_dropped_and_its_number_does_not_count() {
    let (sink, mut queue, counts) = sink();
    let large = "a".repeat(RECORD);
    let other: &[(&str, &str)] = &[("vault", "vault/other"), (NUMBER, "a/9")];
    let large = record("vault/openbao", "userAgent", &large);
    let untimed: &[(&str, &str)] = &[("vault", "vault/openbao"), ("listener", "data")];
    sink.take(&own(), message(&[other, &[], &large, untimed]));
    let empty = TcpAccessLogEntries {
        log_entry: vec![TcpAccessLogEntry::default()],
    };
    let http = HttpAccessLogEntries {
        log_entry: vec![HttpAccessLogEntry::default()],
    };
    for entries in [LogEntries::TcpLogs(empty), LogEntries::HttpLogs(http)] {
        let message = StreamAccessLogsMessage {
            log_entries: Some(entries),
            ..StreamAccessLogsMessage::default()
        };
        sink.take(&own(), message);
    }
    assert_eq!(
        counts.take(),
        [Vault, Vault, Unreadable, Unreadable, Unreadable, Unreadable]
    );
    assert!(queue.try_recv().is_err());
    let sequences = sink.sequences("vault/openbao");
    assert!(sequences.is_some_and(|sequences| sequences.known().is_empty()));
    assert!(sink.sequences("vault/other").is_none());
}

/// Nobody empties the queue. A vault that fills its places leaves those of others, and its numbers count all the same.
#[test]
fn a_store_that_stands_still_drops_records_and_delays_none() {
    let (sink, queue, counts) = sink();
    let send = |vault: &Arc<str>, number: usize| {
        let number = format!("a/{number}");
        sink.take(vault, message(&[&record(vault, NUMBER, &number)]));
    };
    (1..=1_000).for_each(|number| send(&own(), number));
    let outcomes = counts.take();
    let taken = outcomes.iter().filter(|one| **one == Taken);
    assert_eq!(taken.count(), QUEUE / 4);
    assert_eq!(outcomes.last(), Some(&Queue));
    let other = Arc::from("vault/other");
    send(&other, 1);
    assert_eq!(counts.take(), [Taken]);
    assert_eq!(counts.missing.load(Ordering::Relaxed), 0);
    send(&other, 8);
    assert_eq!(counts.missing.load(Ordering::Relaxed), 6);

    drop(queue);
    send(&other, 9);
    assert_eq!(counts.take(), [Taken, Queue]);
}

#[test]
fn a_flood_is_cut_to_a_rate() {
    let (sink, mut queue, counts) = sink();
    for _ in 0..6_000 {
        let record = record("vault/openbao", "plane", "data");
        sink.take(&own(), message(&[&record]));
        let _ = queue.try_recv();
    }
    let outcomes = counts.take();
    let dropped = outcomes.iter().filter(|one| **one == Rate).count();
    assert_eq!(dropped, 1_000);
}
