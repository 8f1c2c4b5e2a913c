//! The label of service accounts on pods: those that have to be set.

use std::collections::{BTreeMap, BTreeSet};

use super::ObjectName;
use crate::policy::{AccountLabels, account_label_value};

/// A label that a pod must have and has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelCorrection {
    /// Unique id of the pod.
    pub uid: Option<String>,
    /// Value of the label; `None` on a pod without a service account, which has no label.
    pub value: Option<String>,
    /// Value that the pod has, of another service account; `None` without the label.
    pub wrong: Option<String>,
}

impl LabelCorrection {
    /// Correction of a label that does not name the pod's service account. An empty name: the pod has none.
    pub(super) fn of_wrong(
        uid: Option<&String>,
        account: &str,
        label: Option<&String>,
    ) -> Option<Self> {
        let value = (!account.is_empty()).then(|| account_label_value(account));
        let wrong = label.filter(|label| Some(*label) != value.as_ref())?;
        Some(Self {
            uid: uid.cloned(),
            value,
            wrong: Some(wrong.clone()),
        })
    }
}

/// Labels of pods. In files nobody sets them, and they are taken as set.
#[derive(Debug, Default)]
pub(super) struct LabelIndex {
    pub(super) guard: AccountLabels,
    pub(super) corrections: BTreeMap<ObjectName, LabelCorrection>,
    /// Corrections of wrong labels on pods that rules cannot select yet.
    pub(super) not_counted: BTreeMap<ObjectName, LabelCorrection>,
    /// Pods with the label of another service account.
    pub(super) wrong: BTreeSet<ObjectName>,
    /// Pods whose correction has changed.
    pub(super) changed: BTreeSet<ObjectName>,
    /// Whether the operator sets the label.
    pub(super) is_kept: bool,
}
