//! The command line: one file for each subcommand. This module parses the arguments, runs the subcommand and turns its
//! answer into an exit code. The pure modules decide the answers, never this one.
//!
//! A subcommand is a `clap::Args` struct with `run(self, &mut Output) -> Outcome` and one line in [`Command`].

mod addresses;
mod arguments;
mod cluster;
mod completion;
mod controller;
mod crds;
mod denials;
mod diff;
mod explain;
mod log;
mod outcome;
mod output;
mod process;
mod records;
mod render;
mod serve;
mod trusted;
mod unknown_vault;
mod validate;

use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use outcome::{Answer, Outcome};
use output::{Format, Output};

/// Name of the program's file.
const PROGRAM: &str = "vaultwall";
/// Name of the program's file as a kubectl plugin, which users start as `kubectl vaultwall`.
const KUBECTL_PLUGIN: &str = "kubectl-vaultwall";

/// Exit code of an error; clap uses the same for wrong usage.
const ERROR: u8 = 2;

/// The network firewall of Azure Key Vault for a vault on Kubernetes.
#[derive(Parser, Debug)]
#[command(
    name = PROGRAM,
    version,
    after_help = "Exit codes: 0 yes (valid, allowed), 1 no (invalid, denied), 2 error.\n\
                  Logs go to stderr; RUST_LOG filters them, for example RUST_LOG=vaultwall=debug."
)]
struct Cli {
    /// Format of the answer on stdout.
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
    Denials(denials::Denials),
    Diff(Box<diff::Diff>),
    Explain(Box<explain::Explain>),
    Render(render::Render),
    Serve(serve::Serve),
    Trusted(trusted::Trusted),
    Validate(validate::Validate),
}

impl Command {
    /// Runs the subcommand; `name` is the file name under which the program was started.
    fn run(self, output: &mut Output, name: &str) -> Outcome {
        match self {
            Self::Completion(command) => command.run(output, parser(name), name),
            Self::Controller(command) => command.run(output),
            Self::Crds(command) => command.run(output),
            Self::Denials(command) => command.run(output),
            Self::Diff(command) => command.run(output),
            Self::Explain(command) => command.run(output),
            Self::Render(command) => command.run(output),
            Self::Serve(command) => command.run(output),
            Self::Trusted(command) => command.run(output),
            Self::Validate(command) => command.run(output),
        }
    }
}

/// Runs the program with the arguments of this process. Answers go to stdout, logs and errors to stderr.
pub fn main() -> ExitCode {
    let name = file_name();
    let arguments = match parser(name)
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(arguments) => arguments,
        // Prints help and version on stdout (0) and wrong usage on stderr (2).
        Err(error) => with_tip(error, &parser(name)).exit(),
    };
    if let Err(error) = log::start() {
        output::error(&error);
        return ExitCode::from(ERROR);
    }
    let mut output = Output::stdout(arguments.output);
    match arguments.command.run(&mut output, name) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::FAILURE,
        Err(error) => {
            output::error(error.as_ref());
            ExitCode::from(ERROR)
        }
    }
}

/// Adds the command to write to the error about a path without `-f`.
fn with_tip(mut error: clap::Error, parser: &clap::Command) -> clap::Error {
    let Some(ContextValue::String(path)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let subcommand = std::env::args().find_map(|name| parser.find_subcommand(name));
    let reads_files = |command: &&clap::Command| {
        let mut flags = command.get_arguments();
        flags.any(|flag| flag.get_short() == Some('f') && flag.get_action().takes_values())
    };
    if error.kind() == ErrorKind::UnknownArgument
        && !path.starts_with('-')
        && let Some(command) = subcommand.filter(reads_files)
    {
        let program = parser.get_bin_name().unwrap_or(PROGRAM);
        let tip = format!(
            "files are given with -f: {program} {} -f {path}",
            command.get_name()
        );
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
    error
}

/// The parser; its help shows the command that the user typed.
fn parser(name: &str) -> clap::Command {
    let parser = Cli::command();
    if name == KUBECTL_PLUGIN {
        parser.bin_name("kubectl vaultwall")
    } else {
        parser.bin_name(PROGRAM)
    }
}

/// File name under which this program was started; any name except the plugin's counts as the program's own.
fn file_name() -> &'static str {
    let path = std::env::args_os().next().unwrap_or_default();
    match Path::new(&path).file_stem().and_then(|name| name.to_str()) {
        Some(KUBECTL_PLUGIN) => KUBECTL_PLUGIN,
        _ => PROGRAM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_consistent() {
        parser(PROGRAM).debug_assert();
    }

    #[test]
    fn the_help_of_the_plugin_names_kubectl() {
        let help = parser(KUBECTL_PLUGIN).render_help().to_string();
        assert!(help.contains("Usage: kubectl vaultwall"), "{help}");
    }
}
