//! The service of `docs/standalone.md` and the rotation of `docs/access-log.md`, as the pages show them.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::docs::page::Page;
use crate::standalone::objects::{ALLOWED, allowing};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::{IN_FORCE, Serve};
use testkit::client::Verdict;
use testkit::wait::wait_until;
use testkit::{OpenBao, tool};

/// The block of a page that contains a text.
fn block(path: &str, text: &str) -> String {
    let pages = Page::all();
    let page = pages.iter().find(|page| page.path == Path::new(path));
    let mut blocks = page.unwrap().blocks.iter();
    let found = blocks.find(|block| block.text.contains(text));
    found.unwrap().text.clone()
}

/// Values of a setting of the unit, with lines that a backslash joins.
fn setting<'a>(unit: &'a str, name: &str) -> &'a str {
    let found = unit.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("{name} is not in the unit"))
}

/// A command of the page, with this sandbox's folders, addresses and programs.
fn here(sandbox: &Sandbox, command: &str) -> String {
    let path = |name: &str| sandbox.at(name).display().to_string();
    [
        (
            "/usr/local/bin/vaultwall",
            env!("CARGO_BIN_EXE_vaultwall").to_owned(),
        ),
        ("/usr/local/bin/envoy", tool("envoy").display().to_string()),
        ("/etc/vaultwall", path("objects")),
        ("/run/vaultwall", path("state")),
        ("/var/log/vaultwall", path("")),
        ("127.0.0.1:8200", sandbox.upstream().to_string()),
        ("127.0.0.1:8300", sandbox.data().to_string()),
        ("127.0.0.1:8301", sandbox.management().to_string()),
    ]
    .iter()
    .fold(command.to_owned(), |text, (page, own)| {
        assert!(text.contains(page) || !command.contains(page), "{page}");
        text.replace(page, own)
    })
}

#[test]
fn the_unit_starts_reloads_and_stops_and_logrotate_rotates() {
    let sandbox = Sandbox::new();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    sandbox.put("main.yaml", &allowing(&[]));
    let unit = block("docs/standalone.md", "[Service]").replace("\\\n", "");
    let start = here(&sandbox, setting(&unit, "ExecStart="));
    let mut words = start.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdin(std::process::Stdio::null());
    command
        .env_remove("RUST_LOG")
        .stderr(std::process::Stdio::piped());
    let mut serve = Serve::run(&mut command);
    serve.wait_for_line(0, IN_FORCE);
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Allowed)]);

    // systemd replaces the variable in the same way.
    let said = serve.lines();
    let reload = setting(&unit, "ExecReload=");
    let reloaded = Command::new("sh")
        .args(["-c", reload])
        .env("MAINPID", serve.pid().as_raw_pid().to_string())
        .status();
    assert!(reloaded.unwrap().success());
    serve.wait_for_line(said, "every file in the paths of -f is read again");

    // logrotate renames the file, then runs the script.
    let stanza = here(&sandbox, &block("docs/access-log.md", "postrotate"));
    let (log, rest) = stanza.split_once(" {").unwrap();
    let (_, script) = rest.split_once("postrotate").unwrap();
    let (script, _) = script.split_once("endscript").unwrap();
    assert_eq!(Path::new(log), sandbox.at("access.log"));
    fs::rename(log, format!("{log}.1")).unwrap();
    let said = serve.lines();
    let rotated = Command::new("sh").args(["-c", script]).status();
    assert!(rotated.unwrap().success());
    serve.wait_for_line(said, "opens the access log");
    wait_until("a record in the new file", || {
        assert_eq!(sandbox.verdict(ALLOWED), Verdict::Allowed);
        fs::read_to_string(log).is_ok_and(|text| text.contains("VirtualNetworkRule"))
    });
    assert_eq!(serve.stop(Signal::TERM).code(), Some(0));
}
