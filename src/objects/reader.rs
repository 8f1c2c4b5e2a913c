//! One document → the object that it is, a violation, or nothing that matters here. Lists are taken apart.

use std::path::Path;

use serde_json::Value;

use super::{
    CLUSTER, FileContents, LocatedViolation, Object, ObjectKey, Refused, custom, fact, violation,
};
use crate::api::{GROUP, VERSION};
use crate::limits::Limits;
use crate::policy::{Violation, ViolationReason, quoted};

/// Reads the documents of one file, or what an API server sent.
pub(crate) struct Reader<'a> {
    limits: &'a Limits,
    contents: FileContents,
    of_cluster: bool,
}

/// Which object a document says that it is.
#[derive(Default)]
struct Header {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

/// Deepest nesting of Lists; kubectl writes one level.
const MAX_LIST_DEPTH: usize = 4;
/// What the members of a List are when they do not say it themselves, as in the API server's own `PodList`.
#[derive(Clone, Copy)]
struct ListOf<'a> {
    api_version: &'a str,
    kind: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: &Path, limits: &'a Limits) -> Self {
        let contents = FileContents {
            file: file.to_owned(),
            ..FileContents::default()
        };
        Self {
            limits,
            contents,
            of_cluster: false,
        }
    }

    /// Reads what an API server sends.
    pub(crate) fn of_cluster(limits: &'a Limits) -> Self {
        Self {
            of_cluster: true,
            ..Self::new(Path::new(CLUSTER), limits)
        }
    }

    pub(crate) fn finish(self) -> FileContents {
        self.contents
    }

    /// Reads a document; `other_reading` is the same one as YAML 1.1 has it.
    pub(crate) fn document(&mut self, value: Value, other_reading: Option<&Value>) {
        self.member(value, other_reading, None);
    }

    fn member(&mut self, mut value: Value, other_reading: Option<&Value>, list: Option<ListOf>) {
        let Value::Object(object) = &mut value else {
            let message = "is not an object; write apiVersion, kind, metadata and spec";
            self.report(
                &Header::default(),
                violation("", ViolationReason::WrongType, message),
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
        if header.kind.ends_with("List") && value.get("items").is_some() {
            self.list(value, other_reading, &header, depth);
            return;
        }
        let (group, version) = header
            .api_version
            .split_once('/')
            .unwrap_or(("", &header.api_version));
        match (group, version, header.kind.as_str()) {
            (GROUP, VERSION, "VaultNetworkPolicy" | "VirtualNetwork") => {
                let (key, result) = custom::read(&header.kind, value, other_reading, self.limits);
                self.keep(&header, key, result);
            }
            (GROUP, VERSION, "TrustedService" | "ServiceTag") => {
                let message = format!("{} is not supported yet; remove the object", header.kind);
                self.report(
                    &header,
                    violation("kind", ViolationReason::NotSupportedYet, message),
                );
            }
            (GROUP, VERSION, kind) => {
                let message = format!(
                    "{} is not a kind of {GROUP}; write VaultNetworkPolicy or VirtualNetwork",
                    quoted(kind)
                );
                self.report(
                    &header,
                    violation("kind", ViolationReason::UnknownKind, message),
                );
            }
            // A policy that is passed over because of a typing error would protect nothing.
            (_, _, "VaultNetworkPolicy") | (GROUP, _, _) | ("", GROUP, _) => {
                let message = format!(
                    "{} is not known; write {GROUP}/{VERSION}",
                    quoted(&header.api_version)
                );
                self.report(
                    &header,
                    violation("apiVersion", ViolationReason::UnknownKind, message),
                );
            }
            ("", "v1", "Namespace" | "Pod" | "ServiceAccount" | "Service") => {
                let (key, result) = fact::read(&header.kind, value);
                self.keep(&header, key, result);
            }
            _ => *self.contents.ignored.entry(header.kind).or_default() += 1,
        }
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
                self.report(&header, violation(field, reason, message));
            }
        }
        complete.then_some(header)
    }

    fn list(
        &mut self,
        mut value: Value,
        other_reading: Option<&Value>,
        header: &Header,
        depth: usize,
    ) {
        let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) else {
            self.report(
                header,
                violation("items", ViolationReason::WrongType, "is not a list"),
            );
            return;
        };
        if depth == MAX_LIST_DEPTH {
            self.report(
                header,
                violation(
                    "items",
                    ViolationReason::Invalid,
                    "Lists are nested too deeply",
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
            let other_reading = other_reading
                .and_then(|other| other.get("items"))
                .and_then(|items| items.get(index));
            self.member(item, other_reading, Some(list));
        }
    }

    fn keep(&mut self, header: &Header, key: Option<ObjectKey>, result: Result<Object, Refused>) {
        let object = match result {
            Ok(object) => Some(object),
            Err(refused) => {
                for found in refused.violations {
                    self.report(header, found);
                }
                refused.policy.map(Object::RefusedPolicy)
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
            namespace: self.of_cluster.then(|| header.namespace.clone()),
            name: header.name.clone(),
            field: found.field,
            reason: found.reason,
            message: found.message,
        });
    }
}
