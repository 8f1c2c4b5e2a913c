//! Profiles: tables that classify requests. They are data, compiled into the binary.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::template::Template;
use crate::api::{EngineType, TokenCreation};

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

/// Verb of a request: the vault derives it from the method and the flags.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// `GET` without a flag.
    Get,
    /// `HEAD`.
    Head,
    /// `LIST`, or `GET` with `?list=true`.
    List,
    /// `SCAN`, or `GET` with `?scan=true`.
    Scan,
    /// `POST` or `PUT`.
    Post,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
    /// `OPTIONS`.
    Options,
    /// `HELP`, or any method with `?help=…`; the vault answers it without a token.
    Help,
}

impl Verb {
    /// All verbs with their methods. A request with any other method is a bad request.
    pub const METHODS: [(Self, &'static [&'static str]); 9] = [
        (Self::Get, &["GET"]),
        (Self::Head, &["HEAD"]),
        (Self::List, &["LIST"]),
        (Self::Scan, &["SCAN"]),
        (Self::Post, &["POST", "PUT"]),
        (Self::Patch, &["PATCH"]),
        (Self::Delete, &["DELETE"]),
        (Self::Options, &["OPTIONS"]),
        (Self::Help, &["HELP"]),
    ];

    /// Returns the methods of the verb.
    pub fn methods(self) -> &'static [&'static str] {
        Self::METHODS
            .iter()
            .find(|(verb, _)| *verb == self)
            .map_or(&[], |(_, methods)| methods)
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
    /// Lines for the vault's own paths, in order; the first match applies. All paths of a line begin with the same
    /// segment.
    pub system: Vec<Line>,
    /// Lines for each type of engine, relative to its mount.
    pub engines: BTreeMap<EngineType, Vec<Line>>,
}

impl Profile {
    /// Returns the profile of `OpenBao` and `HashiCorp` Vault.
    pub fn open_bao() -> &'static Self {
        static PROFILE: LazyLock<Profile> = LazyLock::new(|| {
            // A test shows that it parses. With an empty profile, every path below sys/ would be critical and every
            // other request data access with an unknown operation.
            parse(include_str!("openbao.yaml")).unwrap_or_default()
        });
        &PROFILE
    }

    /// Operations of all lines of the data plane.
    pub fn operations(&self) -> impl Iterator<Item = &Operations> {
        let lines = self.system.iter().chain(self.engines.values().flatten());
        let data = lines.filter(|line| line.plane == Plane::Data);
        data.map(|line| &line.operations)
    }
}

fn parse(yaml: &str) -> Result<Profile, serde_saphyr::Error> {
    let file: ProfileFile = serde_saphyr::from_str(yaml)?;
    Ok(Profile {
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
    system: Vec<LineFile>,
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
    use super::*;

    #[test]
    fn the_profile_parses_and_has_every_engine() {
        let profile = parse(include_str!("openbao.yaml")).unwrap();
        assert!(profile.system.len() > 10);
        assert_eq!(profile.engines.len(), 7);
    }
}
