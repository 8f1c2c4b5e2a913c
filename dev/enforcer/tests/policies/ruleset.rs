//! The text that goes to nft, and the sets of numbers that it is made of.

use std::net::Ipv4Addr;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use enforcer::policy::{Model, Ports, Protocol, Ranges, Rule, render, resolve};
use testkit::cyclonus::steps;

/// Begin of every ruleset: creates the table if it does not exist, and empties it.
const EMPTY_TABLE: &str = "\
table ip t {
	chain egress {
	}
	chain ingress {
	}
	chain forward {
		type filter hook forward priority -10; policy accept;
	}
}
flush table ip t
";

const WHOLE: &str = "\
table ip t {
	chain egress {
		ip saddr != { 10.0.0.4 } return
		drop
	}
	chain ingress {
		ip daddr != { 10.0.0.1-10.0.0.3 } return
		ip daddr { 10.0.0.1 } return
		ip daddr { 10.0.0.1-10.0.0.2 } ip saddr { 10.0.0.4, 192.168.0.0-192.168.0.255 } tcp dport { 80, 8080-8090 } return
		ip daddr { 10.0.0.1-10.0.0.2 } ip saddr { 10.0.0.4, 192.168.0.0-192.168.0.255 } meta l4proto udp return
		drop
	}
	chain forward {
		ct state established,related accept
		ip saddr . ip daddr { 10.0.0.1 . 10.0.0.1, 10.0.0.2 . 10.0.0.2, 10.0.0.3 . 10.0.0.3, 10.0.0.4 . 10.0.0.4 } accept
		jump egress
		jump ingress
	}
}
";

const NOTHING: &str = "\
table ip t {
	chain egress {
	}
	chain ingress {
	}
	chain forward {
		ct state established,related accept
		jump egress
		jump ingress
	}
}
";

#[test]
fn a_whole_ruleset() {
    let pod = |last| Ipv4Addr::new(10, 0, 0, last);
    let range = |first: Ipv4Addr, last: Ipv4Addr| (u32::from(first), u32::from(last));
    let some = Rule {
        peers: [
            range(
                Ipv4Addr::new(192, 168, 0, 0),
                Ipv4Addr::new(192, 168, 0, 255),
            ),
            range(pod(4), pod(4)),
        ]
        .into_iter()
        .collect(),
        ports: Ports::Only(
            [
                (
                    Protocol::Tcp,
                    [(8080, 8090), (80, 80)].into_iter().collect(),
                ),
                (Protocol::Udp, [(0, 65_535)].into_iter().collect()),
            ]
            .into(),
        ),
    };
    let everyone = Rule {
        peers: Ranges::everything(),
        ports: Ports::All,
    };
    // A rule of two pods is written once; one pod may do everything, one nothing.
    let model = Model {
        ingress: [
            (pod(2), [some.clone()].into()),
            (pod(1), [some, everyone].into()),
            (pod(3), [].into()),
        ]
        .into(),
        egress: [(pod(4), [].into())].into(),
    };
    assert_eq!(render(&model, "t"), EMPTY_TABLE.to_owned() + WHOLE);
    assert_eq!(
        render(&Model::default(), "t"),
        EMPTY_TABLE.to_owned() + NOTHING
    );
}

/// Nothing is sent to the kernel if only the order of objects is another.
#[test]
fn the_order_of_objects_makes_no_difference() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut seen = 0;
    for mut step in steps().into_iter().filter(|step| step.policies.len() > 1) {
        let before = render(&resolve(&step.policies, &step.pods, &step.namespaces), "t");
        step.policies.reverse();
        step.pods.shuffle(&mut random);
        step.namespaces.shuffle(&mut random);
        let after = render(&resolve(&step.policies, &step.pods, &step.namespaces), "t");
        assert_eq!(before, after, "{}", step.name());
        seen += 1;
    }
    assert!(seen > 10, "only {seen} steps have more than one policy");
}

/// Against sets of single numbers, with both ends of all numbers inside.
#[test]
fn ranges_are_sets() {
    // Numbers below 8 are themselves, the others count back from the last there is.
    let number = |small: u32| {
        if small < 8 {
            small
        } else {
            u32::MAX - (15 - small)
        }
    };
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut some = || -> Vec<(u32, u32)> {
        let count = random.random_range(0..5);
        let mut one = || random.random_range(0..16);
        (0..count).map(|_| (one(), one())).collect()
    };
    for _ in 0..20_000 {
        let (left, right) = (some(), some());
        let of = |ranges: &[(u32, u32)]| -> Ranges {
            ranges
                .iter()
                .map(|(first, last)| (number(*first), number(*last)))
                .collect()
        };
        let has = |ranges: &[(u32, u32)], small: u32| {
            ranges
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&small))
        };
        let (set, cut) = (of(&left), of(&left).without(&of(&right)));
        for small in 0..16 {
            assert_eq!(
                set.contains(number(small)),
                has(&left, small),
                "{left:?} {small}"
            );
            let rest = has(&left, small) && !has(&right, small);
            assert_eq!(
                cut.contains(number(small)),
                rest,
                "{left:?} {right:?} {small}"
            );
        }
        // One set has one form.
        assert_eq!(cut, cut.iter().collect());
        let mut backwards: Vec<_> = set.iter().collect();
        backwards.reverse();
        assert_eq!(set, backwards.into_iter().collect());
    }
    assert_eq!(
        Ranges::everything().without(&Ranges::default()),
        Ranges::everything()
    );
    assert!(
        Ranges::everything()
            .without(&Ranges::everything())
            .is_empty()
    );
}
