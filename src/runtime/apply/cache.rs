//! Cache of the generated objects that exist. It follows the watches and the answers of writes, and makes no request
//! itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kube::api::DynamicObject;
use serde_json::Value;

use super::content::{self, Found, Owner};
use super::corrections::Corrections;
use super::kind::GeneratedKind;
use crate::index::ObjectName;
use crate::policy::VaultId;

/// Part of an object that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangedPart {
    /// Content of an object of this kind, or whether it exists.
    Content(GeneratedKind),
    /// Whether its pods become ready.
    Readiness,
}

/// Change of a generated object that its vault's reconciler must handle.
pub(crate) type Changed = (VaultId, ChangedPart);

/// Generated objects by kind and name.
#[derive(Debug, Default)]
pub(super) struct Cache {
    found: Mutex<BTreeMap<(GeneratedKind, ObjectName), Found>>,
}

impl Cache {
    fn found(&self) -> MutexGuard<'_, BTreeMap<(GeneratedKind, ObjectName), Found>> {
        // The map is consistent after every statement, so a poisoned lock can be used.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an object, unless a newer version is stored: the answer of a write may be newer than a watch event, or
    /// older.
    pub(super) fn apply(&self, kind: GeneratedKind, object: DynamicObject) -> Option<Changed> {
        let (name, mut new) = content::read(object)?;
        let vault = new.vault.clone();
        let mut found = self.found();
        let known = found.get(&(kind, name.clone()));
        if known.is_some_and(|known| known.version >= new.version) {
            return None;
        }
        let changed = match known {
            Some(known) if known.content == new.content => {
                (known.stalled != new.stalled).then_some(ChangedPart::Readiness)
            }
            _ => Some(ChangedPart::Content(kind)),
        };
        new.answer = known.and_then(|known| known.answer.clone());
        new.corrections = known.and_then(|known| known.corrections);
        found.insert((kind, name), new);
        Some((vault?, changed?))
    }

    /// Marks an object as deleted, by a deletion of this version or by a list without it.
    pub(super) fn delete(
        &self,
        kind: GeneratedKind,
        name: &ObjectName,
        version: Option<u64>,
    ) -> Option<Changed> {
        let mut found = self.found();
        let known = found.get_mut(&(kind, name.clone()))?;
        known.version = version.unwrap_or(known.version).max(known.version);
        known.matched = None;
        known.answer = None;
        known.stalled = None;
        let existed = known.content.take().is_some();
        let vault = known.vault.clone().filter(|_| existed)?;
        Some((vault, ChangedPart::Content(kind)))
    }

    /// Marks the objects of a kind that are not in a list as deleted.
    pub(super) fn retain(
        &self,
        kind: GeneratedKind,
        listed: &BTreeSet<ObjectName>,
    ) -> Vec<Changed> {
        let missing: Vec<ObjectName> = self
            .found()
            .keys()
            .filter(|(of, name)| *of == kind && !listed.contains(name))
            .map(|(_, name)| name.clone())
            .collect();
        let deleted = missing.iter();
        deleted
            .filter_map(|name| self.delete(kind, name, None))
            .collect()
    }

    /// Returns an object without status and bookkeeping.
    pub(super) fn get(&self, kind: GeneratedKind, name: &ObjectName) -> Option<Value> {
        self.found().get(&(kind, name.clone()))?.value()
    }

    /// Returns all objects of a vault of these kinds.
    pub(super) fn of_vault(
        &self,
        vault: &VaultId,
        kinds: &[GeneratedKind],
    ) -> Vec<(GeneratedKind, ObjectName, Value)> {
        let found = self.found();
        let in_namespace = kinds.iter().flat_map(|kind| {
            let first = ObjectName {
                namespace: vault.namespace.clone(),
                name: String::new(),
            };
            found
                .range((*kind, first)..)
                .take_while(move |((of, name), _)| of == kind && name.namespace == vault.namespace)
        });
        in_namespace
            .filter(|(_, found)| found.vault.as_ref() == Some(vault))
            .filter_map(|((kind, name), found)| Some((*kind, name.clone(), found.value()?)))
            .collect()
    }

    /// Returns the message of a Deployment's condition if its newest pods do not become ready.
    pub(super) fn stalled(&self, deployment: &ObjectName) -> Option<Box<str>> {
        let found = self.found();
        let found = found.get(&(GeneratedKind::Deployment, deployment.clone()))?;
        found.stalled.clone()
    }

    /// Whether an object exists.
    pub(super) fn exists(&self, kind: GeneratedKind, name: &ObjectName) -> bool {
        let found = self.found();
        let found = found.get(&(kind, name.clone()));
        found.is_some_and(|found| found.content.is_some())
    }

    /// Whether an object exists in its desired form: as desired, or as the API server answered the last write of that
    /// form. `signature` identifies the form, so that an unchanged object is compared once.
    pub(super) fn is_as_desired(
        &self,
        kind: GeneratedKind,
        name: &ObjectName,
        desired: &Value,
        signature: &str,
        owner: &Owner,
    ) -> bool {
        let mut found = self.found();
        let Some(found) = found.get_mut(&(kind, name.clone())) else {
            return false;
        };
        if found.matched.as_deref() == Some(signature) {
            return true;
        }
        let matches = found.value().is_some_and(|value| {
            let is_answer = || {
                let answer = content::answer_of(kind, signature, &value);
                found.answer == Some(answer)
            };
            content::has_metadata(&value, desired, owner)
                && (content::correction(kind, &value, desired).is_none() || is_answer())
        });
        found.matched = matches.then(|| signature.to_owned());
        matches
    }

    /// Counts a correction of an object; false if there were too many in the last minute.
    pub(super) fn may_correct(&self, kind: GeneratedKind, name: &ObjectName, now: Instant) -> bool {
        let mut found = self.found();
        let Some(found) = found.get_mut(&(kind, name.clone())) else {
            return true;
        };
        let corrections = found.corrections.get_or_insert(Corrections::new(now));
        corrections.next(now)
    }

    /// Stores the answer to a write of the desired form that has more than that form: fields that this version of the
    /// API server adds, or that admission sets.
    pub(super) fn set_answer(&self, kind: GeneratedKind, name: &ObjectName, answer: String) {
        if let Some(found) = self.found().get_mut(&(kind, name.clone())) {
            found.answer = Some(answer);
        }
    }
}
