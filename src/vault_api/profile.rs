//! Profiles: tables that classify requests. They are data, compiled into the binary.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::dialect::{Dialect, Verb};
use super::template::Template;
use crate::api::{EngineType, TokenCreation, VaultApi};

/// Class of a request by the data that it accesses. It determines the rules for the request.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
pub enum Plane {
    /// Access to secrets, keys and certificates, and every request that could return them.
    Data,
    /// Login, and requests about the caller's own token and leases.
    Session,
    /// Management of the vault.
    Control,
    /// Operations that need no token or could destroy the vault.
    Critical,
    /// Health probes.
    Infrastructure,
    /// Requests between the vault's peers.
    Internal,
}

impl Plane {
    /// All planes.
    pub const ALL: [Self; 6] = [
        Self::Data,
        Self::Session,
        Self::Control,
        Self::Critical,
        Self::Infrastructure,
        Self::Internal,
    ];

    /// Text of the plane in answers, logs and Envoy's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Session => "session",
            Self::Control => "control",
            Self::Critical => "critical",
            Self::Infrastructure => "infrastructure",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Operations of a request, by the names of Azure Key Vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Names such as `secrets/get`, or `unknown` if the profile has none. Empty outside the data plane.
    pub names: Arc<[String]>,
    /// Whether a caller needs all of them; otherwise any one is enough.
    pub all: bool,
}

impl fmt::Display for Operations {
    /// Joins the names with `+` if all are needed, with `|` if any one is enough.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(if self.all { "+" } else { "|" }))
    }
}

impl Operations {
    /// Returns the operation of a data request that no line of the profile matches.
    pub fn unknown() -> Self {
        Self {
            names: Arc::new(["unknown".to_owned()]),
            all: false,
        }
    }
}

/// A line of a profile.
#[derive(Clone, Debug)]
pub struct Line {
    /// Plane of the requests that match.
    pub plane: Plane,
    /// Verbs that match; an empty list matches every verb.
    pub verbs: Vec<Verb>,
    /// Paths that match: a request needs to match any one.
    pub templates: Arc<[Template]>,
    /// Operations of the requests that match.
    pub operations: Operations,
    /// The setting with which the line counts, if its requests create tokens.
    pub creates_tokens: Option<TokenCreation>,
}

/// Classification of the requests of an API dialect.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Rules for every request.
    pub dialect: Arc<Dialect>,
    /// Lines for the vault's own paths, in order; the first match applies. All paths of a line begin with the same
    /// segment.
    pub system: Vec<Line>,
    /// Lines for each type of engine, relative to its mount.
    pub engines: BTreeMap<EngineType, Vec<Line>>,
}

impl Profile {
    /// Returns the profile of a dialect.
    pub fn of(api: VaultApi) -> &'static Self {
        match api {
            VaultApi::OpenBao => &OPEN_BAO,
            VaultApi::AzureKeyVault => &AZURE_KEY_VAULT,
        }
    }

    /// Operations of all lines of the data plane.
    pub fn operations(&self) -> impl Iterator<Item = &Operations> {
        let lines = self.system.iter().chain(self.engines.values().flatten());
        let data = lines.filter(|line| line.plane == Plane::Data);
        data.map(|line| &line.operations)
    }
}

static OPEN_BAO: LazyLock<Profile> = LazyLock::new(|| embedded(include_str!("openbao.yaml")));
static AZURE_KEY_VAULT: LazyLock<Profile> = LazyLock::new(|| embedded(include_str!("azure.yaml")));

/// A profile of this program. A test shows that each parses; an empty one would make every request a bad request.
fn embedded(yaml: &str) -> Profile {
    parse(yaml).unwrap_or_default()
}

fn parse(yaml: &str) -> Result<Profile, serde_saphyr::Error> {
    let file: ProfileFile = serde_saphyr::from_str(yaml)?;
    Ok(Profile {
        dialect: Arc::new(file.dialect),
        system: file
            .system
            .into_iter()
            .flat_map(|line| by_first_segment(&line))
            .collect(),
        engines: file
            .engines
            .into_iter()
            .map(|(engine, lines)| (engine, lines.into_iter().map(LineFile::line).collect()))
            .collect(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    dialect: Dialect,
    system: Vec<LineFile>,
    #[serde(default)]
    engines: BTreeMap<EngineType, Vec<LineFile>>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct LineFile {
    #[serde(default = "data")]
    plane: Plane,
    #[serde(default)]
    verbs: Vec<Verb>,
    paths: Vec<String>,
    #[serde(default)]
    operations: Vec<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    creates_tokens: Option<TokenCreation>,
}

fn data() -> Plane {
    Plane::Data
}

impl LineFile {
    fn line(self) -> Line {
        Line {
            plane: self.plane,
            creates_tokens: self.creates_tokens,
            verbs: self.verbs,
            templates: self
                .paths
                .iter()
                .map(|path| Template::parse(path))
                .collect(),
            operations: match self.plane {
                Plane::Data if self.operations.is_empty() => Operations::unknown(),
                _ => Operations {
                    names: self.operations.into(),
                    all: self.all,
                },
            },
        }
    }
}

/// Splits a line of the vault's own paths, so that the paths of each part begin with the same segment.
fn by_first_segment(file: &LineFile) -> Vec<Line> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let mut starts: Vec<String> = file.paths.iter().map(|path| first(path)).collect();
    starts.sort();
    starts.dedup();
    let part = |start: String| {
        let paths = file
            .paths
            .iter()
            .filter(|path| first(path) == start)
            .cloned()
            .collect();
        LineFile {
            paths,
            ..file.clone()
        }
        .line()
    };
    starts.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::OPERATIONS;

    #[test]
    fn the_profiles_parse_and_are_whole() {
        let open_bao = parse(include_str!("openbao.yaml")).unwrap();
        assert!(open_bao.system.len() > 10);
        assert_eq!(open_bao.engines.len(), 7);
        let azure = parse(include_str!("azure.yaml")).unwrap();
        assert!(azure.system.len() > 10);
        assert!(azure.engines.is_empty());
    }

    /// The operations that a trusted service may name are the ones that the profiles give.
    #[test]
    fn operations_are_known_and_azures_are_complete() {
        let known: BTreeSet<&str> = OPERATIONS.into_iter().collect();
        let named = |api| -> BTreeSet<String> {
            let profile = Profile::of(api);
            let lines = profile
                .system
                .iter()
                .chain(profile.engines.values().flatten());
            lines
                .flat_map(|line| line.operations.names.iter().cloned())
                .filter(|name| name != "unknown")
                .collect()
        };
        let azure = named(VaultApi::AzureKeyVault);
        for name in named(VaultApi::OpenBao).iter().chain(&azure) {
            assert!(known.contains(name.as_str()), "{name}");
        }
        // Azure Key Vault exports no key.
        let missing: Vec<&&str> = known
            .iter()
            .filter(|name| !azure.contains(**name))
            .collect();
        assert_eq!(missing, [&"keys/export"]);
    }

    /// Paths are compared in small letters.
    #[test]
    fn paths_of_a_dialect_that_ignores_case_are_written_in_small_letters() {
        let text = include_str!("azure.yaml");
        let paths = text.lines().filter(|line| line.contains("paths: ["));
        assert!(paths.clone().count() > 10);
        for line in paths {
            let (_, paths) = line.split_once("paths: [").unwrap();
            let (paths, _) = paths.split_once(']').unwrap();
            assert_eq!(paths, paths.to_lowercase());
        }
    }
}
