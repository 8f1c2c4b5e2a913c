//! Counts of the searched texts, and the places of tokens in them. It never holds a token.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::containers::{Log, Program};
use crate::tokens;

/// Characters in front of a token that its place shows.
const SHOWN: usize = 80;
/// Cause why the log of a running container was not read to its end.
const OPEN: &str = "it was still open";
/// Resources that a run of the tests on a cluster always has objects of.
const EXPECTED: [&str; 2] = [
    "vaultwall.dev/v1alpha1/vaultnetworkpolicies",
    "events.k8s.io/v1/events",
];

/// Result of a search.
#[derive(Debug, Default)]
pub struct Found {
    /// Lines of output.
    output: usize,
    /// Logs by the identities of their containers.
    logs: BTreeMap<String, State>,
    /// Versions of each object, by resource and the object's UID.
    objects: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    places: BTreeSet<String>,
}

/// State of a log.
#[derive(Debug)]
struct State {
    log: Log,
    lines: usize,
    /// Cause why it was not read to its end, if so.
    unread: Option<String>,
}

impl Found {
    /// Searches a text. `place` describes it.
    pub fn text(&mut self, place: &str, text: &str) {
        if let Some(token) = tokens::find(text) {
            let before: Vec<char> = text[..text.len() - token.len()].chars().collect();
            let before = &before[before.len().saturating_sub(SHOWN)..];
            let before: String = before.iter().collect();
            self.places.insert(format!("{place}: {before}…"));
        }
    }

    /// Searches the next line of the output.
    pub fn output(&mut self, line: &str) {
        self.output += 1;
        self.text(&format!("line {} of the output", self.output), line);
    }

    /// Notes that a log is about to be read from its first line.
    pub fn log_opened(&mut self, log: &Log) {
        self.logs.entry(log.id.clone()).or_insert_with(|| State {
            log: log.clone(),
            lines: 0,
            unread: Some(OPEN.to_owned()),
        });
    }

    /// Searches a line of a log. The first line has the number 1.
    pub fn log_line(&mut self, log: &Log, number: usize, line: &str) {
        if let Some(state) = self.logs.get_mut(&log.id) {
            state.lines = state.lines.max(number);
        }
        self.text(&format!("{}, line {number}", name(log)), line);
    }

    /// Notes that a log was read to its end.
    pub fn log_ended(&mut self, log: &Log) {
        self.log_is(log, None);
    }

    /// Whether a log is being read that has neither ended nor failed.
    pub fn has_open_log(&self) -> bool {
        let mut logs = self.logs.values();
        logs.any(|state| state.unread.as_deref() == Some(OPEN))
    }

    /// Notes that a log was not read to its end.
    pub fn log_failed(&mut self, log: &Log, error: &str) {
        self.log_is(log, Some(error.to_owned()));
    }

    fn log_is(&mut self, log: &Log, unread: Option<String>) {
        if let Some(state) = self.logs.get_mut(&log.id) {
            state.unread = unread;
        }
    }

    /// Searches all texts of an object, names of fields included.
    pub fn object(&mut self, resource: &str, object: &Value) {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let objects = self.objects.entry(resource.to_owned()).or_default();
        let versions = objects.entry(text("uid").to_owned()).or_default();
        if versions.insert(text("resourceVersion").to_owned()) {
            let place = format!("{resource} {}/{}", text("namespace"), text("name"));
            self.value(&place, object);
        }
    }

    fn value(&mut self, place: &str, value: &Value) {
        match value {
            Value::String(text) => self.text(place, text),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(&format!("{place}[{index}]"), item);
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    // A name with a token would be part of the place of its value.
                    let shown = if tokens::find(name).is_some() {
                        self.text(&format!("{place}: name of a field"), name);
                        "?"
                    } else {
                        name
                    };
                    self.value(&format!("{place}.{shown}"), value);
                }
            }
            _ => {}
        }
    }

    /// Descriptions of the places with a token, each with the text in front of the token.
    pub fn places(&self) -> Vec<&str> {
        self.places.iter().map(String::as_str).collect()
    }

    /// Logs of the operator and the proxies that were not read to their ends, and kinds of texts of which none was
    /// searched: without these, a search proves nothing.
    pub fn gaps(&self) -> Vec<String> {
        let (own, _) = self.unread();
        let programs = [
            ("operator", Program::Operator),
            ("proxies", Program::Proxy),
            ("other containers", Program::Other),
        ];
        let silent = programs
            .iter()
            .filter(|(_, program)| self.of(*program).1 == 0)
            .map(|(name, _)| format!("no line of the logs of the {name} was searched"));
        let absent = EXPECTED
            .iter()
            .filter(|resource| !self.objects.contains_key(**resource))
            .map(|resource| format!("no object of {resource} was searched"));
        own.into_iter().chain(silent).chain(absent).collect()
    }

    /// Logs that were not read to their ends: of the operator and the proxies, and of others.
    fn unread(&self) -> (Vec<String>, Vec<String>) {
        let unread = self.logs.values().filter_map(|state| {
            let why = state.unread.as_ref()?;
            let text = format!("{} was not read to its end: {why}", name(&state.log));
            Some((state.log.program, text))
        });
        let (own, others): (Vec<_>, Vec<_>) =
            unread.partition(|(program, _)| *program != Program::Other);
        let texts = |logs: Vec<(Program, String)>| logs.into_iter().map(|(_, text)| text).collect();
        (texts(own), texts(others))
    }

    /// Numbers of a program's logs and of their lines.
    fn of(&self, program: Program) -> (usize, usize) {
        let logs = self
            .logs
            .values()
            .filter(|state| state.log.program == program);
        logs.fold((0, 0), |(logs, lines), state| {
            (logs + 1, lines + state.lines)
        })
    }
}

impl fmt::Display for Found {
    /// Figures, and everything that was found.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "token search: {} lines of output", self.output)?;
        for (name, program) in [
            ("the operator", Program::Operator),
            ("proxies", Program::Proxy),
            ("other containers", Program::Other),
        ] {
            let (logs, lines) = self.of(program);
            if logs > 0 {
                writeln!(f, "token search: {lines} lines of {logs} logs of {name}")?;
            }
        }
        for (resource, objects) in &self.objects {
            let versions: usize = objects.values().map(BTreeSet::len).sum();
            let count = objects.len();
            writeln!(
                f,
                "token search: {versions} versions of {count} objects of {resource}"
            )?;
        }
        for unread in self.unread().1 {
            writeln!(f, "token search: {unread}")?;
        }
        for place in &self.places {
            writeln!(f, "token search: a token in {place}")?;
        }
        write!(f, "token search: {} places with a token", self.places.len())
    }
}

fn name(log: &Log) -> String {
    let previous = if log.is_previous { " before it" } else { "" };
    format!(
        "log of {}/{} ({}{previous})",
        log.namespace, log.pod, log.container
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::TOKEN;

    fn log(id: &str, program: Program) -> Log {
        Log {
            id: id.to_owned(),
            namespace: "vault".to_owned(),
            pod: "openbao-firewall-1".to_owned(),
            container: "envoy".to_owned(),
            program,
            is_previous: false,
        }
    }

    #[test]
    fn a_token_is_found_in_each_kind_of_text_and_not_shown() {
        let mut found = Found::default();
        found.output("fine\n");
        found.output(&format!("token: {TOKEN}\n"));
        let proxy = log("1", Program::Proxy);
        found.log_opened(&proxy);
        found.log_line(&proxy, 1, "fine\n");
        found.log_line(
            &proxy,
            2,
            &format!("{{\"path\":\"/v1/x?token={TOKEN}\"}}\n"),
        );
        let object = |version: &str, text: &str| {
            json!({
                "metadata": {"uid": "u", "namespace": "vault", "name": "openbao", "resourceVersion": version},
                "status": {"conditions": [{"message": "fine"}, {"message": text}], "a": {text: 1}},
            })
        };
        found.object("v1/things", &object("1", "fine"));
        found.object("v1/things", &object("2", TOKEN));
        found.object("v1/things", &object("3", "fine"));
        let (before, _) = TOKEN.split_once(tokens::MARK).unwrap();
        assert_eq!(
            found.places(),
            [
                format!("line 2 of the output: token: {before}…"),
                format!(
                    "log of vault/openbao-firewall-1 (envoy), line 2: {{\"path\":\"/v1/x?token={before}…"
                ),
                format!("v1/things vault/openbao.status.a: name of a field: {before}…"),
                format!("v1/things vault/openbao.status.conditions[1].message: {before}…"),
            ]
        );
        let report = found.to_string();
        assert!(!report.contains(tokens::MARK), "{report}");
        assert!(
            report.contains("3 versions of 1 objects of v1/things"),
            "{report}"
        );
        assert!(report.ends_with("4 places with a token"), "{report}");
    }

    #[test]
    fn unread_logs_and_absent_texts_are_gaps() {
        let mut found = Found::default();
        assert_eq!(found.gaps().len(), 5, "{:?}", found.gaps());
        for resource in EXPECTED {
            found.object(resource, &json!({"metadata": {"uid": "u"}}));
        }
        let logs = [Program::Operator, Program::Proxy, Program::Other];
        for (id, program) in ["1", "2", "3"].into_iter().zip(logs) {
            let log = log(id, program);
            found.log_opened(&log);
            found.log_line(&log, 1, "fine\n");
            found.log_ended(&log);
        }
        assert_eq!(found.gaps(), [""; 0]);

        // A container that was deleted before its log could be read, and one whose log ends with an error.
        let proxy = log("4", Program::Proxy);
        found.log_opened(&proxy);
        let place = "log of vault/openbao-firewall-1 (envoy)";
        assert_eq!(
            found.gaps(),
            [format!(
                "{place} was not read to its end: it was still open"
            )]
        );
        found.log_failed(&proxy, "not found");
        assert_eq!(
            found.gaps(),
            [format!("{place} was not read to its end: not found")]
        );
        // Reading it again succeeds.
        found.log_opened(&proxy);
        found.log_ended(&proxy);
        assert_eq!(found.gaps(), [""; 0]);
        let other = log("5", Program::Other);
        found.log_opened(&other);
        found.log_failed(&other, "not found");
        assert_eq!(found.gaps(), [""; 0]);
        assert!(found.to_string().contains("not found"), "{found}");
    }
}
