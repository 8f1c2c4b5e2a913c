//! Search for tokens in everything that a test run writes: logs of all programs, access logs, statuses and events.
//!
//! Tokens that the tests choose contain [`MARK`]; those that a vault generates, and JSON Web Tokens, such as those of
//! service accounts, are recognised by their form. A log with one of them fails the test that ends its process.
//! [`token_search`](crate::token_search) searches a cluster.

use std::fs;
use std::path::Path;

/// Part of every token that the tests choose.
pub const MARK: &str = "never-to-be-logged";
/// Beginnings of tokens that a vault generates, and the least number of letters and digits after them.
const GENERATED: [&str; 2] = ["s.", "b."];
const LEAST: usize = 24;
/// Beginnings of a JSON Web Token's header and payload: `{"` and a letter in base64, and `{` and a quote or a space.
const HEADER: &str = "eyJ";
const PAYLOAD: &str = "ey";
/// Least length of each of its parts. The shortest header has 19 characters; a signature has at least 43.
const LEAST_PART: usize = 16;

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
    let web = text.match_indices(HEADER).map(|(at, _)| at);
    let web = web.filter(|at| begins_with_web_token(&text[*at..]));
    let at = text
        .find(MARK)
        .into_iter()
        .chain(generated)
        .chain(web)
        .min()?;
    Some(&text[at..])
}

/// Whether a text that begins with [`HEADER`] begins with a JSON Web Token: header, payload and signature in base64,
/// with dots between them (RFC 7519). The signatures of kubeadm's `cluster-info` have no payload, and are no tokens.
fn begins_with_web_token(text: &str) -> bool {
    let part = |text: &str| {
        let is_inside = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        text.bytes().take_while(is_inside).count()
    };
    let after = |text: &'_ str| -> Option<usize> {
        let length = part(text);
        (length >= LEAST_PART && text[length..].starts_with('.')).then_some(length + 1)
    };
    let Some(payload) = after(text).map(|at| &text[at..]) else {
        return false;
    };
    payload.starts_with(PAYLOAD)
        && after(payload).is_some_and(|at| part(&payload[at..]) >= LEAST_PART)
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
        let (header, payload) = ("eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9", "eyJzdWIiOiJhIn0_-aaa");
        let signature = "c2lnbmF0dXJl".repeat(4);
        for text in [
            format!("{header}.{payload}.{signature}"),
            format!("Authorization: Bearer {header}.{payload}.{signature}\n"),
            format!("eyJ.eyJ.eyJ token%3D{header}.{payload}.{signature}"),
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
            // A signature without its payload, a certificate, a long name, and a token that is cut off.
            &format!("{header}..{signature}"),
            &format!(
                "MIIB{}eyJ{}=\n-----END CERTIFICATE-----",
                "A".repeat(60),
                "b".repeat(60)
            ),
            "eyJude-and-his-friends.example-of-a-long-label.another-long-label",
            &format!("{header}.{payload}"),
            &format!("{header}.{payload}.…"),
            &format!("{header}.eyJ.{signature}"),
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
