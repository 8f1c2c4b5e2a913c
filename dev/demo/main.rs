//! `make demo`: protects a real `OpenBao` with a real Envoy, and shows which requests pass and why. With `make demo
//! API=1` the rules come from a real Kubernetes API server and the operator instead of files.
//!
//! The acts do not use each other: `gate` (requests of all callers), `changes` (rules change under load), `broken`
//! (broken files change nothing) or `refused` (the API server refuses objects), `command_lines` (output of command
//! lines). The demo uses the program like a user, by its command line, files, objects and ports; it may not call the
//! library.

mod access_log;
mod broken;
mod changes;
mod cluster;
mod command_lines;
mod edit;
mod explain;
mod fallible;
mod gate;
mod http;
mod poller;
mod refused;
mod requests;
mod server;
mod stage;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use fallible::Fallible;
use stage::Stage;
use testkit::report::Report;

/// Lines of each log that are shown when something failed.
const SHOWN: usize = 40;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let mut report = Report::new();
    match demo(&mut report).await {
        Ok(code) => code,
        // Most likely, stdout is closed.
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(report: &mut Report) -> Fallible<ExitCode> {
    let started = Instant::now();
    let stop = stop_signal()?;
    let folder = tempfile::Builder::new()
        .prefix("vaultwall-demo-")
        .tempdir()?;
    // Dropping the acts ends every process that they started.
    let (ended, stopped) = tokio::select! {
        ended = acts(folder.path(), report) => (ended, None),
        (name, code) = stop => (Err(format!("stopped by {name}").into()), Some(code)),
    };
    if let Err(error) = &ended {
        report.line("")?;
        report.check(false, &error.to_string())?;
    }
    if report.failed() > 0 && stopped.is_none() {
        keep_logs(folder.path(), report)?;
    }
    folder.close()?;
    report.line("")?;
    report.line(&format!(
        "the demo took {:.1} s; no process is left running",
        started.elapsed().as_secs_f64()
    ))?;
    report.close()?;
    Ok(match (report.failed(), stopped) {
        (0, _) => ExitCode::SUCCESS,
        (_, Some(code)) => ExitCode::from(code),
        (_, None) => ExitCode::FAILURE,
    })
}

async fn acts(folder: &Path, report: &mut Report) -> Fallible<()> {
    report.line("Vaultwall in front of OpenBao, on this machine's loopback addresses")?;
    let with_cluster = std::env::args().any(|argument| argument == "--api");
    let mut stage = if with_cluster {
        Stage::start_cluster(folder, report).await?
    } else {
        Stage::start(folder, report).await?
    };
    let shown = async {
        gate::show(&stage, report).await?;
        changes::show(&stage, report).await?;
        if let Some(cluster) = &stage.cluster {
            refused::show(&stage, cluster, report).await?;
        } else {
            broken::show(&stage, report).await?;
        }
        command_lines::show(&stage, report).await
    };
    let Err(error) = shown.await else {
        return Ok(());
    };
    // A process that ended explains the error better than its symptom.
    let lost = stage.ended().unwrap_or_default();
    Err(format!("{error}{lost}").into())
}

/// Waits for a signal that ends the demo. Returns its name and exit code.
fn stop_signal() -> io::Result<impl Future<Output = (&'static str, u8)>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => ("Ctrl-C", 130),
            _ = terminate.recv() => ("SIGTERM", 143),
            _ = hangup.recv() => ("SIGHUP", 129),
        }
    })
}

/// Copies the logs to the target folder, and shows the last lines of the readable ones.
fn keep_logs(folder: &Path, report: &Report) -> Fallible<()> {
    let demo = std::env::current_exe()?;
    let target = demo.ancestors().nth(3).unwrap_or(folder);
    let kept = target.join("demo-logs");
    std::fs::create_dir_all(&kept)?;
    for name in ["openbao.log", "vaultwall.log", "envoy.log", "access.log"] {
        let log = folder.join(name);
        if !log.exists() {
            continue;
        }
        std::fs::copy(&log, kept.join(name))?;
        let bytes = std::fs::read(&log)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        if name != "access.log" {
            report.heading(&format!("the end of {}", kept.join(name).display()))?;
            let end = lines
                .get(lines.len().saturating_sub(SHOWN)..)
                .unwrap_or_default();
            report.quote(&end.join("\n"))?;
        }
    }
    report.line("")?;
    report.line(&format!(
        "all logs, with the access log: {}",
        kept.display()
    ))?;
    Ok(())
}
