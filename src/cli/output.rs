//! Where a subcommand's answer goes. It may not decide anything.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

/// Form of an answer.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs; the keys are a stable contract.
    Json,
}

/// The answer's way out.
///
/// A reader that goes away (`vaultwall crds | head`) is no error: what is written after that is dropped, and the exit
/// code is still the answer's.
pub struct Output {
    /// The form that the user asked for.
    pub format: Format,
    /// File name of the program as it was called: `vaultwall` or `kubectl-vaultwall`.
    pub called_as: String,
    writer: Box<dyn Write + Send>,
    reader_left: bool,
}

impl Output {
    /// Writes to stdout.
    pub fn stdout(format: Format, called_as: String) -> Self {
        Self::new(format, called_as, Box::new(io::stdout()))
    }

    /// Writes to `writer`.
    pub fn new(format: Format, called_as: String, writer: Box<dyn Write + Send>) -> Self {
        Self {
            format,
            called_as,
            writer,
            reader_left: false,
        }
    }

    /// Writes `text` as it is.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        if self.reader_left {
            return Ok(());
        }
        let written = self
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| self.writer.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_left = true;
                Ok(())
            }
            other => other,
        }
    }

    /// Writes `value` as indented JSON and a line end.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.text(&format!("{text}\n"))
    }

    /// Writes one YAML document an object.
    pub fn yaml(&mut self, objects: &[impl Serialize]) -> Result<(), super::Failure> {
        self.text(&yaml(objects)?)?;
        Ok(())
    }
}

/// One YAML document an object, as a stream.
pub(super) fn yaml(objects: &[impl Serialize]) -> Result<String, serde_saphyr::ser::Error> {
    objects
        .iter()
        .map(|object| Ok(format!("---\n{}", serde_saphyr::to_string(object)?)))
        .collect()
}

/// Says something on stderr. A closed stderr is nobody's loss.
pub(super) fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Says on stderr why a subcommand could not tell, with the causes.
pub(super) fn complain(error: &(dyn Error + 'static)) {
    say(&format!("vaultwall: {}\n", with_causes(error)));
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Many messages name their cause in the middle, before they say what to do; once is enough.
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
    fn a_cause_is_said_once() {
        let source = || io::Error::other("in use");
        for (error, said) in [
            (
                Example::NamesItsCause { source: source() },
                "cannot listen: in use; choose another port",
            ),
            (
                Example::DoesNot { source: source() },
                "cannot listen: in use",
            ),
        ] {
            assert_eq!(with_causes(&error), said);
        }
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
    fn a_reader_that_left_is_no_error() {
        let mut output = Output::new(Format::Text, "vaultwall".into(), Box::new(Closed));
        output.text("one").unwrap();
        assert!(output.reader_left);
        output.json(&1).unwrap();
    }
}
