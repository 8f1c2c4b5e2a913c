//! Output of a subcommand: stdout for answers, stderr for messages. It decides nothing.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::outcome::Failure;

/// Format of an answer, for `--output`.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs; the keys are a stable contract.
    Json,
}

/// Writer of an answer.
///
/// A reader that closes the pipe early (`vaultwall crds | head`) is no error: further output is dropped, and the exit
/// code stays the answer's.
pub(crate) struct Output {
    /// Value of `--output`.
    pub(crate) format: Format,
    writer: Box<dyn Write + Send>,
    closed: bool,
}

impl Output {
    /// Writes to stdout.
    pub(crate) fn stdout(format: Format) -> Self {
        Self::new(format, Box::new(io::stdout()))
    }

    fn new(format: Format, writer: Box<dyn Write + Send>) -> Self {
        Self {
            format,
            writer,
            closed: false,
        }
    }

    /// Writes a text for people. Texts of clients and files are parts of many, so everything is escaped that could
    /// steer a terminal or reorder what it shows.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.write(&printable(text))
    }

    /// Writes `text` as it is.
    fn write(&mut self, text: &str) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let written = self
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| self.writer.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }

    /// Writes `value` as indented JSON and a line end.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.write(&format!("{text}\n"))
    }

    /// Writes `value` as JSON on one line.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value)?;
        self.write(&format!("{text}\n"))
    }

    /// Whether nobody reads the output any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes a YAML document for each object.
    pub(crate) fn yaml(&mut self, objects: &[impl Serialize]) -> Result<(), Failure> {
        self.write(&yaml(objects)?)?;
        Ok(())
    }
}

/// The text with control characters escaped, except tabs and line ends, and also those that change the direction.
fn printable(text: &str) -> String {
    let steers = |character: char| {
        (character.is_control() && !matches!(character, '\n' | '\t'))
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// A YAML document for each object, as a stream.
pub(super) fn yaml(objects: &[impl Serialize]) -> Result<String, serde_saphyr::ser::Error> {
    objects
        .iter()
        .map(|object| Ok(format!("---\n{}", serde_saphyr::to_string(object)?)))
        .collect()
}

/// Writes a message to stderr. A closed stderr is no error.
pub(super) fn message(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes the error of a subcommand to stderr, with its causes.
pub(super) fn error(error: &(dyn Error + 'static)) {
    message(&format!("vaultwall: {}\n", with_causes(error)));
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Many messages already contain their cause.
        let text = error.to_string();
        if !message.contains(&text) {
            let _ = write!(message, ": {text}");
        }
        cause = error.source();
    }
    message
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Example {
        #[error("cannot listen: {source}; choose another port")]
        NamesItsCause { source: io::Error },
        #[error("cannot listen")]
        DoesNot { source: io::Error },
    }

    #[test]
    fn a_cause_is_printed_once() {
        let source = || io::Error::other("in use");
        for (error, printed) in [
            (
                Example::NamesItsCause { source: source() },
                "cannot listen: in use; choose another port",
            ),
            (
                Example::DoesNot { source: source() },
                "cannot listen: in use",
            ),
        ] {
            assert_eq!(with_causes(&error), printed);
        }
    }

    #[test]
    fn no_text_steers_the_terminal() {
        assert_eq!(printable("é a\tb\n"), "é a\tb\n");
        let hostile = "\u{1b}[2J\u{9b}\r\u{202e}\u{2066}";
        assert_eq!(printable(hostile), hostile.escape_default().to_string());
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let mut output = Output::new(Format::Text, Box::new(Closed));
        output.text("one").unwrap();
        assert!(output.closed);
        output.json(&1).unwrap();
    }
}
