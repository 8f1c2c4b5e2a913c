//! One of the three processes is gone: what was in force stays in force, and nothing opens.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::standalone::objects::{ALLOWED, DENIED, allowing};
use crate::standalone::protected::{AFTER, BEFORE, protected};
use crate::standalone::sandbox::{Sandbox, runs};
use crate::standalone::serve::{IN_FORCE, Serve};
use testkit::OpenBao;
use testkit::client::Verdict;
use testkit::wait::wait_for;

#[test]
fn envoy_goes_on_without_vaultwall_and_the_next_one_finds_it() {
    let (sandbox, _vault, mut serve) = protected();
    let envoy = sandbox.envoy().unwrap();
    let mut open: Vec<_> = BEFORE
        .iter()
        .map(|(source, verdict)| (sandbox.client(*source), verdict))
        .collect();
    let mut still_answered = |when: &str| {
        for (client, verdict) in &mut open {
            assert_eq!(client.verdict(), **verdict, "{} {when}", client.source);
        }
        sandbox.assert_verdicts(&BEFORE);
        assert_eq!(sandbox.envoy(), Some(envoy), "{when}");
    };
    still_answered("before");
    serve.kill();
    still_answered("without Vaultwall");

    let serve = Serve::start(&sandbox);
    serve.wait_for_line_with(0, &["the Envoy of an earlier run is still enforcing"]);
    still_answered("with the next Vaultwall");
    sandbox.put("main.yaml", &allowing(&["127.33.0.0/16"]));
    sandbox.wait_for_verdicts(&AFTER);
    assert_eq!(sandbox.envoy(), Some(envoy));
    // The connections that were open all the time see it, too.
    for ((client, _), (source, verdict)) in open.iter_mut().zip(&AFTER) {
        assert_eq!(client.source, *source);
        assert_eq!(client.verdict(), *verdict, "{source}");
    }
}

#[test]
fn changes_while_it_was_stopped_are_in_force_with_the_next_vaultwall() {
    let (sandbox, _vault, mut serve) = protected();
    serve.kill();
    sandbox.put("main.yaml", &allowing(&["127.33.0.0/16"]));
    sandbox.assert_verdicts(&BEFORE);
    let _serve = Serve::start(&sandbox);
    sandbox.wait_for_verdicts(&AFTER);
}

#[test]
fn files_that_broke_while_it_was_stopped_change_nothing_with_the_next_vaultwall() {
    for broken in [Some("{"), Some("kind: VaultNetworkPolicy\n"), None] {
        let (sandbox, _vault, mut serve) = protected();
        let envoy = sandbox.envoy().unwrap();
        serve.kill();
        match broken {
            Some(text) => sandbox.put("main.yaml", text),
            None => fs::remove_file(sandbox.path_of("main.yaml")).unwrap(),
        }
        let serve = Serve::run(&mut Serve::command(&sandbox));
        serve.wait_for_line(0, "in force until");
        serve.wait_for_line(0, "a proxy is connected");
        sandbox.assert_verdicts(&BEFORE);
        sandbox.put("main.yaml", &allowing(&["127.33.0.0/16"]));
        serve.wait_for_line(0, IN_FORCE);
        sandbox.wait_for_verdicts(&AFTER);
        assert_eq!(sandbox.envoy(), Some(envoy), "{broken:?}");
    }
}

#[test]
fn an_envoy_that_ends_is_started_again_with_the_same_rules() {
    let (sandbox, _vault, serve) = protected();
    for _ in 0..2 {
        let (said, envoy) = (serve.lines(), sandbox.envoy().unwrap());
        kill_process(envoy, Signal::KILL).unwrap();
        serve.wait_for_line_with(said, &["Envoy ended", "signal 9", "until it runs again"]);
        // No client is allowed in between.
        let expected = BEFORE.map(|(_, verdict)| verdict);
        wait_for("the verdicts are the earlier ones", || {
            let verdicts = BEFORE.map(|(source, _)| sandbox.verdict(source));
            for (verdict, (source, expected)) in verdicts.iter().zip(&BEFORE) {
                let closed = [Verdict::Refused, Verdict::Denied].contains(verdict);
                assert!(closed || verdict == expected, "{source}: {verdict:?}");
            }
            (verdicts == expected).then_some(())
        });
        assert_ne!(sandbox.envoy().unwrap(), envoy);
    }
    sandbox.put("main.yaml", &allowing(&["127.33.0.0/16"]));
    sandbox.wait_for_verdicts(&AFTER);
}

#[test]
fn envoy_waits_until_its_port_is_free_again() {
    let (sandbox, _vault, serve) = protected();
    // No other process can listen there while Envoy does. If the next one is quicker than this test, it ends as well.
    let taken = wait_for("the port is taken", || {
        sandbox
            .envoy()
            .map(|envoy| kill_process(envoy, Signal::KILL));
        TcpListener::bind(sandbox.data()).ok()
    });
    serve.wait_for_line_with(0, &["cannot listen on", "--data-listen", "trying again"]);
    drop(taken);
    sandbox.wait_for_verdicts(&BEFORE);
}

#[test]
fn an_envoy_that_was_found_and_ends_is_started_again_too() {
    let (sandbox, _vault, mut serve) = protected();
    let envoy = sandbox.envoy().unwrap();
    serve.kill();
    sandbox.put("main.yaml", "{");
    let serve = Serve::run(&mut Serve::command(&sandbox));
    serve.wait_for_line(0, "in force until");
    kill_process(envoy, Signal::KILL).unwrap();
    serve.wait_for_line_with(0, &["Envoy ended", "started by an earlier run"]);
    // The new one has nothing to keep, and what the file means is not known.
    serve.wait_for_line(0, IN_FORCE);
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Denied), (DENIED, Verdict::Denied)]);
    sandbox.put("main.yaml", &allowing(&[]));
    sandbox.wait_for_verdicts(&BEFORE);
}

#[test]
fn stopping_ends_envoy_as_well() {
    for (signal, found) in [
        (Signal::TERM, false),
        (Signal::INT, false),
        (Signal::QUIT, false),
        (Signal::TERM, true),
    ] {
        let (sandbox, _vault, mut serve) = protected();
        let envoy = sandbox.envoy().unwrap();
        if found {
            serve.kill();
            serve = Serve::start(&sandbox);
        }
        // A client that keeps its connection open holds nothing up.
        let mut client = sandbox.client(ALLOWED);
        assert_eq!(client.verdict(), Verdict::Allowed);
        let asked = Instant::now();
        let status = serve.stop(signal);
        // After 5 s Envoy is killed: this is an end in peace.
        assert!(asked.elapsed() < Duration::from_secs(5), "{signal:?}");
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(!runs(envoy), "Envoy still runs");
        sandbox.assert_verdicts(&[(ALLOWED, Verdict::Refused)]);
        let state = fs::read_dir(sandbox.state()).unwrap();
        let left = state.map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| name != "envoy.pid"));
    }
}

#[test]
fn without_the_vault_the_response_names_that_until_it_runs() {
    let sandbox = Sandbox::new();
    sandbox.put("main.yaml", &allowing(&[]));
    let serve = Serve::start(&sandbox);
    let upstream = sandbox.upstream().to_string();
    serve.wait_for_line_with(0, &[&upstream, "--upstream", "does not answer", "503"]);
    let path = testkit::client::SECRET;
    let answer = wait_for("Envoy answers", || {
        sandbox.client(ALLOWED).send("GET", path, "").ok()
    });
    assert_eq!(answer.status, 503, "{answer}");
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let error = body["errors"][0].as_str().unwrap();
    for text in ["could not pass the request on", "vault/openbao", "decision"] {
        assert!(error.contains(text), "{text} is not in: {error}");
    }
    assert_eq!(sandbox.verdict(DENIED), Verdict::Denied);
    let vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    sandbox.wait_for_verdicts(&BEFORE);
    drop(vault);
    wait_for("the vault is gone", || {
        let answer = sandbox.client(ALLOWED).send("GET", path, "").ok()?;
        (answer.status == 503).then_some(())
    });
    assert_eq!(sandbox.verdict(DENIED), Verdict::Denied);
}
