//! Requests, and what the client and the access log of the proxies say of them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use testkit::cluster::client::Answer;
use testkit::cluster::{eventually, kubectl};

use super::stage::{Caller, Stage};

/// An operation of the vault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// `secrets/get`, which is in the scenario of every trusted service.
    Read,
    /// `secrets/list`, which is in none.
    List,
}

impl Operation {
    fn request(self) -> (&'static str, &'static str) {
        match self {
            Self::Read => ("GET", "/v1/secret/data/app"),
            Self::List => ("LIST", "/v1/secret/metadata"),
        }
    }
}

/// The vault's token in a request.
pub(super) enum VaultToken<'a> {
    None,
    WithoutPolicy(&'a str),
    WithPolicy(&'a str),
}

impl fmt::Display for VaultToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no token",
            Self::WithoutPolicy(_) => "token without a policy",
            Self::WithPolicy(_) => "token with a policy",
        })
    }
}

/// A request that was sent.
struct Cell {
    expected: String,
    problem: Option<&'static str>,
    answer: Answer,
}

/// Requests by the text that they have as `User-Agent`, which is in their records in the access log.
#[derive(Default)]
pub(super) struct Asked(BTreeMap<String, Cell>);

impl Asked {
    /// Sends a request to the data endpoint.
    pub(super) fn ask(
        &mut self,
        stage: &Stage,
        caller: &Caller<'_>,
        what: &str,
        operation: Operation,
        token: &VaultToken<'_>,
        expected: &str,
    ) {
        let (method, path) = operation.request();
        let url = stage.vault.url("openbao-firewall", 8200, path);
        let token = match token {
            VaultToken::None => &[][..],
            VaultToken::WithoutPolicy(token) | VaultToken::WithPolicy(token) => {
                &["--token", token][..]
            }
        };
        let options = [token, &["--method", method, &url]].concat();
        self.send(caller, what, &options, expected);
    }

    /// Tries to log in.
    pub(super) fn log_in(
        &mut self,
        stage: &Stage,
        caller: &Caller<'_>,
        what: &str,
        expected: &str,
    ) {
        let [url, body] = stage.login("reader");
        let request = ["--method", "POST", "--jwt", "@/tokens/vault"];
        let options = [&request[..], &["--body", &body, &url]].concat();
        self.send(caller, what, &options, expected);
    }

    /// Sends a request with these options of the probe.
    pub(super) fn send(
        &mut self,
        caller: &Caller<'_>,
        what: &str,
        options: &[&str],
        expected: &str,
    ) {
        let cell = Cell {
            expected: expected.to_owned(),
            problem: caller.problem,
            answer: caller.ask(&[&["--agent", what], options].concat()),
        };
        let before = self.0.insert(what.to_owned(), cell);
        assert!(before.is_none(), "two requests are {what}");
    }

    /// Waits until the access log has all requests, and compares each with its expected answer.
    pub(super) fn check(self, stage: &Stage) {
        let namespace = &stage.vault.namespace.name;
        let records = eventually("the access log has every request", || {
            let records = records(namespace);
            let mut missing = self.0.keys().filter(|what| !records.contains_key(*what));
            match missing.next() {
                None => Ok(records),
                Some(what) => Err(format!("no record of {what}")),
            }
        });
        let mut wrong = Vec::new();
        for (what, cell) in &self.0 {
            let observed = observed(&cell.answer, &records[what]);
            println!("{what}: {observed}");
            if observed != cell.expected {
                wrong.push(format!("{what}: {observed}, expected {}", cell.expected));
            }
            let problem = records[what]["tokenProblem"].as_str();
            if problem != cell.problem {
                wrong.push(format!("{what}: {problem:?}, expected {:?}", cell.problem));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Status and reason. The client and the access log have to agree: a denial has its reason in the body, and the vault's
/// own denial the vault's text.
fn observed(answer: &Answer, record: &Value) -> String {
    let Answer::Answered(status, body) = answer else {
        return format!("{answer:?}");
    };
    let reason = record["reason"].as_str().unwrap_or("without a reason");
    let is_denial = reason.starts_with("Forbidden");
    if is_denial && !body.contains(reason) {
        return format!("{status}, {reason} in the access log, and the body {body}");
    }
    if *status == 403 && !is_denial && body.contains("permission denied") {
        return "403 by the vault".to_owned();
    }
    format!("{status} {reason}")
}

/// Records of the access logs of all proxies, by `userAgent`.
pub(crate) fn records(namespace: &str) -> BTreeMap<String, Value> {
    let log = kubectl(&[
        "logs",
        "--namespace",
        namespace,
        "--selector=app.kubernetes.io/name=vaultwall-firewall",
        "--tail=-1",
    ]);
    let records = log.lines().filter_map(|line| {
        let record: Value = serde_json::from_str(line).ok()?;
        Some((record["userAgent"].as_str()?.to_owned(), record))
    });
    records.collect()
}
