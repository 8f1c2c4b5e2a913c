//! Second act: rules change while clients send requests. Each change is timed from the edit to the first changed
//! answer.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::edit::{Edit, RULES, VISITOR_RULE, WatchedFile};
use crate::fallible::Fallible;
use crate::poller::{FAST, Poller, SLOW, Seen};
use crate::requests::{Caller, caller_named, callers};
use crate::stage::Stage;
use testkit::report::{Report, milliseconds};

/// Number of repetitions of each change.
const TIMES: usize = 10;
/// Timeout after which a change counts as lost.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two changes, so that each is measured alone.
const PAUSE: Duration = Duration::from_millis(30);

/// The pod that is created and deleted.
const POD: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: runner-3, namespace: build, labels: {app: runner}}
status: {phase: Running, podIP: 127.0.30.7}
";

/// One kind of change.
struct Change<'a> {
    title: &'a str,
    /// Status code that the client gets afterwards.
    status: u16,
    edit: Edit<'a>,
    /// Duration of each repetition.
    took: Vec<Duration>,
}

pub async fn show(stage: &Stage, report: &mut Report) -> Fallible<()> {
    let callers = callers()?;
    report.heading("2. Rules change while requests run")?;
    let policy = WatchedFile::open(stage, "policy.yaml")?;
    let facts = WatchedFile::open(stage, "facts.yaml")?;
    let runner = Caller {
        name: "runner-3",
        address: [127, 0, 30, 7].into(),
        ..caller_named(&callers, "runner-1")?
    };
    let mut visitor = Poller::start(stage, &caller_named(&callers, "visitor")?, FAST);
    let mut runner = Poller::start(stage, &runner, FAST);
    let inside = Poller::start(stage, &caller_named(&callers, "hq")?, SLOW);
    let outside = Poller::start(stage, &caller_named(&callers, "outsider")?, SLOW);
    for client in [&mut visitor, &mut runner] {
        client.answered(403, TIMEOUT).await?;
    }
    let started: Value = serde_saphyr::from_str(POD.trim_start_matches("---\n"))?;
    let edits = edits(stage.cluster.as_ref(), &policy, &facts, &started)?;
    let [rule_added, rule_removed, pod_started, pod_deleted] =
        edits.map(|(title, status, edit)| Change {
            title,
            status,
            edit,
            took: Vec::new(),
        });
    let mut rule = [rule_added, rule_removed];
    let mut pod = [pod_started, pod_deleted];
    report.line(
        "  visitor and runner-3 (127.0.30.7) read the secret every millisecond, each on one kept-alive connection.",
    )?;
    report.line(
        "  The times include other work of the machine, and Vaultwall is a debug build here.",
    )?;
    if stage.cluster.is_some() {
        report.line("  They also include kubectl.")?;
    }
    for round in 0..TIMES {
        for (changes, client) in [(&mut rule, &mut visitor), (&mut pod, &mut runner)] {
            for change in changes {
                let took = change.make(client).await?;
                if round == 0 {
                    let number = client.seen().requests();
                    let shown = if change.status == 200 {
                        "403 -> 200"
                    } else {
                        "200 -> 403"
                    };
                    report.line(&format!(
                        "  {:40} {shown} after {}, at request {number}",
                        change.title,
                        milliseconds(took)
                    ))?;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let from = if stage.cluster.is_some() {
        "from kubectl's start to the changed answer"
    } else {
        "from the file to the changed answer"
    };
    figures(report, from, rule.iter_mut().chain(&mut pod))?;
    report.line("")?;
    compare(
        report,
        &[&visitor, &runner].map(Poller::seen),
        &[&inside, &outside].map(Poller::seen),
    )
}

/// The edits, each with its title and the status code that follows: a rule is added and removed, a pod starts and ends.
fn edits<'a>(
    cluster: Option<&'a Cluster>,
    policy: &'a WatchedFile,
    facts: &'a WatchedFile,
    pod: &'a Value,
) -> Fallible<[(&'static str, u16, Edit<'a>); 4]> {
    let added = policy.with_below(RULES, VISITOR_RULE)?;
    let removed = policy.original().to_owned();
    Ok(match cluster {
        None => [
            (
                "policy.yaml: IP rule visitor added",
                200,
                Edit::Replace(policy, added),
            ),
            (
                "policy.yaml: IP rule visitor removed",
                403,
                Edit::Replace(policy, removed),
            ),
            (
                "facts.yaml: pod runner-3 started",
                200,
                Edit::Replace(facts, facts.with_last(POD)),
            ),
            (
                "facts.yaml: pod runner-3 removed",
                403,
                Edit::Replace(facts, facts.original().to_owned()),
            ),
        ],
        Some(cluster) => [
            (
                "kubectl apply: IP rule visitor added",
                200,
                Edit::Apply(cluster, added),
            ),
            (
                "kubectl apply: IP rule visitor removed",
                403,
                Edit::Apply(cluster, removed),
            ),
            (
                "kubectl patch: pod runner-3 started",
                200,
                Edit::Start(cluster, pod),
            ),
            (
                "kubectl delete: pod runner-3",
                403,
                Edit::Delete(cluster, pod),
            ),
        ],
    })
}

impl Change<'_> {
    async fn make(&mut self, client: &mut Poller) -> Fallible<Duration> {
        let made = self.edit.make()?;
        let since = client
            .answered(self.status, TIMEOUT)
            .await
            .map_err(|error| format!("{}: {error}", self.title))?;
        let took = since.saturating_duration_since(made);
        self.took.push(took);
        Ok(took)
    }
}

/// Prints the durations of each kind of change.
fn figures<'a, 'b: 'a>(
    report: &Report,
    from: &str,
    changes: impl Iterator<Item = &'a mut Change<'b>>,
) -> Fallible<()> {
    report.line("")?;
    report.line(&format!(
        "  {from:40} {:>5} {:>9} {:>9}",
        "times", "p50", "slowest"
    ))?;
    for change in changes {
        change.took.sort_unstable();
        let median = change
            .took
            .get(change.took.len() / 2)
            .copied()
            .unwrap_or_default();
        let slowest = change.took.last().copied().unwrap_or_default();
        report.line(&format!(
            "  {:40} {:>5} {:>9} {:>9}",
            change.title,
            change.took.len(),
            milliseconds(median),
            milliseconds(slowest)
        ))?;
    }
    Ok(())
}

fn compare(report: &mut Report, changed: &[Seen; 2], unaffected: &[Seen; 2]) -> Fallible<()> {
    let edits = 2 * TIMES as u64;
    for (name, seen) in ["visitor", "runner-3"].into_iter().zip(changed) {
        report.check(
            seen.changes == edits,
            &format!(
                "{name}: {} edits, its answer changed {} times",
                edits, seen.changes
            ),
        )?;
    }
    for ((name, status), seen) in [("hq", 200), ("outsider", 403)].into_iter().zip(unaffected) {
        let always = seen.always(status);
        let answers = if always {
            format!("all of them {status}")
        } else {
            format!("not all of them {status}: {:?}", seen.answers)
        };
        report.check(
            always,
            &format!(
                "{name}, not affected by any edit: {} answers, {answers}",
                seen.requests()
            ),
        )?;
    }
    let all = || changed.iter().chain(unaffected);
    report.check(
        all().all(Seen::undisturbed),
        &format!(
            "4 clients, {} answers, {} connections, {} requests without an answer",
            all().map(Seen::requests).sum::<u64>(),
            all().map(|seen| seen.connections).sum::<u64>(),
            all().map(|seen| seen.errors).sum::<u64>()
        ),
    )?;
    Ok(())
}
