//! Third act, with a cluster: objects that the API server refuses, and its messages about them.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::edit::{RULES, VISITOR_RULE, WatchedFile};
use crate::fallible::Fallible;
use crate::poller::{FAST, Poller, SLOW};
use crate::requests::{caller_named, callers};
use crate::stage::Stage;
use testkit::report::{Report, milliseconds};

/// Timeout for answers.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Number of answers of each client that are checked after the API server has refused an object.
const ANSWERS: u64 = 50;

pub async fn show(stage: &Stage, cluster: &Cluster, report: &mut Report) -> Fallible<()> {
    let callers = callers()?;
    report.heading("3. The API server refuses bad objects, and gives the reason")?;
    let policy = WatchedFile::open(stage, "policy.yaml")?;
    let mut visitor = Poller::start(stage, &caller_named(&callers, "visitor")?, FAST);
    let mut inside = Poller::start(stage, &caller_named(&callers, "hq")?, SLOW);
    let mut outside = Poller::start(stage, &caller_named(&callers, "outsider")?, SLOW);
    // The object that is applied, and a part of the response.
    let bad = [
        (
            "an invalid rule: 10.0.0.0/8 as a public address",
            policy.with_below(RULES, "  - {name: everyone, value: 10.0.0.0/8}")?,
            "spec.ipRules[0].value",
        ),
        (
            "a rule that is no address",
            policy.with_below(RULES, "  - {name: everyone, value: all}")?,
            "spec.ipRules[0].value",
        ),
        (
            "a second policy with a misspelled field",
            policy
                .original()
                .replacen("name: quickstart", "name: misspelled", 1)
                .replace("defaultAction:", "defaultActoin:"),
            "spec.defaultActoin",
        ),
        (
            "another default than Deny or Allow",
            policy
                .original()
                .replace("defaultAction: Deny", "defaultAction: Permit"),
            "spec.defaultAction",
        ),
    ];
    for (title, objects, part) in bad {
        let answer = cluster.kubectl(&["apply", "-f", "-"], &objects);
        let error = String::from_utf8_lossy(&answer.stderr);
        for client in [&mut visitor, &mut inside, &mut outside] {
            client.more(ANSWERS, TIMEOUT).await?;
        }
        let clients = [(&inside, 200), (&outside, 403), (&visitor, 403)];
        let same = clients
            .iter()
            .all(|(client, status)| client.seen().always(*status));
        let answers = if same {
            "all clients get the same answers as before".to_owned()
        } else {
            let seen = clients.map(|(client, _)| client.seen().answers);
            format!("some clients get other answers than before: hq, outsider, visitor {seen:?}")
        };
        report.check(
            same && !answer.status.success() && error.contains(part),
            &format!("{title}: {answers}; kubectl apply prints"),
        )?;
        report.quote(error.trim_end())?;
    }
    let applied = cluster.apply(&policy.with_below(RULES, VISITOR_RULE)?)?;
    let since = visitor.answered(200, TIMEOUT).await?;
    let took = milliseconds(since.saturating_duration_since(applied));
    report.check(
        true,
        &format!("a good policy with a rule for the visitor: let in after {took}"),
    )?;
    cluster.apply(policy.original())?;
    visitor.answered(403, TIMEOUT).await?;
    cluster.programmed()
}
