//! The ordered table that classifies the requests of one vault. It combines a profile with the vault's engines and
//! namespaces.
//!
//! The decision uses the first row that matches; the Envoy compiler writes the same rows, in the same order, as routes.

use std::sync::Arc;

use regex::Regex;

use super::dialect::{Dialect, Verb};
use super::engine::{Engine, EngineNamespace};
use super::path;
use super::profile::{Line, Operations, Plane, Profile};
use super::template::Template;
use crate::api::{EngineType, TokenCreation};

/// Class of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Plane, which determines the rules for the request.
    pub plane: Plane,
    /// Operations, for the access log and for `explain`.
    pub operations: Operations,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the row: the engine's mount path and the operations, or the plane.
    pub name: Arc<str>,
    /// Verbs that match. An empty list matches every verb except [`Verb::Help`], which has its own row at the top.
    pub verbs: Vec<Verb>,
    /// Paths that match.
    pub path: PathMatch,
    /// Mount path of the engine, if the row belongs to an engine.
    pub mount: Option<String>,
    /// Values of the namespace header that match.
    pub header: HeaderMatch,
    /// Class of the requests that match.
    pub class: Class,
}

/// Paths that a row matches.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// Every path.
    Any,
    /// The dialect's prefix, then a namespace if `Prefix` requires or allows one, then any one of the templates.
    Api(Prefix, Arc<[Template]>),
}

/// Vault namespace at the start of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// No namespace.
    None,
    /// No namespace, or any of these.
    Optional(Arc<[String]>),
    /// Any of these.
    Required(Arc<[String]>),
}

/// Values of the namespace header that a row matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderMatch {
    /// Any value, or no header.
    Any,
    /// No header, or the root namespace.
    Root,
    /// No header, the root namespace, or any of these.
    RootOr(Arc<[String]>),
    /// Any of these.
    Listed(Arc<[String]>),
}

/// Description of a vault by its policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Described<'a> {
    /// Secret engines.
    pub engines: &'a [Engine],
    /// Mount paths of auth methods that have several segments, without `auth/`.
    pub auth_mounts: &'a [String],
    /// Vault namespaces.
    pub namespaces: &'a [String],
    /// Tokens that the management endpoint may hand out.
    pub token_creation: TokenCreation,
}

/// The table of one vault.
#[derive(Clone, Debug)]
pub struct Table {
    /// Rules of the API for every request.
    pub dialect: Arc<Dialect>,
    /// Rows in order: the first match applies, and the last row matches everything.
    pub rows: Vec<Row>,
    /// Listed namespaces, longest first, so that the first matching prefix is the longest.
    pub namespaces: Arc<[String]>,
    /// Paths of OCSP requests to the listed PKI engines, which may contain encoded slashes.
    pub ocsp: Option<Regex>,
}

impl Table {
    /// Builds the table of a vault from a profile and what a policy says about the vault.
    pub fn new(profile: &Profile, described: &Described<'_>) -> Self {
        let profile = &described.applied(profile);
        let Described {
            engines,
            namespaces,
            ..
        } = *described;
        let mut sorted = namespaces.to_vec();
        sorted.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let namespaces: Arc<[String]> = sorted.into();
        let dialect = profile.dialect.clone();
        let anywhere = Prefix::Optional(namespaces.clone());
        let known = if dialect.namespaces {
            HeaderMatch::RootOr(namespaces.clone())
        } else {
            HeaderMatch::Any
        };
        let lines = || profile.system.iter();
        let critical = || lines().filter(|line| line.plane == Plane::Critical);
        let others = || lines().filter(|line| line.plane != Plane::Critical);
        let unlisted = dialect.guarded.as_deref();
        let unlisted = unlisted.map(|start| unlisted_row(start, &anywhere));

        let mut rows = Vec::new();
        if dialect.has(Verb::Help) {
            rows.extend(help(profile, &anywhere, unlisted.as_ref()));
        }
        rows.extend(critical().map(|line| row(line, &anywhere, HeaderMatch::Any)));
        rows.extend(others().map(|line| {
            // Probes are open to every caller. If the path has a namespace that does not exist, the vault looks for an
            // engine with that mount path, so `team-a/sys/health` could be the path of a secret. A namespace in the
            // header that does not exist is an error of the vault.
            let prefix = match line.plane {
                Plane::Infrastructure => &Prefix::None,
                _ => &anywhere,
            };
            row(line, prefix, known.clone())
        }));
        // In a namespace that is not listed, management requests are data access. So are probes with a namespace in the
        // path.
        rows.extend(
            others()
                .filter(|line| is_guarded(line, &dialect))
                .map(|line| Row {
                    name: Arc::from("unproven-namespace"),
                    class: unknown(),
                    ..row(line, &anywhere, HeaderMatch::Any)
                }),
        );
        rows.extend(unlisted);
        for engine in engines {
            let lines = profile
                .engines
                .get(&engine.engine_type)
                .map_or(&[][..], Vec::as_slice);
            rows.extend(
                lines
                    .iter()
                    .flat_map(|line| engine_rows(engine, line, &namespaces)),
            );
        }
        rows.push(any("unknown", Vec::new()));
        let ocsp = ocsp(&dialect.prefix, engines, &namespaces);
        Self {
            dialect,
            rows,
            namespaces,
            ocsp,
        }
    }
}

impl Described<'_> {
    /// Applies the policy's settings to a profile: which lines count, and at which auth mounts.
    fn applied(&self, profile: &Profile) -> Profile {
        let counts = |line: &&Line| match line.creates_tokens {
            None => true,
            Some(tokens) => tokens <= self.token_creation,
        };
        let mut applied = profile.clone();
        applied.system = profile.system.iter().filter(counts).cloned().collect();
        for line in &mut applied.system {
            let nested = self.auth_mounts.iter().flat_map(|mount| {
                let templates = line.templates.iter();
                templates.filter_map(|template| template.at_auth_mount(mount))
            });
            let nested: Vec<Template> = nested.collect();
            line.templates = line.templates.iter().cloned().chain(nested).collect();
        }
        applied
    }
}

/// Pattern of the paths of OCSP requests. Every reading of such a path is below the engine, and so of the data plane.
fn ocsp(prefix: &str, engines: &[Engine], listed: &[String]) -> Option<Regex> {
    let escaped = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| regex::escape(name)).collect();
        names.join("|")
    };
    let starts = engines
        .iter()
        .filter(|engine| engine.engine_type == EngineType::Pki)
        .map(|engine| {
            let mount = regex::escape(&engine.path);
            match &engine.namespace {
                EngineNamespace::Root => mount,
                EngineNamespace::EveryListed => format!("(?:(?:{})/)?{mount}", escaped(listed)),
                EngineNamespace::Named(name) => format!("(?:{}/)?{mount}", regex::escape(name)),
            }
        });
    let starts: Vec<String> = starts.collect();
    if starts.is_empty() {
        return None;
    }
    // Without a pattern that compiles, such a path is a bad request.
    Regex::new(&format!(
        "^(?:{prefix}(?:{})/ocsp/{})$",
        starts.join("|"),
        path::OCSP
    ))
    .ok()
}

/// Row of the paths below the guarded segment that no line has.
fn unlisted_row(start: &str, anywhere: &Prefix) -> Row {
    Row {
        name: Arc::from("unlisted-sys"),
        verbs: Vec::new(),
        path: PathMatch::Api(
            anywhere.clone(),
            Arc::new([Template::parse(&format!("{start}/**"))]),
        ),
        mount: None,
        header: HeaderMatch::Any,
        class: critical(),
    }
}

/// Rows of requests for help: critical if the path is, for any method; otherwise data access, because the vault's
/// answer shows which engine is mounted there.
fn help(profile: &Profile, anywhere: &Prefix, unlisted: Option<&Row>) -> Vec<Row> {
    let about = |name: &str, class: Class, wanted: &dyn Fn(&Line) -> bool| {
        let lines = profile.system.iter().filter(|line| wanted(line));
        let templates = lines.flat_map(|line| line.templates.iter().cloned());
        Row {
            path: PathMatch::Api(anywhere.clone(), templates.collect()),
            class,
            ..any(name, vec![Verb::Help])
        }
    };
    let unlisted = unlisted.map(|row| Row {
        verbs: vec![Verb::Help],
        ..row.clone()
    });
    [
        about("critical", critical(), &|line| {
            line.plane == Plane::Critical
        }),
        about("help", unknown(), &|line| {
            is_guarded(line, &profile.dialect)
        }),
    ]
    .into_iter()
    .chain(unlisted)
    .chain([any("help", vec![Verb::Help])])
    .collect()
}

/// Whether a line is about paths below the guarded segment; all paths of a line begin with the same segment.
fn is_guarded(line: &Line, dialect: &Dialect) -> bool {
    dialect.guarded.as_deref().is_some_and(|guarded| {
        line.templates
            .iter()
            .any(|path| path.first_segment() == guarded)
    })
}

fn any(name: &str, verbs: Vec<Verb>) -> Row {
    Row {
        name: Arc::from(name),
        verbs,
        path: PathMatch::Any,
        mount: None,
        header: HeaderMatch::Any,
        class: unknown(),
    }
}

fn unknown() -> Class {
    Class {
        plane: Plane::Data,
        operations: Operations::unknown(),
    }
}

fn critical() -> Class {
    Class {
        plane: Plane::Critical,
        operations: Operations::default(),
    }
}

fn row(line: &Line, prefix: &Prefix, header: HeaderMatch) -> Row {
    Row {
        name: Arc::from(line.plane.name()),
        verbs: line.verbs.clone(),
        path: PathMatch::Api(prefix.clone(), line.templates.clone()),
        mount: None,
        header,
        class: Class {
            plane: line.plane,
            operations: line.operations.clone(),
        },
    }
}

fn engine_rows(engine: &Engine, line: &Line, listed: &Arc<[String]>) -> Vec<Row> {
    let row = |prefix, header| Row {
        name: Arc::from(format!("{} {}", engine.path, line.operations)),
        path: PathMatch::Api(
            prefix,
            line.templates
                .iter()
                .map(|path| path.under(&engine.path))
                .collect(),
        ),
        mount: Some(engine.path.clone()),
        ..row(line, &Prefix::None, header)
    };
    let within = match &engine.namespace {
        EngineNamespace::Root => return vec![row(Prefix::None, HeaderMatch::Root)],
        EngineNamespace::EveryListed => listed.clone(),
        EngineNamespace::Named(name) => Arc::new([name.clone()]),
    };
    vec![
        row(Prefix::None, HeaderMatch::Listed(within.clone())),
        row(Prefix::Required(within), HeaderMatch::Root),
    ]
}
