//! The profile's own lines, as a source of ordinary requests.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use vaultwall::policy::EngineType;

/// The profile as it is written.
#[derive(Deserialize)]
pub struct Written {
    /// The vault's own paths.
    pub system: Vec<Line>,
    /// Paths of engines.
    pub engines: BTreeMap<EngineType, Vec<Line>>,
}

/// A line; the parts of it that make requests.
#[derive(Deserialize)]
pub struct Line {
    #[serde(default)]
    verbs: Vec<String>,
    paths: Vec<String>,
}

/// The profile of `OpenBao`.
pub static OPEN_BAO: LazyLock<Written> = LazyLock::new(|| {
    serde_saphyr::from_str(include_str!("../../src/vault_api/openbao.yaml")).unwrap()
});

const WORDS: &[&str] = &[
    "a",
    "db",
    "app1",
    "prod",
    "login",
    "data",
    "config",
    "sys",
    "role",
    "x-y_z.~",
    "metadata",
    "keys",
    "true",
    "ns1",
    "v1",
    "..data",
    "a%20b",
    "%C3%A9",
    "caf%c3%a9",
    "a:b@c",
    "(x)",
    "it's",
    "a,b",
    "a=b",
    "$x!",
    "root",
];

impl Line {
    /// A method and a path that the line is for.
    pub fn example(&self, rng: &mut ChaCha8Rng) -> (String, String) {
        let template = self.paths.choose(rng).unwrap();
        let path = fill(rng, template);
        (self.method(rng), path)
    }

    fn method(&self, rng: &mut ChaCha8Rng) -> String {
        let verb = self.verbs.choose(rng).map_or("", String::as_str);
        let methods: &[&str] = match verb {
            "" => &["GET", "POST", "PUT", "LIST", "DELETE", "PATCH", "HEAD"],
            "POST" => &["POST", "PUT"],
            verb => return verb.to_owned(),
        };
        (*methods.choose(rng).unwrap()).to_owned()
    }
}

/// A word for a segment.
pub fn word(rng: &mut ChaCha8Rng) -> &'static str {
    WORDS.choose(rng).unwrap()
}

/// A path that a template is for.
fn fill(rng: &mut ChaCha8Rng, template: &str) -> String {
    let (fixed, end) = if let Some(fixed) = template.strip_suffix("/**") {
        let ends = ["", "/", "/a", "/a/", "/a/b", "/x/config"];
        (fixed, (*ends.choose(rng).unwrap()).to_owned())
    } else if let Some(fixed) = template.strip_suffix("/?") {
        (fixed, if rng.random() { "/" } else { "" }.to_owned())
    } else if let Some(fixed) = template.strip_suffix("*/") {
        (fixed, format!("{}/", word(rng)))
    } else if let Some(fixed) = template.strip_suffix('*') {
        let end = if rng.random() {
            word(rng).to_owned()
        } else {
            format!("{}/{}", word(rng), word(rng))
        };
        (fixed, end)
    } else {
        (template, String::new())
    };
    let segments: Vec<&str> = fixed
        .split('/')
        .map(|segment| {
            if segment.starts_with(':') {
                word(rng)
            } else {
                segment
            }
        })
        .collect();
    segments.join("/") + &end
}
