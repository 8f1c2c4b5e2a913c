//! The ordered table that classifies the requests of one vault: a profile, laid over its engines and namespaces.
//!
//! The decision walks this table; the Envoy compiler writes the same rows, in the same order, as routes.

use std::sync::Arc;

use super::engine::{Engine, EngineNamespace};
use super::profile::{Line, Operations, Plane, Profile, Verb};
use super::template::Template;

/// What a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The plane.
    pub plane: Plane,
    /// The operations.
    pub operations: Operations,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the row: the engine's mount path and the operations, or the plane.
    pub name: Arc<str>,
    /// The verbs; empty is every verb but [`Verb::Help`], which has a row of its own at the top.
    pub verbs: Vec<Verb>,
    /// The path.
    pub path: PathMatch,
    /// The engine's mount path, if it is an engine's row.
    pub mount: Option<String>,
    /// The vault's namespace, as named by the header.
    pub header: HeaderMatch,
    /// What such a request is.
    pub class: Class,
}

/// Which paths a row is for.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// Every path.
    Any,
    /// `/v1/`, then one of the namespaces where `Prefix` asks for or allows it, then any one of the templates.
    V1(Prefix, Arc<[Template]>),
}

/// A vault namespace in front of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// None.
    None,
    /// None, or any of these.
    Optional(Arc<[String]>),
    /// One of these.
    Required(Arc<[String]>),
}

/// Which values of the namespace header a row is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderMatch {
    /// Every value, also none.
    Any,
    /// No header, or the root namespace.
    Root,
    /// No header, the root namespace, or one of these.
    RootOr(Arc<[String]>),
    /// One of these.
    Listed(Arc<[String]>),
}

/// The table of one vault.
#[derive(Clone, Debug)]
pub struct Table {
    /// The rows; the first match wins, and the last row matches everything.
    pub rows: Vec<Row>,
    /// Listed namespaces, longest first, so that the first prefix that fits is the longest.
    pub namespaces: Arc<[String]>,
}

impl Table {
    /// Lays a profile over a vault's engines and namespaces.
    pub fn new(profile: &Profile, engines: &[Engine], namespaces: &[String]) -> Self {
        let mut sorted = namespaces.to_vec();
        sorted.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let namespaces: Arc<[String]> = sorted.into();
        let mut rows = Vec::new();
        rows.push(any("help", vec![Verb::Help]));

        let anywhere = Prefix::Optional(namespaces.clone());
        let known = HeaderMatch::RootOr(namespaces.clone());
        let critical = profile
            .system
            .iter()
            .filter(|line| line.plane == Plane::Critical);
        rows.extend(critical.map(|line| row(line, &anywhere, HeaderMatch::Any)));
        let others = || {
            profile
                .system
                .iter()
                .filter(|line| line.plane != Plane::Critical)
        };
        rows.extend(others().map(|line| {
            // Open to everyone. A namespace in the path that does not exist is none, and then an engine may be mounted
            // there: `team-a/sys/health` would be a secret's path. One in the header that does not exist is an error.
            let prefix = match line.plane {
                Plane::Infrastructure => &Prefix::None,
                _ => &anywhere,
            };
            row(line, prefix, known.clone())
        }));
        // In a namespace that nobody listed, what would be management elsewhere is just data; so is a probe in one that
        // only the path names.
        let system = others().filter(|line| {
            line.templates
                .iter()
                .any(|path| path.first_segment() == "sys")
        });
        rows.extend(system.map(|line| Row {
            name: Arc::from("unproven-namespace"),
            class: unknown(),
            ..row(line, &anywhere, HeaderMatch::Any)
        }));
        rows.push(Row {
            name: Arc::from("unlisted-sys"),
            verbs: Vec::new(),
            path: PathMatch::V1(anywhere, Arc::new([Template::parse("sys/**")])),
            mount: None,
            header: HeaderMatch::Any,
            class: Class {
                plane: Plane::Critical,
                operations: Operations::default(),
            },
        });
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
        Self { rows, namespaces }
    }
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

fn row(line: &Line, prefix: &Prefix, header: HeaderMatch) -> Row {
    Row {
        name: Arc::from(line.plane.name()),
        verbs: line.verbs.clone(),
        path: PathMatch::V1(prefix.clone(), line.templates.clone()),
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
        path: PathMatch::V1(
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
