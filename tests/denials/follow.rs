//! `vaultwall denials --follow`: new records, half lines, and a rotated file.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::denials::{record, vaultwall, written};

/// A follower, which ends with the test.
struct Follower {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Follower {
    fn start(log: &str) -> Self {
        let mut child = vaultwall(&format!("denials --log {log} -o json --follow"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next line that it prints: who, and how often.
    fn next(&mut self) -> (String, u64) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let group: Value = serde_json::from_str(&line).unwrap();
        let who = group["who"].as_str().unwrap().to_owned();
        (who, group["count"].as_u64().unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn append(log: &str, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(log)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn line(second: u32, address: &str) -> String {
    let fields = json!({"directIpAddress": address, "callerIpAddress": address});
    format!("{}\n", record(second, &fields))
}

#[test]
fn a_log_is_followed() {
    let (_folder, log) = written(&line(1, "127.0.30.3"));
    let mut follower = Follower::start(&log);
    let mut expect = |address: &str, count| {
        assert_eq!(follower.next(), (address.to_owned(), count));
    };
    expect("127.0.30.3", 1);

    // Half a line is none, until its end comes. Of a caller that repeats, each doubling is a line.
    let whole = line(2, "127.0.30.3");
    let (half, rest) = whole.split_at(100);
    append(&log, half);
    append(&log, &format!("{rest}{}", line(3, "127.0.30.3")));
    append(&log, &(line(4, "127.0.30.3") + &line(5, "127.0.30.4")));
    expect("127.0.30.3", 2);
    expect("127.0.30.3", 4);
    expect("127.0.30.4", 1);

    // Rotated: the rest of the old file first, then the new one.
    fs::rename(&log, format!("{log}.1")).unwrap();
    append(&format!("{log}.1"), &line(6, "127.0.30.5"));
    expect("127.0.30.5", 1);
    append(&log, &line(7, "127.0.30.6"));
    expect("127.0.30.6", 1);
}
