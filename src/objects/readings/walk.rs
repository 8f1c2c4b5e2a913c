//! Keys and values with two readings, found in the events of the YAML parser, because the values themselves no longer
//! show how they were written.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, options};

use super::TwoReadings;
use super::plain::{self, Plain};
use crate::policy::{Violation, ViolationReason, field_of, quoted};

/// Findings of one document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings {
    pub(crate) findings: Vec<Finding>,
    /// Whether a value of it stands for another place as well.
    pub(crate) has_aliases: bool,
}

/// One spelling with two readings.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// From the document, or from the member of a List, to the value.
    pub(crate) place: Vec<Place>,
    line: usize,
    message: String,
    /// Whether it can make other fields of the object appear or disappear.
    pub(crate) is_structural: bool,
}

/// One step to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Key(String),
    Index(usize),
}

impl Finding {
    /// The finding as a violation of the object.
    pub(crate) fn violation(&self) -> Violation {
        let field = self
            .place
            .iter()
            .fold(String::new(), |field, place| match place {
                Place::Key(key) => field_of(&field, key),
                Place::Index(index) => format!("{field}[{index}]"),
            });
        let message = format!("line {}: {}", self.line, self.message);
        Violation::new(field, ViolationReason::Ambiguous, message)
    }
}

/// A collection around the current event.
enum Open {
    Mapping { entries: usize, key: Option<String> },
    Sequence { next: usize },
}

#[derive(Default)]
struct Walk {
    documents: Vec<Readings>,
    current: Readings,
    /// Whether the current document has a value.
    has_value: bool,
    open: Vec<Open>,
}

/// Walks through a file that the parser of values has accepted.
pub(super) fn documents(text: &str) -> Result<Vec<Readings>, TwoReadings> {
    let mut walk = Walk::default();
    let settings = options! { disallow_directives: true, emit_comments: false };
    let mut started = 0_usize;
    for event in Parser::new_from_str_with_options(text, settings) {
        let (event, span) = event.map_err(|error| TwoReadings {
            line: error.marker().line(),
            problem: format!("{error}; remove directives (%) and write plain YAML"),
        })?;
        let line = span.start.line();
        match event {
            Event::DocumentStart(explicit, _) => {
                started += 1;
                if started > 1 && !explicit {
                    return Err(TwoReadings {
                        line,
                        problem: "kubectl drops what follows ... up to the next ---; write --- before it, or remove \
                                  the line with ..."
                            .to_owned(),
                    });
                }
            }
            Event::DocumentEnd => walk.end_document(),
            Event::Scalar(text, style, _, tag) => {
                walk.tag(line, tag.is_some());
                walk.scalar(
                    line,
                    &text,
                    matches!(style, ScalarStyle::Plain) && tag.is_none(),
                );
            }
            Event::Alias(_) => {
                walk.current.has_aliases = true;
                walk.collection(line);
                walk.leave();
            }
            Event::MappingStart(_, _, tag) => {
                walk.tag(line, tag.is_some());
                walk.collection(line);
                walk.open.push(Open::Mapping {
                    entries: 0,
                    key: None,
                });
            }
            Event::SequenceStart(_, _, tag) => {
                walk.tag(line, tag.is_some());
                walk.collection(line);
                walk.open.push(Open::Sequence { next: 0 });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                walk.open.pop();
                walk.leave();
            }
            _ => {}
        }
    }
    Ok(walk.documents)
}

impl Walk {
    fn end_document(&mut self) {
        let document = std::mem::take(&mut self.current);
        if std::mem::take(&mut self.has_value) {
            self.documents.push(document);
        }
    }

    /// Takes a scalar; `is_plain` if it has neither quotes nor a tag.
    fn scalar(&mut self, line: usize, text: &str, is_plain: bool) {
        if self.open.is_empty() {
            // The reader of values leaves out empty documents.
            self.has_value = !(is_plain && ["", "~", "null", "Null", "NULL"].contains(&text));
        }
        if let Some(Open::Mapping { entries, key }) = self.open.last_mut()
            && key.is_none()
        {
            let first = *entries == 0;
            *entries += 1;
            *key = Some(text.to_owned());
            self.key(line, text, is_plain, first);
            return;
        }
        let message = match plain::reading(text) {
            _ if !is_plain => None,
            Plain::Text | Plain::Other => None,
            Plain::Word => Some(format!(
                "{} without quotes is a boolean for kubectl and a text for others; write true or false where a \
                 boolean is meant, and put a text in quotes",
                quoted(text)
            )),
            Plain::Number => Some(format!(
                "{} without quotes is not the same for kubectl, which may read it as an octal number; put a text in \
                 quotes, and write a number in decimal digits without leading zeros, + or _",
                quoted(text)
            )),
        };
        if let Some(message) = message {
            self.find(line, message, false);
        }
        self.leave();
    }

    fn key(&mut self, line: usize, text: &str, is_plain: bool, first: bool) {
        let message = if text == "<<" {
            if is_plain && first {
                return;
            }
            "kubectl lets << override the fields before it, and others do not; write << as the first key, without \
             quotes, or write the fields themselves"
                .to_owned()
        } else if is_plain && plain::reading(text) != Plain::Text {
            format!(
                "the key {} without quotes becomes another key for kubectl, as a number, a boolean or null; put it in \
                 quotes",
                quoted(text)
            )
        } else {
            return;
        };
        self.find(line, message, true);
    }

    /// Takes the start of a collection, or an alias.
    fn collection(&mut self, line: usize) {
        self.has_value = true;
        if let Some(Open::Mapping { entries, key }) = self.open.last_mut()
            && key.is_none()
        {
            *entries += 1;
            *key = Some("?".to_owned());
            let message =
                "a key must be a text; write the text itself, without an alias, list or object";
            self.find(line, message.to_owned(), true);
        }
    }

    /// Takes a tag, before its value.
    fn tag(&mut self, line: usize, has_tag: bool) {
        if has_tag {
            let message =
                "a tag (!) changes how the value is read; remove it, and put a text in quotes";
            self.find(line, message.to_owned(), true);
        }
    }

    /// Steps from a value to the next key or entry.
    fn leave(&mut self) {
        match self.open.last_mut() {
            Some(Open::Mapping { key, .. }) => *key = None,
            Some(Open::Sequence { next }) => *next += 1,
            None => {}
        }
    }

    fn find(&mut self, line: usize, message: String, is_structural: bool) {
        let place = self.open.iter().filter_map(|open| match open {
            Open::Mapping { key, .. } => key.clone().map(Place::Key),
            Open::Sequence { next } => Some(Place::Index(*next)),
        });
        let finding = Finding {
            place: place.collect(),
            line,
            message,
            is_structural,
        };
        self.current.findings.push(finding);
    }
}
