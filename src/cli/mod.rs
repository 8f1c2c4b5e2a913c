//! The command line: one file a subcommand. This module parses, starts the subcommand and turns its answer into an exit
//! code; what a subcommand says is decided by the pure modules, never here.
//!
//! A subcommand is a `clap::Args` struct with `run(self, &mut Output) -> Outcome` and one line in [`Command`].

pub(crate) mod cluster;
mod completion;
mod controller;
mod crds;
mod explain;
mod output;
mod render;
mod serve;
mod validate;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use output::{Format, Output};

/// Name of the program.
const PROGRAM: &str = "vaultwall";
/// File name under which kubectl finds the program as a plugin, called `kubectl vaultwall`.
const KUBECTL_PLUGIN: &str = "kubectl-vaultwall";

/// What is logged without `RUST_LOG`. The client's own lines about failed requests would stand beside ours, which say more.
const DEFAULT_FILTER: &str = "info,kube_client::client::builder=off";

/// What a subcommand answered; the exit code that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Valid, allowed, equal, done: exit code 0.
    Yes,
    /// Invalid, denied, different: exit code 1.
    No,
}

/// Why a subcommand could not tell: exit code 2, and the error on stderr.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The end of a subcommand.
pub type Outcome = Result<Answer, Failure>;

/// Exit code of an error, also clap's own for wrong usage.
const COULD_NOT_TELL: u8 = 2;

/// The network firewall of Azure Key Vault for a vault on Kubernetes.
#[derive(Parser, Debug)]
#[command(
    name = PROGRAM,
    version,
    after_help = "Exit codes: 0 yes (valid, allowed, equal), 1 no (invalid, denied, differs), 2 could not tell.\n\
                  Logs go to stderr; RUST_LOG chooses them, for example RUST_LOG=vaultwall=debug."
)]
struct Cli {
    /// Form of what is printed on stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Completion(completion::Completion),
    Controller(Box<controller::Controller>),
    Crds(crds::Crds),
    Explain(Box<explain::Explain>),
    Render(render::Render),
    Serve(serve::Serve),
    Validate(validate::Validate),
}

impl Command {
    fn run(self, output: &mut Output) -> Outcome {
        match self {
            Self::Completion(command) => command.run(output),
            Self::Controller(command) => command.run(output),
            Self::Crds(command) => command.run(output),
            Self::Explain(command) => command.run(output),
            Self::Render(command) => command.run(output),
            Self::Serve(command) => command.run(output),
            Self::Validate(command) => command.run(output),
        }
    }
}

/// Runs the program: the arguments of this process, stdout for answers, stderr for logs and errors.
pub fn main() -> ExitCode {
    let called_as = called_as();
    let arguments = match parser(&called_as)
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(arguments) => arguments,
        // Prints help and version on stdout (0) and wrong usage on stderr (2).
        Err(error) => error.exit(),
    };
    start_logging();
    let mut output = Output::stdout(arguments.output, called_as);
    match arguments.command.run(&mut output) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::FAILURE,
        Err(error) => {
            output::complain(error.as_ref());
            ExitCode::from(COULD_NOT_TELL)
        }
    }
}

/// The parser, with the name that the user typed in its help.
fn parser(called_as: &str) -> clap::Command {
    let parser = Cli::command();
    if called_as == KUBECTL_PLUGIN {
        parser.bin_name("kubectl vaultwall")
    } else {
        parser.bin_name(PROGRAM)
    }
}

/// File name of this program as it was called; anything but the plugin's name counts as the program's own.
fn called_as() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    match Path::new(&path).file_stem().and_then(|name| name.to_str()) {
        Some(KUBECTL_PLUGIN) => KUBECTL_PLUGIN.to_owned(),
        _ => PROGRAM.to_owned(),
    }
}

/// Logs to stderr, so that stdout holds the answer alone. Colours only for a terminal.
fn start_logging() {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_consistent() {
        parser(PROGRAM).debug_assert();
    }

    #[test]
    fn as_a_plugin_the_help_says_kubectl() {
        let help = parser(KUBECTL_PLUGIN).render_help().to_string();
        assert!(help.contains("Usage: kubectl vaultwall"), "{help}");
    }
}
