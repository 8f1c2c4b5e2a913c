//! Signals, and a log that nobody reads any more: Vaultwall and Envoy go on, records go to the file of that name, and
//! both end only when asked.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rustix::process::{Signal, kill_process, kill_process_group};

use crate::standalone::objects::{ALLOWED, allowing};
use crate::standalone::protected::{AFTER, BEFORE, protected};
use crate::standalone::sandbox::{Sandbox, runs};
use crate::standalone::serve::{IN_FORCE, Serve};
use testkit::OpenBao;
use testkit::client::Verdict;
use testkit::wait::wait_until;

/// Sends a request with this user agent from an allowed address.
fn ask(sandbox: &Sandbox, agent: &str) {
    let mut client = sandbox.client(ALLOWED);
    let header = format!("User-Agent: {agent}\r\n");
    client.headers.push_str(&header);
    assert_eq!(client.verdict(), Verdict::Allowed);
}

/// Whether a log has a record of this user agent.
fn has(sandbox: &Sandbox, log: &str, agent: &str) -> bool {
    let text = fs::read_to_string(sandbox.at(log)).unwrap_or_default();
    text.contains(&format!("\"{agent}\""))
}

#[test]
fn after_a_rotation_a_signal_leads_records_to_the_new_file() {
    let (sandbox, _vault, mut serve) = protected();
    let envoy = sandbox.envoy().unwrap();
    for (number, signal) in [Signal::USR1, Signal::HUP, Signal::USR2]
        .into_iter()
        .enumerate()
    {
        if number == 1 {
            // The next Vaultwall has not started this Envoy.
            serve.kill();
            serve = Serve::start(&sandbox);
        }
        let (before, after) = (format!("before-{number}"), format!("after-{number}"));
        ask(&sandbox, &before);
        wait_until("the record is written", || {
            has(&sandbox, "access.log", &before)
        });
        let renamed = format!("access.log.{number}");
        fs::rename(sandbox.at("access.log"), sandbox.at(&renamed)).unwrap();
        let said = serve.lines();
        kill_process(serve.pid(), signal).unwrap();
        serve.wait_for_line_with(said, &["opens the access log", "access.log", "again"]);
        wait_until("a record in the new file", || {
            ask(&sandbox, &after);
            has(&sandbox, "access.log", &after)
        });
        assert!(!has(&sandbox, "access.log", &before));
        assert_eq!(sandbox.envoy(), Some(envoy), "{signal:?}");
    }
    // It still follows the files.
    sandbox.put("main.yaml", &allowing(&["127.33.0.0/16"]));
    sandbox.wait_for_verdicts(&AFTER);
    assert_eq!(serve.stop(Signal::TERM).code(), Some(0));
}

/// Opening a file that cannot be opened would close the one that Envoy has.
#[test]
fn a_log_that_cannot_be_opened_again_stays_open() {
    let sandbox = Sandbox::new();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    sandbox.put("main.yaml", &allowing(&[]));
    fs::create_dir(sandbox.at("logs")).unwrap();
    let log = sandbox.at("logs/access.log");
    let other = [("--access-log", log.as_os_str())];
    let serve = Serve::run(&mut Serve::command_with(&sandbox, &other));
    serve.wait_for_line(0, IN_FORCE);
    sandbox.wait_for_verdicts(&BEFORE);
    fs::rename(sandbox.at("logs"), sandbox.at("old")).unwrap();
    kill_process(serve.pid(), Signal::USR1).unwrap();
    let expected = ["logs/access.log", "cannot be opened", "that it has open"];
    serve.wait_for_line_with(0, &["cannot be opened", expected[0], expected[2]]);
    ask(&sandbox, "still-logged");
    wait_until("the record", || {
        has(&sandbox, "old/access.log", "still-logged")
    });
}

/// Envoy has no handler of the signal until it has started.
#[test]
fn a_rotation_while_envoy_starts_does_not_end_it() {
    let sandbox = Sandbox::new();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    sandbox.put("main.yaml", &allowing(&[]));
    let serve = Serve::run(&mut Serve::command(&sandbox));
    wait_until("Vaultwall handles signals", || sandbox.envoy().is_some());
    wait_until("the rules are in force", || {
        kill_process(serve.pid(), Signal::USR1).unwrap();
        serve.log().contains(IN_FORCE)
    });
    sandbox.wait_for_verdicts(&BEFORE);
    assert!(!serve.log().contains("Envoy ended"), "{}", serve.log());
}

/// A file can change where no watch sees it: on a file system of another machine, or by another of its names.
#[test]
fn a_reload_reads_every_file() {
    let (sandbox, _vault, serve) = protected();
    let unseen = sandbox.at("unseen.yaml");
    fs::hard_link(sandbox.path_of("main.yaml"), &unseen).unwrap();
    fs::write(&unseen, allowing(&["127.33.0.0/16"])).unwrap();
    sandbox.assert_verdicts(&BEFORE);
    let said = serve.lines();
    kill_process(serve.pid(), Signal::HUP).unwrap();
    serve.wait_for_line_with(said, &["every file in the paths of -f is read again"]);
    serve.wait_for_line(said, IN_FORCE);
    sandbox.wait_for_verdicts(&AFTER);
}

/// A terminal that is closed: its processes get a signal, and what they write fails.
#[test]
fn without_a_reader_of_its_logs_it_enforces_and_follows_the_files() {
    let sandbox = Sandbox::new();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    sandbox.put("main.yaml", &allowing(&[]));
    let log = [("--access-log", "/dev/stdout".as_ref())];
    let mut process = Serve::command_with(&sandbox, &log)
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let id = rustix::process::Pid::from_child(&process);
    sandbox.wait_for_verdicts(&BEFORE);
    let mut first = [0];
    process
        .stderr
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    process
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    drop((process.stderr.take(), process.stdout.take()));
    kill_process_group(id, Signal::HUP).unwrap();
    sandbox.put("main.yaml", &allowing(&["127.33.0.0/16"]));
    sandbox.wait_for_verdicts(&AFTER);
    assert!(process.try_wait().unwrap().is_none());

    // Ctrl-C: the signal reaches Vaultwall's group, and Envoy is in another.
    let envoy = sandbox.envoy().unwrap();
    kill_process_group(id, Signal::INT).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
    assert!(!runs(envoy));
}

#[test]
fn its_process_id_is_in_the_state_folder_while_it_runs() {
    let (sandbox, _vault, mut serve) = protected();
    let file = sandbox.state().join("vaultwall.pid");
    let noted: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert_eq!(noted, serve.pid().as_raw_pid());
    serve.stop(Signal::TERM);
    assert!(!file.exists());
}
