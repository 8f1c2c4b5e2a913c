//! Third act: files that must not change anything, and the messages of Vaultwall about them.

use std::time::{Duration, Instant};

use crate::Fallible;
use crate::changes::{BUSY, RULES, STEADY, VISITOR_RULE, named};
use crate::edit::WatchedFile;
use crate::poller::Poller;
use crate::requests::callers;
use crate::stage::Stage;
use testkit::report::{Report, milliseconds};

const PATIENCE: Duration = Duration::from_secs(10);
/// Answers of each client that are looked at after Vaultwall has spoken.
const ANSWERS: u64 = 50;
/// End of such a message.
const STAYS: &str = "stays in force";

pub async fn show(stage: &Stage, report: &mut Report) -> Fallible<()> {
    let callers = callers()?;
    report.heading("3. A broken file changes nothing, and is reported")?;
    let policy = WatchedFile::open(stage, "policy.yaml")?;
    let mut visitor = Poller::start(stage, &named(&callers, "visitor")?, BUSY);
    let mut inside = Poller::start(stage, &named(&callers, "hq")?, STEADY);
    let mut outside = Poller::start(stage, &named(&callers, "outsider")?, STEADY);
    let private = policy.with_below(RULES, "  - {name: everyone, value: 10.0.0.0/8}")?;
    let torn = policy.with_below(RULES, "  - {name: everyone, value: ")?;
    let broken = [
        (
            "a rule that may not be: 10.0.0.0/8 as a public address",
            private.as_str(),
        ),
        (
            "a file torn off in the middle of a line",
            torn.split_inclusive("value: ").next().unwrap_or_default(),
        ),
        ("an empty file", ""),
    ];
    for (called, text) in broken {
        let said_before = stage.vaultwall.log()?.len();
        policy.replace(text)?;
        let said = said(stage, said_before).await?;
        for client in [&mut visitor, &mut inside, &mut outside] {
            client.more(ANSWERS, PATIENCE).await?;
        }
        let clients = [(&inside, 200), (&outside, 403), (&visitor, 403)];
        let same = clients
            .iter()
            .all(|(client, status)| client.seen().always(*status));
        let told = said.iter().any(|message| message.contains("policy.yaml"));
        let answers = if same {
            "everybody is answered as before".to_owned()
        } else {
            let seen = clients.map(|(client, _)| client.seen().answers);
            format!("not everybody is answered as before: hq, outsider, visitor {seen:?}")
        };
        report.check(
            same && told,
            &format!("{called}: {answers}; Vaultwall says"),
        )?;
        said.iter().try_for_each(|message| report.quote(message))?;
    }
    let replaced = policy.replace(&policy.with_below(RULES, VISITOR_RULE)?)?;
    let since = visitor.answered(200, PATIENCE).await?;
    let took = milliseconds(since.saturating_duration_since(replaced));
    report.check(
        true,
        &format!("a good file with a rule for the visitor: let in after {took}"),
    )?;
    policy.replace(policy.original())?;
    visitor.answered(403, PATIENCE).await?;
    Ok(())
}

/// The errors that Vaultwall logs from this place on, once there is one.
async fn said(stage: &Stage, from: usize) -> Fallible<Vec<String>> {
    let started = Instant::now();
    loop {
        let log = stage.vaultwall.log()?;
        let said: Vec<String> = log
            .get(from..)
            .unwrap_or_default()
            .lines()
            .filter(|line| line.contains(STAYS))
            .map(message)
            .collect();
        if !said.is_empty() {
            return Ok(said);
        }
        if started.elapsed() > PATIENCE {
            return Err("vaultwall serve says nothing about the broken file".into());
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
