//! Cost of a request in Envoy with the filters of the firewall, by the number of addresses that they hold, against the
//! same Envoy without them: the configuration as the program compiles it, over its own xDS server, in real proxies.
//! Prints each figure next to its target; asserts nothing about time. A response with another status than its
//! configuration gives fails the run.
//!
//! The configurations take turns, a slice of requests each, so that other load on the machine affects all of them;
//! slices of one round are compared.
//!
//! `cargo bench --bench envoy`; docs/performance.md says how each figure is taken.
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

use crate::configurations::Filters;
use crate::load::{Clients, From};
use crate::proxies::{Envoy, Server};
use testkit::own_address;

/// Measured configurations; the others are compared with the first.
const SERIES: [Series; 7] = [
    Series::of("no filter", Filters::Removed),
    // How far two Envoys are apart that differ in nothing is how far a ratio can be trusted.
    Series::of("no filter, another Envoy", Filters::Removed),
    Series::of("filter, 0 addresses", Filters::Hold(0)),
    Series::of("filter, 100 addresses", Filters::Hold(100)),
    Series {
        target: Some(1.10),
        ..Series::of("filter, 20000 addresses", Filters::Hold(MOST))
    },
    Series {
        from: From::Strangers,
        ..Series::of("the same, request denied", Filters::Hold(MOST))
    },
    Series::of("nothing of the firewall", Filters::BareProxy),
];

/// Most addresses.
const MOST: usize = 20_000;
/// After so many rounds all Envoys are restarted, because the layout of memory makes one a few percent slower than
/// another.
const ROUNDS_OF_AN_ENVOY: usize = 10;
/// Requests before each slice, which do not count.
const WARM: usize = 100;

/// One configuration and who asks it.
struct Series {
    name: &'static str,
    filters: Filters,
    from: From,
    /// Most that it may cost, in requests without the filters.
    target: Option<f64>,
}

impl Series {
    const fn of(name: &'static str, filters: Filters) -> Self {
        Self {
            name,
            filters,
            from: From::Pods,
            target: None,
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
    let costs = runtime.block_on(measure(rounds, requests));
    report::table(&SERIES, &costs, requests);
}

/// Microseconds of Envoy's CPU a request, by series and round.
async fn measure(rounds: usize, requests: usize) -> Vec<Vec<f64>> {
    let vault = SocketAddrV4::new(own_address(), 8200);
    load::serve(vault).await;
    let addresses = SERIES.map(|_| own_address());
    let mut asked: Vec<Asked> = Vec::new();
    let mut costs = vec![Vec::new(); SERIES.len()];
    for round in 0..rounds {
        if round % ROUNDS_OF_AN_ENVOY == 0 {
            asked.clear();
            asked = start(&addresses, vault).await;
        }
        let mut order: Vec<usize> = (0..SERIES.len()).collect();
        order.rotate_left(round % SERIES.len());
        // Nor does one always follow the same other.
        if (round / SERIES.len()) % 2 == 1 {
            order.reverse();
        }
        for number in order {
            costs[number].push(asked[number].slice(requests).await);
        }
    }
    costs
}

/// An Envoy for each series, but for those who are denied.
async fn start(addresses: &[Ipv4Addr; SERIES.len()], vault: SocketAddrV4) -> Vec<Asked> {
    let server = Rc::new(Server::start());
    let mut asked: Vec<Asked> = Vec::new();
    for (series, address) in SERIES.iter().zip(addresses) {
        // They ask the Envoy that lets others in.
        let same = asked
            .iter()
            .find(|other| series.from == From::Strangers && other.filters == series.filters);
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
