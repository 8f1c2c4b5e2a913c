//! Profiles: the tables that say what a request is, as data compiled into the binary.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::template::Template;
use crate::api::EngineType;

/// What kind of thing a request touches; decides which rules hold for it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
pub enum Plane {
    /// Secrets, keys, certificates, and what hands them out.
    Data,
    /// Logging in, one's own token and leases.
    Session,
    /// The vault's management.
    Control,
    /// What needs no token or could end the vault.
    Critical,
    /// Probes.
    Infrastructure,
    /// What only the vault's peers use.
    Internal,
}

impl Plane {
    /// Every plane.
    pub const ALL: [Self; 6] = [
        Self::Data,
        Self::Session,
        Self::Control,
        Self::Critical,
        Self::Infrastructure,
        Self::Internal,
    ];

    /// Its name, as in answers and logs.
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

/// What a request does, as the vault reads its method and flags.
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
    /// `HELP`, or any method with `?help=…`; answered without a token.
    Help,
}

impl Verb {
    /// Every verb with the methods that stand for it. A method that is not here is a bad request.
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

    /// The methods that stand for it.
    pub fn methods(self) -> &'static [&'static str] {
        Self::METHODS
            .iter()
            .find(|(verb, _)| *verb == self)
            .map_or(&[], |(_, methods)| methods)
    }
}

/// Operations that a request stands for, by Azure Key Vault's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// The names; `unknown` where the profile says nothing. Empty outside the data plane.
    pub names: Arc<[String]>,
    /// Whether a caller needs all of them; otherwise any one is enough.
    pub all: bool,
}

impl fmt::Display for Operations {
    /// `+` where all are needed, `|` where any one is enough.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(if self.all { "+" } else { "|" }))
    }
}

impl Operations {
    /// The operation of a data request that no line of the profile matches.
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
    /// The plane.
    pub plane: Plane,
    /// The verbs; empty is every verb.
    pub verbs: Vec<Verb>,
    /// The paths; any one fits.
    pub templates: Arc<[Template]>,
    /// The operations.
    pub operations: Operations,
}

/// What the requests of a dialect are.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Lines for the vault's own paths, in order; the first match wins. All paths of a line begin with the same segment.
    pub system: Vec<Line>,
    /// Lines for each type of engine, relative to its mount.
    pub engines: BTreeMap<EngineType, Vec<Line>>,
}

impl Profile {
    /// The profile of `OpenBao` and `HashiCorp` Vault.
    pub fn open_bao() -> &'static Self {
        static PROFILE: LazyLock<Profile> = LazyLock::new(|| {
            // A test proves that it parses. Were it empty, every sys/* would be critical and the rest unknown data.
            parse(include_str!("openbao.yaml")).unwrap_or_default()
        });
        &PROFILE
    }
}

fn parse(yaml: &str) -> Result<Profile, serde_saphyr::Error> {
    let written: WrittenProfile = serde_saphyr::from_str(yaml)?;
    Ok(Profile {
        system: written
            .system
            .into_iter()
            .flat_map(|line| by_first_segment(&line))
            .collect(),
        engines: written
            .engines
            .into_iter()
            .map(|(engine, lines)| (engine, lines.into_iter().map(WrittenLine::line).collect()))
            .collect(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProfile {
    system: Vec<WrittenLine>,
    engines: BTreeMap<EngineType, Vec<WrittenLine>>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct WrittenLine {
    #[serde(default = "data")]
    plane: Plane,
    #[serde(default)]
    verbs: Vec<Verb>,
    paths: Vec<String>,
    #[serde(default)]
    operations: Vec<String>,
    #[serde(default)]
    all: bool,
}

fn data() -> Plane {
    Plane::Data
}

impl WrittenLine {
    fn line(self) -> Line {
        Line {
            plane: self.plane,
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

/// A line of the vault's own paths, split where paths begin differently.
fn by_first_segment(written: &WrittenLine) -> Vec<Line> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let mut starts: Vec<String> = written.paths.iter().map(|path| first(path)).collect();
    starts.sort();
    starts.dedup();
    let part = |start: String| {
        let paths = written
            .paths
            .iter()
            .filter(|path| first(path) == start)
            .cloned()
            .collect();
        WrittenLine {
            paths,
            ..written.clone()
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
    fn the_profile_parses_and_knows_every_engine() {
        let profile = parse(include_str!("openbao.yaml")).unwrap();
        assert!(profile.system.len() > 10);
        assert_eq!(profile.engines.len(), 7);
    }
}
