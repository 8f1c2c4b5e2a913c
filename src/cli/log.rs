//! The log on stderr, and its filter in the variable `RUST_LOG`.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Variable of the filter.
const VARIABLE: &str = "RUST_LOG";
/// Filter without that variable. It drops the Kubernetes client's own lines on failed requests: ours have more detail.
const DEFAULT: &str = "info,kube_client::client::builder=off";

/// A part of `RUST_LOG` that is no filter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{VARIABLE}: \"{part}\" is no log level; write off, error, warn, info, debug or trace, or one of them for a \
     module, as in {VARIABLE}=info,vaultwall::xds=debug"
)]
pub(super) struct WrongFilter {
    part: String,
}

/// Logs to stderr, so that stdout has only the answer. Colours are used only on a terminal.
///
/// # Errors
///
/// `RUST_LOG` is no filter.
pub(super) fn start() -> Result<(), WrongFilter> {
    let text = std::env::var_os(VARIABLE).unwrap_or_default();
    let filter = filter(&text.to_string_lossy())?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // A line that cannot be written, because a terminal or the reader of a pipe is gone, is dropped: reporting that
        // would panic.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Reads a filter. A word alone is a level, or a module of this program: any other is most likely a misspelled level,
/// which the library takes for a module that logs nothing.
fn filter(text: &str) -> Result<EnvFilter, WrongFilter> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    if parts.iter().all(|part| part.is_empty()) {
        return Ok(EnvFilter::new(DEFAULT));
    }
    let is_filter = |part: &str| {
        let is_word = !part.contains(['=', '[', ']', '{', '}']);
        let is_ours = part == "vaultwall" || part.starts_with("vaultwall::");
        !is_word || is_ours || part.is_empty() || part.parse::<LevelFilter>().is_ok()
    };
    let wrong = parts.iter().find(|part| !is_filter(part));
    let wrong = wrong.map(|part| (*part).to_owned());
    let wrong = wrong.or_else(|| EnvFilter::try_new(text).err().map(|_| text.to_owned()));
    match wrong {
        Some(part) => Err(WrongFilter { part }),
        None => Ok(EnvFilter::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // a table
    fn a_misspelled_level_is_refused() {
        for (text, wrong) in [
            ("", None), (" ", None), ("debug", None), ("INFO", None), ("off", None), ("vaultwall", None),
            ("vaultwall::xds", None), ("info,vaultwall::xds=debug", None), ("hyper=trace,warn", None), ("debug,", None),
            ("vaultwall[request]=debug", None),
            ("debugg", Some("debugg")), ("info,verbose", Some("verbose")), ("hyper", Some("hyper")),
            ("vaultwall=debugg", Some("vaultwall=debugg")), ("info,vaultwall=all", Some("info,vaultwall=all")),
        ] {
            let found = filter(text).err().map(|error| error.part);
            assert_eq!(found.as_deref(), wrong, "{text}");
        }
    }
}
