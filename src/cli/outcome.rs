//! Results of a subcommand.

use std::error::Error;

/// A subcommand's answer; it decides the exit code that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Valid, allowed, done: exit code 0.
    Yes,
    /// Invalid, denied: exit code 1.
    No,
}

/// Reason why a subcommand has no answer: exit code 2, and the error on stderr.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// The answer of a subcommand, or the error that prevented it.
pub(crate) type Outcome = Result<Answer, Failure>;
