//! The walk-throughs with running servers: a real vault, a real Envoy, and the commands as a reader types them. Only
//! the ports differ, so that two runs do not disturb each other.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use regex::{Captures, Regex};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::docs::command::Folder;
use crate::docs::page::{Kind, Page, root};
use crate::docs::shown::{Shown, commands, fits};
use testkit::wait::TIMEOUT;

/// Between two looks at something that takes effect by itself.
const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn walk_throughs_go_as_shown() {
    let mut walked = 0;
    for page in Page::all() {
        if page.blocks.iter().any(|block| block.kind == Kind::Server) {
            walk(&page);
            walked += 1;
        }
    }
    assert!(walked > 0, "no page has a walk-through");
}

fn walk(page: &Page) {
    for tool in ["envoy", "bao"] {
        let installed = root().join(".tools/bin").join(tool);
        assert!(
            installed.exists(),
            "{} is not there: run dev/tools install",
            installed.display()
        );
    }
    let folder = Folder::new();
    let mut ports = Ports::default();
    let mut servers: Vec<Server> = Vec::new();
    for block in &page.blocks {
        let place = page.place(block);
        match block.kind {
            Kind::Server => {
                let shown = commands(&ports.replace(&block.text));
                let [shown] = shown.as_slice() else {
                    panic!("{place}: one command a server");
                };
                servers.push(Server::start(&folder, shown, servers.len()));
            }
            Kind::Live => {
                for shown in commands(&ports.replace(&block.text)) {
                    let real = until_fits(&shown.output, || folder.run(&shown.command).1);
                    if let Err(real) = real {
                        let said: String = servers.iter().map(Server::last_said).collect();
                        panic!("{place}: {}", difference(&shown, &real, &said));
                    }
                }
            }
            Kind::Objects { .. } | Kind::Values { .. } | Kind::Commands | Kind::Shown => {}
        }
    }
}

fn difference(shown: &Shown, real: &str, servers: &str) -> String {
    let Shown { command, output } = shown;
    format!("`{command}`\n--- shown\n{output}\n--- real\n{real}\n--- servers\n{servers}")
}

/// Asks again until the answer fits; the error is the last answer.
fn until_fits(shown: &str, answer: impl Fn() -> String) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let real = answer();
        if fits(shown, &real) {
            return Ok(());
        }
        if started.elapsed() > TIMEOUT {
            return Err(real);
        }
        thread::sleep(PAUSE);
    }
}

/// A port of the page → the one that is used instead.
#[derive(Default)]
struct Ports(BTreeMap<String, u16>);

impl Ports {
    fn replace(&mut self, text: &str) -> String {
        let address = Regex::new(r"127\.0\.0\.1:(\d+)").unwrap();
        let replaced = address.replace_all(text, |found: &Captures<'_>| {
            let taken: Vec<u16> = self.0.values().copied().collect();
            let port = self
                .0
                .entry(found[1].to_owned())
                .or_insert_with(|| Self::free(&taken));
            format!("127.0.0.1:{port}")
        });
        replaced.into_owned()
    }

    /// Below the ports that the system gives to outgoing connections, or one of those could take it before its server
    /// starts. The vault takes the next one as well, for its cluster.
    fn free(taken: &[u16]) -> u16 {
        let own = u16::try_from(std::process::id() % 6_000).unwrap();
        let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (0..6_000)
            .map(|step| 20_000 + (own + step) % 6_000 * 2)
            .find(|port| !taken.contains(port) && free(*port) && free(port + 1))
            .expect("no free port")
    }
}

/// A command that runs until the page ends.
struct Server {
    shown: Shown,
    process: Child,
    output: PathBuf,
}

impl Server {
    fn start(folder: &Folder, shown: &Shown, number: usize) -> Self {
        let output = folder.path().join(format!("run/server-{number}.log"));
        let file = File::create(&output).unwrap();
        let process = folder
            .shell(&format!("exec {}", shown.command))
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        let server = Self {
            shown: shown.clone(),
            process,
            output,
        };
        if let Err(real) = until_fits(&server.shown.output, || server.said()) {
            panic!("{}", difference(&server.shown, &real, ""));
        }
        server
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    fn last_said(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines
            .get(lines.len().saturating_sub(15)..)
            .unwrap_or_default();
        format!("{}\n{}\n", self.shown.command, last.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        for signal in [Signal::TERM, Signal::KILL] {
            if let Some(group) = group {
                let _ = kill_process_group(group, signal);
            }
            let asked = Instant::now();
            while asked.elapsed() < Duration::from_secs(15) {
                if matches!(self.process.try_wait(), Ok(Some(_)) | Err(_)) {
                    return;
                }
                thread::sleep(PAUSE);
            }
        }
    }
}
