//! Random addresses and ranges: the rules and validation never differ.

use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::Schemas;
use crate::crd_tables::policy;

/// They are near the edges of the special ranges. The seed is fixed, so a failure comes again.
#[test]
fn rules_and_validation_agree_on_random_values() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let firsts = [
        0, 1, 9, 10, 11, 100, 126, 127, 128, 169, 172, 191, 192, 198, 203, 223, 224, 239, 240, 255,
    ];
    let seconds = [
        0, 1, 15, 16, 17, 18, 19, 20, 31, 32, 63, 64, 127, 128, 167, 168, 169, 253, 254, 255,
    ];
    let values: Vec<String> = (0..1000)
        .map(|_| {
            let address = format!(
                "{}.{}.{}.{}",
                firsts[random.random_range(0..firsts.len())],
                seconds[random.random_range(0..seconds.len())],
                [0, 0, 1, 2, 255][random.random_range(0..5)],
                [0, 0, 0, 1, 8, 255][random.random_range(0..6)],
            );
            match random.random_range(0..3) {
                0 => address,
                1 => format!("{address}/{}", random.random_range(0..=34)),
                _ => {
                    let network = format!("{address}/{}", random.random_range(1..=30));
                    network
                        .parse::<ipnet::Ipv4Net>()
                        .unwrap()
                        .trunc()
                        .to_string()
                }
            }
        })
        .collect();
    let schemas = Schemas::new();
    let rules: Vec<Value> = values.iter().map(|value| json!({"value": value})).collect();
    let refused = schemas.refusals(&policy(&json!({"ipRules": rules})));
    let mut accepted = 0;
    for (index, value) in values.iter().enumerate() {
        let field = format!("spec.ipRules[{index}].value");
        let by_rules = !refused.iter().any(|(path, _)| *path == field);
        let by_validation = vaultwall::address::public_prefix(value).is_ok();
        assert_eq!(
            by_rules, by_validation,
            "{value}: accepted by the CRD and by validation, or by neither"
        );
        accepted += usize::from(by_rules);
    }
    assert!(
        (100..900).contains(&accepted),
        "both verdicts must occur often, {accepted} accepted"
    );
}
