//! Third act: files that must not change anything, and the messages of Vaultwall about them.

use std::time::{Duration, Instant};

use crate::edit::{RULES, VISITOR_RULE, WatchedFile};
use crate::fallible::Fallible;
use crate::poller::{FAST, Poller, SLOW};
use crate::requests::{caller_named, callers};
use crate::stage::Stage;
use testkit::report::{Report, milliseconds};

/// Timeout for a log line, and for answers.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Number of answers of each client that are checked after Vaultwall has logged the error.
const ANSWERS: u64 = 50;
/// End of such a message.
const STAYS: &str = "stays in force";

pub async fn show(stage: &Stage, report: &mut Report) -> Fallible<()> {
    let callers = callers()?;
    report.heading("3. A broken file changes nothing, and is reported")?;
    let policy = WatchedFile::open(stage, "policy.yaml")?;
    let mut visitor = Poller::start(stage, &caller_named(&callers, "visitor")?, FAST);
    let mut inside = Poller::start(stage, &caller_named(&callers, "hq")?, SLOW);
    let mut outside = Poller::start(stage, &caller_named(&callers, "outsider")?, SLOW);
    let private = policy.with_below(RULES, "  - {name: everyone, value: 10.0.0.0/8}")?;
    let torn = policy.with_below(RULES, "  - {name: everyone, value: ")?;
    let broken = [
        (
            "an invalid rule: 10.0.0.0/8 as a public address",
            private.as_str(),
        ),
        (
            "a file torn off in the middle of a line",
            torn.split_inclusive("value: ").next().unwrap_or_default(),
        ),
        ("an empty file", ""),
    ];
    for (title, text) in broken {
        let logged_before = stage.vaultwall.log()?.len();
        policy.replace(text)?;
        let errors = errors(stage, logged_before).await?;
        for client in [&mut visitor, &mut inside, &mut outside] {
            client.more(ANSWERS, TIMEOUT).await?;
        }
        let clients = [(&inside, 200), (&outside, 403), (&visitor, 403)];
        let same = clients
            .iter()
            .all(|(client, status)| client.seen().always(*status));
        let reported = errors.iter().any(|message| message.contains("policy.yaml"));
        let answers = if same {
            "all clients get the same answers as before".to_owned()
        } else {
            let seen = clients.map(|(client, _)| client.seen().answers);
            format!("some clients get other answers than before: hq, outsider, visitor {seen:?}")
        };
        report.check(
            same && reported,
            &format!("{title}: {answers}; Vaultwall logs"),
        )?;
        errors
            .iter()
            .try_for_each(|message| report.quote(message))?;
    }
    let replaced = policy.replace(&policy.with_below(RULES, VISITOR_RULE)?)?;
    let since = visitor.answered(200, TIMEOUT).await?;
    let took = milliseconds(since.saturating_duration_since(replaced));
    report.check(
        true,
        &format!("a good file with a rule for the visitor: let in after {took}"),
    )?;
    policy.replace(policy.original())?;
    visitor.answered(403, TIMEOUT).await?;
    Ok(())
}

/// Waits for errors in Vaultwall's log after this position, and returns them.
async fn errors(stage: &Stage, from: usize) -> Fallible<Vec<String>> {
    let started = Instant::now();
    loop {
        let log = stage.vaultwall.log()?;
        let errors: Vec<String> = log
            .get(from..)
            .unwrap_or_default()
            .lines()
            .filter(|line| line.contains(STAYS))
            .map(message)
            .collect();
        if !errors.is_empty() {
            return Ok(errors);
        }
        if started.elapsed() > TIMEOUT {
            return Err("vaultwall serve does not report the broken file".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A log line without its time and place in the code: `TIME LEVEL PLACE: MESSAGE`.
fn message(line: &str) -> String {
    let mut words = line.splitn(2, " vaultwall::");
    let level = words
        .next()
        .and_then(|start| start.split_ascii_whitespace().nth(1));
    let message = words.next().and_then(|rest| rest.split_once(": "));
    match (level, message) {
        (Some(level), Some((_, message))) => format!("{level} {message}"),
        _ => line.to_owned(),
    }
}
