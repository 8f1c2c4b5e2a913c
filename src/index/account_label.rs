//! The label of service accounts on pods: those that have to be set.

use std::collections::{BTreeMap, BTreeSet};

use super::ObjectName;
use crate::policy::AccountLabels;

/// A label that a pod must have and has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelCorrection {
    /// Unique id of the pod.
    pub uid: Option<String>,
    /// Value of the label.
    pub value: String,
    /// Value that the pod has, of another service account; `None` without the label.
    pub wrong: Option<String>,
}

/// Labels of pods. In files nobody sets them, and they are taken as set.
#[derive(Debug, Default)]
pub(super) struct LabelIndex {
    pub(super) guard: AccountLabels,
    pub(super) corrections: BTreeMap<ObjectName, LabelCorrection>,
    /// Pods with the label of another service account.
    pub(super) wrong: BTreeSet<ObjectName>,
    /// Pods whose correction has changed.
    pub(super) changed: BTreeSet<ObjectName>,
    /// Whether the operator sets the label.
    pub(super) is_kept: bool,
}
