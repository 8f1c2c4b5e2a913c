//! Search for tokens in everything that a test run writes: logs of all programs, access logs, statuses and events.
//!
//! Tokens that the tests choose contain [`MARK`]; those that a vault generates are recognised by their form. A log with
//! one of them fails the test that ends its process.

use std::fs;
use std::path::Path;

/// Part of every token that the tests choose. `dev/run-tests` searches for it as well.
pub const MARK: &str = "never-to-be-logged";
/// Beginnings of tokens that a vault generates, and the least number of letters and digits after them.
const GENERATED: [&str; 2] = ["s.", "b."];
const LEAST: usize = 24;

/// Returns the part of a text that begins with a token, if it contains one.
pub fn find(text: &str) -> Option<&str> {
    let generated = GENERATED.iter().flat_map(|start| {
        text.match_indices(start).filter_map(|(at, _)| {
            let before = text[..at].strip_suffix("hv").unwrap_or(&text[..at]);
            let is_word = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let rest = &text[at + start.len()..];
            let length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
            (!is_word && length >= LEAST).then_some(at)
        })
    });
    let at = text.find(MARK).into_iter().chain(generated).min()?;
    Some(&text[at..])
}

/// Checks that a text contains no token.
///
/// # Panics
///
/// If it contains one, with what is in front of it in the same line.
pub fn assert_absent(what: &str, text: &str) {
    if let Some(found) = find(text) {
        let before = &text[..text.len() - found.len()];
        let line = before.rsplit('\n').next().unwrap_or_default();
        panic!("{what} contains a token: {line}…");
    }
}

/// Checks all logs of a folder: the files with `.log` in their names.
///
/// # Panics
///
/// If one contains a token.
pub fn assert_absent_in_logs(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.map_while(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.contains(".log")
            && let Ok(content) = fs::read(&path)
        {
            assert_absent(&name, &String::from_utf8_lossy(&content));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::process::Command;

    use super::*;
    use crate::Process;
    use crate::client::TOKEN;

    #[test]
    fn tokens_are_found_and_other_texts_are_not() {
        let generated = format!("s.{}", "mcD6Du8vwj7V21s17hF0IWe0");
        for text in [
            TOKEN.to_owned(),
            format!("?token={generated}"),
            format!("{{\"token\":\"hv{generated}\"}}"),
            format!("a\nb {generated}"),
            generated,
        ] {
            assert!(find(&text).is_some(), "{text}");
        }
        for text in [
            "",
            "logs.aVeryLongNameWithoutAnySpace",
            "the vault is s. 24 letters",
            "core: root token generated",
        ] {
            assert!(find(text).is_none(), "{text}");
        }
    }

    /// Runs a shell script as a process with a log, and returns whether its end fails the test.
    fn fails(script: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh", TOKEN])
            .current_dir(&folder);
        let mut process = Process::start_printing("shell", command, folder.path());
        assert!(process.wait(crate::wait::TIMEOUT).is_some());
        catch_unwind(std::panic::AssertUnwindSafe(|| drop(process))).is_err()
    }

    #[test]
    fn a_process_that_logs_a_token_fails_the_test() {
        assert!(!fails("echo fine >&2"));
        assert!(fails("echo \"the token $1\" >&2"));
        assert!(fails("echo \"{\\\"path\\\":\\\"/v1/x?token=$1\\\"}\""));
        assert!(fails("echo \"$1\" >access.log"));
    }
}
