//! Keys and values with two readings, found in the events of the YAML parser, because the values themselves no longer
//! show how they were written.

use serde::de::IgnoredAny;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, StructureStyle, options};

use super::plain::{self, Plain};
use super::{TwoReadings, text};
use crate::policy::{Violation, ViolationReason, field_of, quoted};

/// Scalars that are null without quotes.
const NULLS: [&str; 5] = ["", "~", "null", "Null", "NULL"];

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
struct Open {
    is_flow: bool,
    entries: usize,
    of: Entries,
}

impl Open {
    /// Whether the next value is that of a merge key.
    fn merges(&self) -> bool {
        matches!(&self.of, Entries::Keyed(Some(key)) if key == "<<")
    }
}

enum Entries {
    /// Of a mapping: the key whose value comes next.
    Keyed(Option<String>),
    Listed,
}

/// A scalar as it is written.
struct Scalar<'a> {
    line: usize,
    value: &'a str,
    /// Without quotes and tag.
    is_plain: bool,
    has_line_breaks: bool,
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
pub(super) fn documents(file: &str) -> Result<Vec<Readings>, TwoReadings> {
    let mut walk = Walk::default();
    let settings = options! {
        disallow_directives: true,
        emit_anchor_events: true,
        emit_comments: false,
    };
    let is_json = serde_json::from_str::<IgnoredAny>(file).is_ok();
    let mut started = 0_usize;
    let mut scalars = Vec::new();
    for event in Parser::new_from_str_with_options(file, settings) {
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
            Event::Scalar(value, style, _, tag) => {
                walk.tag(line, tag.is_some());
                let written = span.slice(file).unwrap_or_default();
                scalars.extend(span.byte_range());
                if style == ScalarStyle::DoubleQuoted && !is_json {
                    walk.escapes(line, written);
                }
                if style == ScalarStyle::Plain && walk.in_flow() && written.contains('?') {
                    let message = "kubectl does not take ? without quotes inside [] and {}; put the text in quotes";
                    walk.find(line, message.to_owned(), true);
                }
                walk.scalar(&Scalar {
                    line,
                    value: &value,
                    is_plain: style == ScalarStyle::Plain && tag.is_none(),
                    has_line_breaks: written.contains('\n'),
                });
            }
            Event::Anchor(_, name) => walk.anchor(line, &name),
            Event::Alias(_) => {
                walk.current.has_aliases = true;
                walk.collection(line);
                walk.leave();
            }
            Event::MappingStart(style, _, tag) => {
                walk.tag(line, tag.is_some());
                walk.collection(line);
                walk.enter(style, Entries::Keyed(None));
            }
            Event::SequenceStart(style, _, tag) => {
                walk.tag(line, tag.is_some());
                walk.collection(line);
                walk.enter(style, Entries::Listed);
            }
            Event::MappingEnd | Event::SequenceEnd => {
                walk.open.pop();
                walk.leave();
            }
            _ => {}
        }
    }
    if !is_json {
        text::check_tabs(file, &scalars)?;
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

    fn enter(&mut self, style: StructureStyle, of: Entries) {
        self.open.push(Open {
            is_flow: style == StructureStyle::Flow,
            entries: 0,
            of,
        });
    }

    fn in_flow(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_flow)
    }

    /// Returns the place of the key that comes next, with the number of keys before it, if a key comes next.
    fn next_key(&mut self) -> Option<(&mut Option<String>, usize)> {
        let open = self.open.last_mut()?;
        match &mut open.of {
            Entries::Keyed(key @ None) => {
                let before = open.entries;
                open.entries += 1;
                Some((key, before))
            }
            Entries::Keyed(Some(_)) | Entries::Listed => None,
        }
    }

    fn scalar(&mut self, scalar: &Scalar) {
        if self.open.is_empty() {
            // The reader of values leaves out empty documents.
            self.has_value = !(scalar.is_plain && NULLS.contains(&scalar.value));
        }
        if let Some((key, before)) = self.next_key() {
            *key = Some(scalar.value.to_owned());
            self.key(scalar, before == 0);
            return;
        }
        let is_list = |open: &&Open| matches!(open.of, Entries::Listed);
        let outside_lists = self.open.iter().rev().find(|open| !is_list(open));
        if outside_lists.is_some_and(Open::merges) {
            let message = "kubectl merges objects alone; write an object or a list of objects, or remove the key";
            self.find(scalar.line, message.to_owned(), true);
        }
        let reading = if scalar.is_plain {
            plain::reading(scalar.value)
        } else {
            Plain::Text
        };
        let shown = quoted(scalar.value);
        let message = match reading {
            Plain::Text | Plain::Other => None,
            Plain::Word => Some(format!(
                "{shown} without quotes is a boolean for kubectl and a text for others; write true or false where a \
                 boolean is meant, and put a text in quotes"
            )),
            Plain::Number => Some(format!(
                "{shown} without quotes is not the same for kubectl, which may read it as an octal number; put a text \
                 in quotes, and write a number in decimal digits without leading zeros, + or _"
            )),
        };
        if let Some(message) = message {
            self.find(scalar.line, message, false);
        }
        self.leave();
    }

    fn key(&mut self, key: &Scalar, is_first: bool) {
        let shown = quoted(key.value);
        let message = if key.has_line_breaks {
            format!(
                "kubectl does not take the key {shown} over several lines; write it on one line"
            )
        } else if key.value == "<<" {
            if key.is_plain && is_first {
                return;
            }
            "kubectl lets << override the fields before it, and others do not; write << as the first key, without \
             quotes, or write the fields themselves"
                .to_owned()
        } else if key.is_plain && plain::reading(key.value) != Plain::Text {
            format!(
                "the key {shown} without quotes becomes another key for kubectl, as a number, a boolean or null; put \
                 it in quotes"
            )
        } else {
            return;
        };
        self.find(key.line, message, true);
    }

    /// Takes a text in double quotes as it is written, in YAML that is not JSON.
    fn escapes(&mut self, line: usize, written: &str) {
        let mut characters = written.chars();
        while let Some(character) = characters.next() {
            if character == '\\' && characters.next() == Some('/') {
                let message = "kubectl does not know the escape \\/; write / alone";
                self.find(line, message.to_owned(), false);
                return;
            }
        }
    }

    /// Takes the start of a collection, or an alias.
    fn collection(&mut self, line: usize) {
        self.has_value = true;
        if let Some((key, _)) = self.next_key() {
            *key = Some("?".to_owned());
            let message =
                "a key must be a text; write the text itself, without an alias, list or object";
            self.find(line, message.to_owned(), true);
        }
    }

    /// Takes the name of an anchor.
    fn anchor(&mut self, line: usize, name: &str) {
        let is_known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !name.chars().all(is_known) {
            let message = format!(
                "kubectl does not take the anchor {}; write letters, digits, - and _",
                quoted(name)
            );
            self.find(line, message, true);
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
            Some(Open {
                of: Entries::Keyed(key),
                ..
            }) => *key = None,
            Some(Open { entries, .. }) => *entries += 1,
            None => {}
        }
    }

    fn find(&mut self, line: usize, message: String, is_structural: bool) {
        let place = self.open.iter().filter_map(|open| match &open.of {
            Entries::Keyed(key) => key.clone().map(Place::Key),
            Entries::Listed => Some(Place::Index(open.entries)),
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
