//! First act: every request of the table is sent, and checked by its response, by the access log, and by `vaultwall
//! explain`.

use crate::access_log::{AccessLog, Record};
use crate::explain::{Explained, explain};
use crate::fallible::Fallible;
use crate::http::{Request, Response};
use crate::requests::{Answer, Case, Endpoint, callers, cases};
use crate::stage::{Stage, TOKEN};
use testkit::report::Report;

/// Part of the secret that the first request writes.
const SECRET: &str = "correct-horse";

/// Widths of the columns: caller, request, expected and got. With the longest reason and rule a row has 120 columns.
const WIDTHS: [usize; 3] = [14, 29, 8];

pub async fn show(stage: &Stage, report: &mut Report) -> Fallible<()> {
    let callers = callers()?;
    let cases = cases(&callers)?;
    report.heading("1. Who gets in")?;
    for caller in &callers {
        let forwarded = caller
            .forwarded_for
            .map(|client| format!(" for {client}"))
            .unwrap_or_default();
        let address = format!("{}{forwarded}", caller.address);
        report.line(&format!(
            "  {:14} {address:40} {}",
            caller.name, caller.description
        ))?;
    }
    let mut answers = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let mut client = stage.client(&case.caller, case.endpoint);
        answers.push(client.send(&request(case, &agent(number))).await?);
    }
    let agents: Vec<String> = (0..cases.len()).map(agent).collect();
    let records = AccessLog::new(&stage.access_log).records(&agents).await?;

    let mut endpoint = None;
    for ((case, response), record) in cases.iter().zip(&answers).zip(&records) {
        if endpoint != Some(case.endpoint) {
            endpoint = Some(case.endpoint);
            head(stage, report, case.endpoint)?;
        }
        row(report, case, response, record)?;
    }
    agreement(stage, report, &cases, &records).await
}

fn agent(number: usize) -> String {
    format!("demo/{number}")
}

/// Returns the request of a case.
fn request(case: &Case, agent: &str) -> Request {
    let mut headers = vec![("user-agent", agent.to_owned())];
    let optional = [
        ("x-vault-token", case.token.then_some(TOKEN)),
        ("x-vault-namespace", case.namespace),
        ("x-forwarded-for", case.caller.forwarded_for),
    ];
    for (name, value) in optional {
        headers.extend(value.map(|value| (name, value.to_owned())));
    }
    Request {
        method: case.method.into(),
        target: format!("/v1/{}", case.path),
        headers,
        body: case.body.unwrap_or_default().into(),
    }
}

fn head(stage: &Stage, report: &Report, endpoint: Endpoint) -> Fallible<()> {
    let [caller, request, verdict] = WIDTHS;
    report.line("")?;
    report.line(&format!(
        "  {} endpoint, {}; paths below /v1/",
        endpoint.name(),
        stage.address(endpoint)
    ))?;
    report.line(&format!(
        "  {:caller$} {:request$} {:verdict$} {:verdict$} {}",
        "caller", "request", "expected", "got", "reason"
    ))?;
    Ok(())
}

fn row(report: &mut Report, case: &Case, response: &Response, record: &Record) -> Fallible<()> {
    let [caller, request, verdict] = WIDTHS;
    let got = record.answer();
    let wrong = wrong(case, response, record, &got);
    let padded = |text: &str| report.verdict(&format!("{text:verdict$}"));
    let line = format!(
        "{:caller$} {:request$} {} {} {}",
        case.caller.name,
        case.shown(),
        padded(&case.expected.verdict),
        padded(&got.verdict),
        got.why
    );
    report.check(wrong.is_none(), &line)?;
    if let Some(wrong) = wrong {
        report.line(&format!("    {wrong}"))?;
        report.quote(&response.body)?;
    }
    Ok(())
}

/// Returns the difference between a response and the expected one, if any.
fn wrong(case: &Case, response: &Response, record: &Record, got: &Answer) -> Option<String> {
    if *got != case.expected {
        return Some(format!(
            "expected {} {}",
            case.expected.verdict, case.expected.why
        ));
    }
    if record.passed() {
        let read = case.method == "GET" && case.path == "secret/data/app";
        let lost = read && response.status == 200 && !response.body.contains(SECRET);
        return lost.then(|| "the body is not the secret".into());
    }
    // A denied caller receives the reason, in the format of the vault, with the id of its access log record.
    let errors: Option<[String; 1]> = serde_json::from_str::<serde_json::Value>(&response.body)
        .ok()
        .and_then(|body| serde_json::from_value(body.get("errors")?.clone()).ok());
    let Some([error]) = errors else {
        return Some("the body is not the vault's {\"errors\":[…]}".into());
    };
    for part in [format!("({})", record.reason()), record.decision_id.clone()] {
        if !error.contains(&part) {
            return Some(format!("the body does not name {part}"));
        }
    }
    error
        .contains(SECRET)
        .then(|| "the body holds the secret".into())
}

/// Compares Envoy's decision on each request with the one of `vaultwall explain`.
async fn agreement(
    stage: &Stage,
    report: &mut Report,
    cases: &[Case],
    records: &[Record],
) -> Fallible<()> {
    report.line("")?;
    let mut agreed = 0;
    for (case, record) in cases.iter().zip(records) {
        let enforced = Explained {
            verdict: if record.passed() { "Allow" } else { "Deny" }.into(),
            reason: record.reason().into(),
            rule: record.rule().map(Into::into),
        };
        let explained = explain(stage, case).await?;
        if explained == enforced {
            agreed += 1;
            report.count(true);
        } else {
            let shown = format!(
                "{} {}: {explained}, Envoy: {enforced}",
                case.caller.name,
                case.shown()
            );
            report.check(false, &format!("vaultwall explain: {shown}"))?;
        }
    }
    report.line(&format!(
        "vaultwall explain gives the same verdict, reason and rule as Envoy for {agreed} of {} requests",
        cases.len()
    ))?;
    Ok(())
}
