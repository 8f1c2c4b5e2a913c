//! One document → an object, violations, or neither for a kind that no firewall needs. Lists are split into their
//! members.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::contents::{CLUSTER, FileContents, LocatedViolation, Refused};
use super::document::{self, LoadError};
use super::kinds::{self, KindInfo};
use super::readings::{Finding, Place};
use crate::api::{GROUP, VERSION};
use crate::index::{Key, Kind, Object};
use crate::limits::Limits;
use crate::policy::{Violation, ViolationReason, quoted};

/// Our kinds that this version does not support yet.
const NOT_SUPPORTED_YET: [&str; 1] = ["ServiceTag"];
/// Deepest nesting of Lists: kubectl creates nothing of a List inside a List.
const MAX_LIST_DEPTH: usize = 1;

/// Reads one file.
///
/// # Errors
/// The file cannot be read at all, or is neither YAML nor JSON. Anything wrong inside it is a violation.
pub fn load_file(file: &Path, limits: &Limits) -> Result<FileContents, LoadError> {
    parse_file(file, &document::read(file)?, limits)
}

/// Reads the text of a file.
///
/// # Errors
/// It is neither YAML nor JSON.
pub fn parse_file(file: &Path, text: &str, limits: &Limits) -> Result<FileContents, LoadError> {
    let mut reader = Reader::new(file, limits, false);
    for document in document::parse(file, text)? {
        reader.has_aliases = document.readings.has_aliases;
        reader.member(document.value, document.readings.findings, None);
    }
    Ok(reader.contents)
}

/// Reads an object or a List as an API server sends it.
pub fn read_from_cluster(sent: Value, limits: &Limits) -> FileContents {
    let mut reader = Reader::new(Path::new(CLUSTER), limits, true);
    // JSON has one reading.
    reader.member(sent, Vec::new(), None);
    reader.contents
}

/// Decodes an object of a known kind, by the same rules as one in a file.
///
/// # Errors
/// The object must not be used, or is of another kind.
pub fn decode(kind: Kind, document: Value, limits: &Limits) -> Result<Object, Refused> {
    (kinds::info(kind).decode)(document, Vec::new(), limits).1
}

/// Reads the documents of one file, or the answer of an API server.
struct Reader<'a> {
    limits: &'a Limits,
    contents: FileContents,
    from_cluster: bool,
    /// Whether a value of the current document may stand for a value of another member of its List.
    has_aliases: bool,
}

/// The fields of a document that identify its object.
#[derive(Default)]
struct Header {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

/// The List around a document. Its members need not repeat its kind, as in the API server's own `PodList`.
#[derive(Clone, Copy)]
struct ListOf<'a> {
    api_version: &'a str,
    kind: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(file: &Path, limits: &'a Limits, from_cluster: bool) -> Self {
        let contents = FileContents {
            file: file.to_owned(),
            ..FileContents::default()
        };
        Self {
            limits,
            contents,
            from_cluster,
            has_aliases: false,
        }
    }

    /// Reads a document with its spellings that have two readings.
    fn member(&mut self, mut value: Value, readings: Vec<Finding>, list: Option<ListOf>) {
        let Value::Object(object) = &mut value else {
            let message = "is not an object; write apiVersion, kind, metadata and spec";
            self.report(
                &Header::default(),
                Violation::new("", ViolationReason::WrongType, message),
            );
            return;
        };
        if let Some(list) = list.filter(|list| !list.kind.is_empty()) {
            object
                .entry("apiVersion")
                .or_insert_with(|| list.api_version.into());
            object.entry("kind").or_insert_with(|| list.kind.into());
        }
        let Some(header) = self.header(&value) else {
            return;
        };
        let depth = list.map_or(0, |list| list.depth);
        let info = info_of(&header);
        if is_list(&header, info, &value) {
            self.list(value, readings, &header, depth);
            return;
        }
        if let Some(info) = info {
            let ambiguous = readings.iter().map(Finding::violation).collect();
            let spec = value.get("spec").filter(|_| info.is_custom()).cloned();
            let (key, object) = (info.decode)(value, ambiguous, self.limits);
            self.contents.specs.extend(key.clone().zip(spec));
            let is_assumed = info.namespaced && info.is_custom() && header.namespace.is_empty();
            if !self.from_cluster && is_assumed {
                self.contents.assumed.extend(key.clone());
            }
            self.keep(&header, key, object);
        } else if let Some(found) = unknown_kind(&header) {
            self.report(&header, found);
        } else {
            self.ignore(header, &readings, list.is_some());
        }
    }

    /// Ignores an object, unless kubectl may read it as one that matters, or a part of it stands elsewhere as well.
    fn ignore(&mut self, header: Header, readings: &[Finding], in_list: bool) {
        let matters = |finding: &&Finding| {
            let is_top_level = finding.is_structural && finding.place.len() <= 1;
            is_top_level || (in_list && self.has_aliases)
        };
        let found: Vec<_> = readings
            .iter()
            .filter(matters)
            .map(Finding::violation)
            .collect();
        for violation in found {
            self.report(&header, violation);
        }
        *self.contents.ignored.entry(header.kind).or_default() += 1;
    }

    fn header(&mut self, value: &Value) -> Option<Header> {
        let text = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let header = Header {
            api_version: text("/apiVersion"),
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
        };
        let mut complete = true;
        for (field, found) in [("apiVersion", &header.api_version), ("kind", &header.kind)] {
            if found.is_empty() {
                complete = false;
                let (reason, message) = match value.get(field) {
                    None => (
                        ViolationReason::Required,
                        "is missing; write which object this is",
                    ),
                    Some(_) => (
                        ViolationReason::WrongType,
                        "is not a text; write which object this is",
                    ),
                };
                self.report(&header, Violation::new(field, reason, message));
            }
        }
        complete.then_some(header)
    }

    fn list(&mut self, mut value: Value, readings: Vec<Finding>, header: &Header, depth: usize) {
        if !header.kind.ends_with("List") {
            let message = format!("{} with items is no List; write List", quoted(&header.kind));
            self.report(
                header,
                Violation::new("kind", ViolationReason::UnknownKind, message),
            );
        }
        let (mut of_items, of_list) = split(readings);
        for finding in of_list {
            self.report(header, finding.violation());
        }
        let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) else {
            self.report(
                header,
                Violation::new("items", ViolationReason::WrongType, "is not a list"),
            );
            return;
        };
        if depth == MAX_LIST_DEPTH {
            self.report(
                header,
                Violation::new(
                    "items",
                    ViolationReason::Invalid,
                    "kubectl ignores a List inside a List; write its members in the outer one",
                ),
            );
            return;
        }
        let list = ListOf {
            api_version: &header.api_version,
            kind: header.kind.strip_suffix("List").unwrap_or_default(),
            depth: depth + 1,
        };
        for (index, item) in items.into_iter().enumerate() {
            let readings = of_items.remove(&index).unwrap_or_default();
            self.member(item, readings, Some(list));
        }
    }

    fn keep(&mut self, header: &Header, key: Option<Key>, object: Result<Object, Refused>) {
        let object = match object {
            Ok(object) => Some(object),
            Err(refused) => {
                for found in refused.violations {
                    self.report(header, found);
                }
                refused.fallback.map(|fallback| *fallback)
            }
        };
        if let Some(key) = key {
            self.contents.objects.push((key, object));
        }
    }

    fn report(&mut self, header: &Header, found: Violation) {
        self.contents.violations.push(LocatedViolation {
            file: self.contents.file.display().to_string(),
            kind: header.kind.clone(),
            namespace: self.from_cluster.then(|| header.namespace.clone()),
            name: header.name.clone(),
            field: found.field,
            reason: found.reason,
            message: found.message,
        });
    }
}

/// Whether a document is a List, or has members of ours like one: kubectl takes more than Lists for one. One of our own
/// kinds with `items` has an unknown field.
fn is_list(header: &Header, info: Option<&KindInfo>, value: &Value) -> bool {
    let is_ours = |item: &Value| {
        let version = item.get("apiVersion").and_then(Value::as_str);
        version.is_some_and(|version| version.starts_with(GROUP))
    };
    value.get("items").is_some_and(|items| {
        let has_ours = items
            .as_array()
            .is_some_and(|items| items.iter().any(is_ours));
        header.kind.ends_with("List") || (has_ours && !info.is_some_and(KindInfo::is_custom))
    })
}

/// The findings inside each member of a List, with their places in it, and those outside.
fn split(readings: Vec<Finding>) -> (BTreeMap<usize, Vec<Finding>>, Vec<Finding>) {
    let mut of_items: BTreeMap<usize, Vec<Finding>> = BTreeMap::new();
    let mut of_list = Vec::new();
    for mut finding in readings {
        match finding.place.as_slice() {
            [Place::Key(items), Place::Index(index), rest @ ..] if items == "items" => {
                let index = *index;
                finding.place = rest.to_vec();
                of_items.entry(index).or_default().push(finding);
            }
            _ => of_list.push(finding),
        }
    }
    (of_items, of_list)
}

/// Returns the kind of a document, if it is read from files.
fn info_of(header: &Header) -> Option<&'static KindInfo> {
    kinds::infos().find(|info| {
        info.in_files
            && info.resource.kind == header.kind
            && info.resource.api_version == header.api_version
    })
}

/// Returns the violation of a document that claims to be one of our kinds and is none.
fn unknown_kind(header: &Header) -> Option<Violation> {
    let is_ours = header.api_version.split('/').any(|part| part == GROUP);
    let is_reserved =
        || kinds::infos().any(|info| info.name_is_reserved && info.resource.kind == header.kind);
    if header.api_version != format!("{GROUP}/{VERSION}") {
        let message = format!(
            "{} is not known; write {GROUP}/{VERSION}",
            quoted(&header.api_version)
        );
        return (is_ours || is_reserved())
            .then(|| Violation::new("apiVersion", ViolationReason::UnknownKind, message));
    }
    if NOT_SUPPORTED_YET.contains(&header.kind.as_str()) {
        let message = format!("{} is not supported yet; remove the object", header.kind);
        return Some(Violation::new(
            "kind",
            ViolationReason::NotSupportedYet,
            message,
        ));
    }
    let known: Vec<&str> = kinds::infos()
        .filter(|info| info.is_custom())
        .map(|info| info.kind.name())
        .collect();
    let message = format!(
        "{} is not a kind of {GROUP}; write {}",
        quoted(&header.kind),
        known.join(" or ")
    );
    Some(Violation::new(
        "kind",
        ViolationReason::UnknownKind,
        message,
    ))
}
