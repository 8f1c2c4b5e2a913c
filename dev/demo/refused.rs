//! Third act, with a cluster: objects that the API server refuses, and its messages about them.

use std::time::Duration;

use crate::Fallible;
use crate::changes::{BUSY, RULES, STEADY, VISITOR_RULE, named};
use crate::cluster::Cluster;
use crate::edit::WatchedFile;
use crate::poller::Poller;
use crate::requests::callers;
use crate::stage::Stage;
use testkit::report::{Report, milliseconds};

const PATIENCE: Duration = Duration::from_secs(10);
/// Answers of each client that are looked at after the API server has spoken.
const ANSWERS: u64 = 50;

pub async fn show(stage: &Stage, cluster: &Cluster, report: &mut Report) -> Fallible<()> {
    let callers = callers()?;
    report.heading("3. The API server refuses bad objects, and says why")?;
    let policy = WatchedFile::open(stage, "policy.yaml")?;
    let mut visitor = Poller::start(stage, &named(&callers, "visitor")?, BUSY);
    let mut inside = Poller::start(stage, &named(&callers, "hq")?, STEADY);
    let mut outside = Poller::start(stage, &named(&callers, "outsider")?, STEADY);
    // The object that is applied, and a part of the response.
    let bad = [
        (
            "a rule that may not be: 10.0.0.0/8 as a public address",
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
    for (called, objects, part) in bad {
        let answer = cluster.kubectl(&["apply", "-f", "-"], &objects);
        let said = String::from_utf8_lossy(&answer.stderr);
        for client in [&mut visitor, &mut inside, &mut outside] {
            client.more(ANSWERS, PATIENCE).await?;
        }
        let clients = [(&inside, 200), (&outside, 403), (&visitor, 403)];
        let same = clients
            .iter()
            .all(|(client, status)| client.seen().always(*status));
        let answers = if same {
            "everybody is answered as before".to_owned()
        } else {
            let seen = clients.map(|(client, _)| client.seen().answers);
            format!("not everybody is answered as before: hq, outsider, visitor {seen:?}")
        };
        report.check(
            same && !answer.status.success() && said.contains(part),
            &format!("{called}: {answers}; kubectl apply says"),
        )?;
        report.quote(said.trim_end())?;
    }
    let applied = cluster.apply(&policy.with_below(RULES, VISITOR_RULE)?)?;
    let since = visitor.answered(200, PATIENCE).await?;
    let took = milliseconds(since.saturating_duration_since(applied));
    report.check(
        true,
        &format!("a good policy with a rule for the visitor: let in after {took}"),
    )?;
    cluster.apply(policy.original())?;
    visitor.answered(403, PATIENCE).await?;
    cluster.programmed()
}
