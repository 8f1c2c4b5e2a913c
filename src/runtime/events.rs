//! Kubernetes events about objects. Events are for people, so a failed write need not be retried.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::runtime::leader::Term;
use crate::runtime::operations::Metrics;
use crate::runtime::write::{WriteError, write};

/// Type of an event, as Kubernetes names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A normal state.
    Normal,
    /// A state that needs attention.
    Warning,
}

/// Content of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// Type of the event.
    pub kind: EventKind,
    /// Reason in upper camel case, for example that of a condition.
    pub reason: String,
    /// Step of the operator, for example `Validate`.
    pub action: &'static str,
    /// State and remedy, in one line.
    pub note: String,
}

/// Writer of events.
pub(crate) struct EventWriter {
    recorder: Recorder,
    metrics: Arc<Metrics>,
}

impl EventWriter {
    /// Creates the writer. `reporter` is the name of the program, `instance` that of this replica.
    pub(crate) fn new(
        client: Client,
        reporter: &str,
        instance: &str,
        metrics: Arc<Metrics>,
    ) -> Self {
        let reporter = Reporter {
            controller: reporter.to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            metrics,
        }
    }

    /// Writes an event about an object.
    pub(crate) async fn write(
        &self,
        term: &Term,
        regarding: &ObjectReference,
        note: EventNote,
    ) -> Result<(), WriteError> {
        let event = Event {
            type_: match note.kind {
                EventKind::Normal => EventType::Normal,
                EventKind::Warning => EventType::Warning,
            },
            reason: note.reason,
            note: Some(note.note),
            action: note.action.to_owned(),
            secondary: None,
        };
        let request = self.recorder.publish(&event, regarding);
        write(term, &self.metrics, "Event", request).await
    }
}
