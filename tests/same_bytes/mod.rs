//! Equal input gives equal bytes, in whatever order it came: the version of a resource is a hash of its bytes, so a map
//! in random order would send Envoy a change that is none.

use prost::Message;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use vaultwall::compile::envoy::{Proxy, Tls, configuration, static_bootstrap};
use vaultwall::objects::LoadedObjects;
use vaultwall::policy::Firewall;

use crate::cases::{Case, firewalls, load};

/// Each map of the standard library has an order of its own, so a few repetitions meet a different one.
const REPETITIONS: u64 = 4;

/// Every resource by name, and what the compiler makes of the firewall in one file.
fn bytes(firewall: &Firewall) -> Vec<(String, Vec<u8>)> {
    let proxy = Proxy::in_cluster(firewall, Tls::default(), None);
    let table = firewall.table();
    let made = configuration(firewall, &table, &proxy);
    let clusters = made.clusters.iter();
    let listeners = made.listeners.iter();
    let routes = made.routes.iter();
    let extensions = made.extensions.iter();
    clusters
        .map(|one| (format!("cluster {}", one.name), one.encode_to_vec()))
        .chain(listeners.map(|one| (format!("listener {}", one.name), one.encode_to_vec())))
        .chain(routes.map(|one| (format!("routes {}", one.name), one.encode_to_vec())))
        .chain(extensions.map(|one| (format!("extension {}", one.name), one.encode_to_vec())))
        .chain([(
            "static".to_owned(),
            static_bootstrap(firewall, &table, &proxy).encode_to_vec(),
        )])
        .collect()
}

fn shuffle(loaded: &mut LoadedObjects, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    loaded.objects.shuffle(&mut random);
}

#[test]
fn equal_input_in_any_order_gives_equal_bytes() {
    for case in Case::all() {
        let first: Vec<_> = firewalls(load(&case))
            .iter()
            .map(|(firewall, _, _)| bytes(firewall))
            .collect();
        for seed in 0..REPETITIONS {
            let mut loaded = load(&case);
            shuffle(&mut loaded, seed);
            for ((firewall, _, _), first) in firewalls(loaded).iter().zip(&first) {
                for ((name, again), (_, before)) in bytes(firewall).iter().zip(first) {
                    assert!(
                        again == before,
                        "{}, seed {seed}: {name} has other bytes",
                        case.name
                    );
                }
            }
        }
    }
}
