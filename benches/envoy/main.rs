//! Cost of a request in Envoy with the filters of the firewall, by the number of addresses that they hold, against the
//! same Envoy without them, and with identities of trusted services against none: the configuration as the program
//! compiles it, over its own xDS server, in real proxies.
//! Prints each figure next to its target; asserts nothing about time. A response with another status than its
//! configuration gives fails the run.
//!
//! The configurations take turns, a slice of requests each, so that other load on the machine affects all of them;
//! slices of one round are compared.
//!
//! `cargo bench --bench envoy`; with `BEFORE=PATH` also the configuration that the `vaultwall` program of an earlier
//! build renders, against this build's.
//! Arguments choose the series whose names contain one of them. docs/performance.md says how each figure is taken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod configurations;
mod load;
mod proxies;
mod report;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use crate::configurations::{Build, Filters, Proof, SOME};
use crate::load::{Clients, From};
use crate::proxies::{Envoy, Server};
use testkit::own_address;

/// Configuration with which most others are compared.
const NO_FILTER: &str = "no filter";
/// Configuration with which those with identities are compared.
const NO_IDENTITIES: &str = "filter, 100 addresses";
/// Configuration with which that of this build is compared.
const BEFORE: &str = "100 addresses, before";

/// Measured configurations; the last four only if `BEFORE` names a program.
const SERIES: [Series; 16] = [
    Series::of(NO_FILTER, Filters::Removed),
    // How far two Envoys are apart that differ in nothing is how far a ratio can be trusted.
    Series::of("no filter, another Envoy", Filters::Removed),
    Series::of("filter, 0 addresses", Filters::Hold(0)),
    Series::of(NO_IDENTITIES, Filters::Hold(SOME)),
    Series {
        target: Some(1.10),
        ..Series::of("filter, 20000 addresses", Filters::Hold(MOST))
    },
    Series {
        from: From::Strangers,
        ..Series::of("the same, request denied", Filters::Hold(MOST))
    },
    Series::of("nothing of the firewall", Filters::BareProxy),
    Series {
        against: NO_IDENTITIES,
        target: Some(1.05),
        ..Series::of("denials streamed, none sent", Filters::Streams)
    },
    Series {
        target: Some(1.05),
        ..Series::identities("100 identities by pod", Proof::Pod)
    },
    Series {
        target: Some(1.05),
        from: From::TrustedPods,
        ..Series::identities("the same, a trusted pod", Proof::Pod)
    },
    Series::identities("100 identities by token, no token", Proof::Token),
    Series {
        from: From::TokenHolders,
        ..Series::identities("the same, a verified token", Proof::Token)
    },
    Series {
        against: BEFORE,
        ..Series::of(BEFORE, Filters::Rendered(Build::Before))
    },
    Series {
        against: BEFORE,
        target: Some(1.02),
        ..Series::of("100 addresses, this build", Filters::Rendered(Build::This))
    },
    Series {
        against: BEFORE,
        target: Some(1.05),
        ..Series::identities("this build, identities by pod", Proof::Pod)
    },
    Series {
        against: BEFORE,
        target: Some(1.05),
        from: From::TrustedPods,
        ..Series::identities("the same in this build, a trusted pod", Proof::Pod)
    },
];

/// Most addresses.
const MOST: usize = 20_000;
/// After so many rounds all Envoys are restarted, because the layout of memory makes one a few percent slower than
/// another.
const ROUNDS_OF_AN_ENVOY: usize = 4;
/// Requests before each slice, which do not count.
const WARM: usize = 100;

/// One configuration and who asks it.
struct Series {
    name: &'static str,
    filters: Filters,
    from: From,
    /// Name of the one with which it is compared.
    against: &'static str,
    /// Most that it may cost, in requests of that one.
    target: Option<f64>,
}

impl Series {
    const fn of(name: &'static str, filters: Filters) -> Self {
        Self {
            name,
            filters,
            from: From::Pods,
            against: NO_FILTER,
            target: None,
        }
    }

    const fn identities(name: &'static str, proof: Proof) -> Self {
        Self {
            against: NO_IDENTITIES,
            ..Self::of(name, Filters::Identities(proof))
        }
    }
}

fn main() {
    // `cargo test --all-targets` runs benches too, unoptimized.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures only when it is run by `cargo bench`");
        return;
    }
    let rounds = number("ROUNDS", 120);
    let requests = number("REQUESTS", 1_000);
    // One thread for the clients, the vault's place and the xDS server: a worker of Envoy has a processor for itself.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let series = series();
    let costs = runtime.block_on(measure(&series, rounds, requests));
    report::table(&series, &costs, requests);
}

/// The wanted series, and those with which they are compared.
fn series() -> Vec<&'static Series> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names = arguments.iter().filter(|name| !name.starts_with('-'));
    let names: Vec<&String> = names.collect();
    let is_possible =
        |series: &&Series| series.against != BEFORE || Build::Before.program().is_some();
    let possible = SERIES.iter().filter(is_possible);
    let is_wanted =
        |series: &&Series| names.is_empty() || names.iter().any(|name| series.name.contains(*name));
    let wanted: Vec<&Series> = possible.clone().filter(is_wanted).collect();
    let bases = SERIES
        .iter()
        .filter(|base| wanted.iter().any(|one| one.against == base.name));
    let compared: Vec<&Series> = bases.chain(wanted.iter().copied()).collect();
    let is_needed = |series: &&Series| {
        compared
            .iter()
            .any(|one| [one.name, one.against].contains(&series.name))
    };
    possible.filter(is_needed).collect()
}

/// Microseconds of Envoy's CPU a request, by series and round.
async fn measure(series: &[&Series], rounds: usize, requests: usize) -> Vec<Vec<f64>> {
    let vault = SocketAddrV4::new(own_address(), 8200);
    load::serve(vault).await;
    let addresses: Vec<Ipv4Addr> = series.iter().map(|_| own_address()).collect();
    let mut asked: Vec<Asked> = Vec::new();
    let mut costs = vec![Vec::new(); series.len()];
    for round in 0..rounds {
        if round % ROUNDS_OF_AN_ENVOY == 0 {
            asked.clear();
            asked = start(series, &addresses, vault).await;
        }
        let mut order: Vec<usize> = (0..series.len()).collect();
        order.rotate_left(round % series.len());
        // Nor does one always follow the same other.
        if (round / series.len()) % 2 == 1 {
            order.reverse();
        }
        for number in order {
            costs[number].push(asked[number].slice(requests).await);
        }
    }
    costs
}

/// An Envoy for each series with other filters or with pods of the rule.
async fn start(series: &[&Series], addresses: &[Ipv4Addr], vault: SocketAddrV4) -> Vec<Asked> {
    let server = Rc::new(Server::start());
    let mut asked: Vec<Asked> = Vec::new();
    for (series, address) in series.iter().zip(addresses) {
        // They ask the Envoy that lets others in.
        let same = asked
            .iter()
            .find(|other| series.from != From::Pods && other.filters == series.filters);
        let envoy = match same {
            Some(other) => Rc::clone(&other.envoy),
            None => Rc::new(Envoy::start(&server, series.filters, *address, vault).await),
        };
        let clients = Clients::connect(series.from, series.filters, envoy.address).await;
        asked.push(Asked {
            filters: series.filters,
            clients,
            envoy,
        });
    }
    asked
}

/// An Envoy, and who asks it over connections that stay open.
struct Asked {
    filters: Filters,
    clients: Clients,
    envoy: Rc<Envoy>,
}

impl Asked {
    /// Microseconds of CPU for each of so many requests.
    async fn slice(&mut self, requests: usize) -> f64 {
        // While others had their turns, the processor's caches were theirs.
        self.clients.ask(WARM).await;
        let before = self.envoy.cpu().await;
        self.clients.ask(requests).await;
        let after = self.envoy.cpu().await;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
        let requests = requests as f64;
        after.checked_sub(before).unwrap().as_secs_f64() * 1e6 / requests
    }
}

/// A number of the environment.
fn number(name: &str, otherwise: usize) -> usize {
    let name = format!("VAULTWALL_BENCH_ENVOY_{name}");
    let Ok(text) = std::env::var(&name) else {
        return otherwise;
    };
    let number = text.parse().unwrap_or(0);
    assert!(number > 0, "{name} is no number from 1: {text}");
    number
}
