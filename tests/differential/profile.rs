//! The profile's own lines, as a source of ordinary requests.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use vaultwall::policy::{EngineType, VaultApi};
use vaultwall::vault_api::{Dialect, Verb};

/// The profile as it is written.
#[derive(Deserialize)]
pub struct Written {
    /// Rules for every request.
    pub dialect: Dialect,
    /// The vault's own paths.
    pub system: Vec<Line>,
    /// Paths of engines.
    #[serde(default)]
    pub engines: BTreeMap<EngineType, Vec<Line>>,
}

/// A line; the parts of it that make requests.
#[derive(Deserialize)]
pub struct Line {
    #[serde(default)]
    verbs: Vec<Verb>,
    paths: Vec<String>,
}

static OPEN_BAO: LazyLock<Written> =
    LazyLock::new(|| written(include_str!("../../src/vault_api/openbao.yaml")));
static AZURE_KEY_VAULT: LazyLock<Written> =
    LazyLock::new(|| written(include_str!("../../src/vault_api/azure.yaml")));

fn written(yaml: &str) -> Written {
    serde_saphyr::from_str(yaml).unwrap()
}

impl Written {
    /// The profile of a dialect.
    pub fn of(api: VaultApi) -> &'static Self {
        match api {
            VaultApi::OpenBao => &OPEN_BAO,
            VaultApi::AzureKeyVault => &AZURE_KEY_VAULT,
        }
    }
}

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
    pub fn example(&self, rng: &mut ChaCha8Rng, dialect: &Dialect) -> (String, String) {
        let template = self.paths.choose(rng).unwrap();
        let path = fill(rng, template);
        (self.method(rng, dialect), path)
    }

    fn method(&self, rng: &mut ChaCha8Rng, dialect: &Dialect) -> String {
        let methods = match self.verbs.choose(rng) {
            None => {
                &["GET", "POST", "PUT", "LIST", "DELETE", "PATCH", "HEAD"].map(String::from)[..]
            }
            Some(verb) => dialect.methods_of(*verb),
        };
        methods.choose(rng).unwrap().clone()
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
