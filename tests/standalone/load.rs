//! Rules change while clients send requests.
//!
//! Point at which a change counts as acknowledged: Envoy answers to a new resource when its main thread has
//! accepted it; each worker takes it over on its own a moment later (tens of microseconds, or as long as the scheduler
//! lets it wait), and a connection belongs to one worker. So for a connection a change is acknowledged with the first
//! answer that follows it, and
//! - from then on the connection never gets the old verdict again,
//! - every connection gets there,
//! - a client that the change is not about gets its own verdict throughout, on a connection that stays open.
//!
//! How many requests got the old verdict although they were sent after Vaultwall had said `in force` is printed; it is
//! the worker's moment, and nothing here depends on its length.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::standalone::objects::{ALLOWED, DENIED, PODS, namespace, network, pod, policy, subnet};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::{IN_FORCE, Serve};
use testkit::OpenBao;
use testkit::client::{Client, Verdict};
use testkit::wait::TIMEOUT;

const EDITS: usize = 200;
/// Connections of each client; Envoy spreads them over its workers.
const CONNECTIONS: usize = 2;
const POLL: Duration = Duration::from_millis(1);
/// How often clients ask that the current edit is not about.
const BESIDES: Duration = Duration::from_millis(5);
/// How many answers after the first new one are looked at before the next edit.
const AFTERWARDS: usize = 5;

/// Each file is about a client of its own.
#[derive(Clone, Copy, Debug)]
enum Edited {
    Policy,
    Network,
    Pod,
}

impl Edited {
    const ALL: [Self; 3] = [Self::Policy, Self::Network, Self::Pod];

    fn source(self) -> Ipv4Addr {
        match self {
            Self::Policy => Ipv4Addr::new(127, 30, 0, 1),
            Self::Network => Ipv4Addr::new(127, 31, 0, 1),
            Self::Pod => Ipv4Addr::new(127, 32, 0, 1),
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Policy => "policy.yaml",
            Self::Network => "network.yaml",
            Self::Pod => "pod.yaml",
        }
    }

    /// The file with or without what allows the client.
    fn text(self, allows: bool) -> String {
        match self {
            Self::Policy => {
                let (fixed, extra) = (subnet("fixed"), subnet("extra"));
                let rules = [PODS, &fixed, &extra];
                policy("main", if allows { &rules } else { &rules[..2] }, "")
            }
            Self::Network => {
                let fixed = ["127.10.0.0/24", "127.31.0.0/24"];
                let fixed = if allows { &fixed[..] } else { &fixed[..1] };
                network(&[("fixed", fixed), ("extra", &["127.30.0.0/24"])])
            }
            Self::Pod => {
                let app = if allows { "shop" } else { "else" };
                pod("client", app, self.source())
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Style {
    Renamed,
    InPlace,
}

/// Writes a file; the answer is the moment just before the call that puts the new content in force.
fn edit(sandbox: &Sandbox, edited: Edited, style: Style, allows: bool) -> Instant {
    let (path, text) = (sandbox.path_of(edited.file()), edited.text(allows));
    match style {
        Style::Renamed => {
            let aside = sandbox.path_of(".aside");
            fs::write(&aside, text).unwrap();
            let before = Instant::now();
            fs::rename(aside, path).unwrap();
            before
        }
        Style::InPlace => {
            let mut file = OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(path)
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let before = Instant::now();
            drop(file);
            before
        }
    }
}

fn verdict(allows: bool) -> Verdict {
    if allows {
        Verdict::Allowed
    } else {
        Verdict::Denied
    }
}

/// Sends requests until it is stopped; every response is the same.
fn stays(client: &mut Client, expected: &Verdict, pause: Duration, stop: &AtomicBool) -> u64 {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(
            client.verdict(),
            *expected,
            "{} is not touched",
            client.source
        );
        asked += 1;
        std::thread::sleep(pause);
    }
    asked
}

/// When a connection saw a change.
struct Flip {
    /// The answer with the new verdict came.
    answered: Instant,
    /// The last request that got the old verdict was sent.
    last_old: Option<Instant>,
    asked: u64,
}

/// Asks until the verdict is the new one, and a little longer.
fn flips(client: &mut Client, old: &Verdict, new: &Verdict) -> Flip {
    let end = Instant::now() + TIMEOUT;
    let (mut last_old, mut asked) = (None, 0);
    let answered = loop {
        let sent = Instant::now();
        let got = client.verdict();
        asked += 1;
        if got == *new {
            break Instant::now();
        }
        assert_eq!(got, *old, "{}", client.source);
        assert!(sent < end, "{} still gets {old:?}", client.source);
        last_old = Some(sent);
        std::thread::sleep(POLL.saturating_sub(sent.elapsed()));
    };
    for _ in 0..AFTERWARDS {
        assert_eq!(
            client.verdict(),
            *new,
            "{}: the old verdict came back",
            client.source
        );
        asked += 1;
    }
    Flip {
        answered,
        last_old,
        asked,
    }
}

#[derive(Default)]
struct Measured {
    first: Vec<Duration>,
    every: Vec<Duration>,
    late: Vec<Duration>,
    asked: u64,
}

impl Measured {
    fn report(&mut self, took: Duration) {
        let late = self.late.iter().max().copied().unwrap_or_default();
        let mut lines = vec![format!(
            "\nrule changes under load: {} edits in {:.1} s, {} requests, 0 wrong, 0 connections lost",
            self.first.len(),
            took.as_secs_f64(),
            self.asked
        )];
        for (name, times) in [
            ("first connection", &mut self.first),
            ("every connection", &mut self.every),
        ] {
            times.sort_unstable();
            let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
            lines.push(format!(
                "  change -> enforced, {name}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms",
                at(50),
                at(90),
                at(99)
            ));
        }
        lines.push(format!(
            "  old verdicts to requests sent after Vaultwall said 'in force': {}, the latest {:.1} ms after\n",
            self.late.len(),
            late.as_secs_f64() * 1e3
        ));
        // Not captured, so that it is seen when the test passes, too.
        std::io::stderr()
            .write_all(lines.join("\n").as_bytes())
            .unwrap();
    }
}

#[test]
fn no_change_disturbs_a_client_that_it_is_not_about() {
    let sandbox = Sandbox::alone();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    fs::write(sandbox.path_of("namespace.yaml"), namespace("web", true)).unwrap();
    let mut allows = [false; 3];
    for edited in Edited::ALL {
        sandbox.put(edited.file(), &edited.text(false));
    }
    let serve = Serve::start(&sandbox);
    let connections =
        |source| -> Vec<Client> { (0..CONNECTIONS).map(|_| sandbox.client(source)).collect() };
    let mut untouched: Vec<_> = [(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)]
        .into_iter()
        .flat_map(|(source, verdict)| {
            connections(source)
                .into_iter()
                .map(move |client| (client, verdict.clone()))
        })
        .collect();
    let mut edited_clients = Edited::ALL.map(|edited| connections(edited.source()));
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)]);

    let (finished, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let (started, mut measured) = (Instant::now(), Measured::default());
    std::thread::scope(|threads| {
        for (client, verdict) in &mut untouched {
            let (finished, asked) = (&finished, &asked);
            threads.spawn(move || {
                let answers = stays(client, verdict, 2 * POLL, finished);
                asked.fetch_add(answers, Ordering::Relaxed);
            });
        }
        // However the edits end, those threads do.
        let _finish = Finish(&finished);
        for number in 0..EDITS {
            let which = number % Edited::ALL.len();
            let style = [Style::Renamed, Style::InPlace][number / Edited::ALL.len() % 2];
            allows[which] = !allows[which];
            one_edit(
                &sandbox,
                &serve,
                &mut edited_clients,
                which,
                style,
                allows,
                &mut measured,
            );
        }
    });
    measured.asked += asked.into_inner();
    measured.report(started.elapsed());
    assert_eq!(measured.first.len(), EDITS);
}

struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn one_edit(
    sandbox: &Sandbox,
    serve: &Serve,
    clients: &mut [Vec<Client>; 3],
    which: usize,
    style: Style,
    allows: [bool; 3],
    measured: &mut Measured,
) {
    let said = serve.lines();
    let (old, new) = (verdict(!allows[which]), verdict(allows[which]));
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let _finish = Finish(&done);
        let (mut polls, mut besides) = (Vec::new(), Vec::new());
        for (index, clients) in clients.iter_mut().enumerate() {
            let (old, new, done) = (&old, &new, &done);
            for client in clients {
                if index == which {
                    polls.push(threads.spawn(move || flips(client, old, new)));
                } else {
                    let expected = verdict(allows[index]);
                    besides.push(threads.spawn(move || stays(client, &expected, BESIDES, done)));
                }
            }
        }
        let before = edit(sandbox, Edited::ALL[which], style, allows[which]);
        let flips: Vec<Flip> = polls.into_iter().map(|poll| poll.join().unwrap()).collect();
        let (in_force, _) = serve.wait_for_line(said, IN_FORCE);
        done.store(true, Ordering::Relaxed);
        let answered = flips
            .iter()
            .map(|flip| flip.answered.saturating_duration_since(before));
        measured.first.push(answered.clone().min().unwrap());
        measured.every.push(answered.max().unwrap());
        let late = flips
            .iter()
            .filter_map(|flip| flip.last_old?.checked_duration_since(in_force));
        measured.late.extend(late);
        measured.asked += flips.iter().map(|flip| flip.asked).sum::<u64>();
        measured.asked += besides
            .into_iter()
            .map(|other| other.join().unwrap())
            .sum::<u64>();
    });
}
