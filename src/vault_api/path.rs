//! Normalisation of a request's target as Envoy does it, and patterns for targets that the vault cannot interpret
//! differently.
//!
//! Envoy normalises a path once, before its filters run (`normalize_path`, `merge_slashes`), and forwards the result.
//! The decision uses this result. A path that is still ambiguous is a bad request. The steps reproduce answers of Envoy
//! 1.40; the differential test keeps both equal.

use std::fmt::Write as _;

/// Regular expression for normalised paths, in the syntax that RE2 and Rust have in common.
///
/// Allowed are plain characters; percent-encoded spaces and punctuation, which the vault decodes once and then takes as
/// plain characters; encoded, well-formed UTF-8 from U+00A0. Not allowed are `;`, `%` and `#` as such, encoded slashes,
/// backslashes and control bytes, and overlong or malformed UTF-8.
pub const PATH: &str = concat!(
    "/(?:[-!$&-:=@A-Z\\[\\]_a-z~]",
    "|%2[0-9A-Ca-c]|%3[A-Fa-f]|%40|%5[BDEbde]|%60|%7[B-Db-d]",
    "|%[Cc]2%[AaBb][0-9A-Fa-f]",
    "|%(?:[Cc][3-9A-Fa-f]|[Dd][0-9A-Fa-f])%[89ABab][0-9A-Fa-f]",
    "|%[Ee]0%[ABab][0-9A-Fa-f]%[89ABab][0-9A-Fa-f]",
    "|%[Ee][1-9A-CEFa-cef](?:%[89ABab][0-9A-Fa-f]){2}",
    "|%[Ee][Dd]%[89][0-9A-Fa-f]%[89ABab][0-9A-Fa-f]",
    "|%[Ff]0%[9ABab][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){2}",
    "|%[Ff][1-3](?:%[89ABab][0-9A-Fa-f]){3}",
    "|%[Ff]4%8[0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){2}",
    ")*"
);

/// Regular expression for queries: keys without encoding (`%` and `+`), values in which every percent sign begins an
/// encoded byte, and no `;` or `#`. The values of flags are checked separately.
pub const QUERY: &str = concat!(
    "(?:[!\"$'-*,-:<>-~]*(?:=(?:[!\"$'-:<-~]|%[0-9A-Fa-f]{2})*)?)",
    "(?:&(?:[!\"$'-*,-:<>-~]*(?:=(?:[!\"$'-:<-~]|%[0-9A-Fa-f]{2})*)?))*"
);

/// Regular expression for queries of a vault without flags: keys and values in which every percent sign begins an
/// encoded byte, and no `;` or `#`.
pub const QUERY_WITHOUT_FLAGS: &str = "(?:[!\"$&-:<-~]|%[0-9A-Fa-f]{2})*";

/// Regular expression for an OCSP request in a path (RFC 6960, A.1): base64, of which a client encodes `/`, `+` and
/// `=`. The vault reads an encoded slash as a slash, and both belong to the request.
pub const OCSP: &str = "(?:[A-Za-z0-9+/=]|%2[BFbf]|%3[Dd])+";

/// Largest length of a normalised target, in bytes. The patterns read every byte, so a longer target would cost many
/// times as much as any that the vault's clients send.
pub const MAX_TARGET: usize = 4_000;

/// A normalised request target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path, beginning with `/`, without the query.
    pub path: String,
    /// The query as received, without the `?`; `None` if there is no `?`.
    pub query: Option<String>,
}

/// Normalises a request target.
///
/// # Errors
/// A message with the cause, if Envoy would refuse the target.
pub fn normalise(raw: &str) -> Result<Target, String> {
    if !raw.starts_with('/') {
        return Err("the target must be a path that starts with /".into());
    }
    if let Some(c) = raw
        .chars()
        .find(|c| c.is_control() || !c.is_ascii() || matches!(c, ' ' | '#'))
    {
        return Err(format!("the target contains the unencoded character {c:?}"));
    }
    let (path, query) = raw
        .split_once('?')
        .map_or((raw, None), |(path, query)| (path, Some(query)));
    let path = canonicalise(&strip_dot_segment_parameters(path));
    let path = path.ok_or("the path contains an encoded NUL byte")?;
    Ok(Target {
        path: merge_slashes(path),
        query: query.map(str::to_owned),
    })
}

/// Removes the parameters of `.;…` and `..;…` segments, as Envoy does before it resolves them.
fn strip_dot_segment_parameters(path: &str) -> String {
    let segments: Vec<&str> = path
        .split('/')
        .map(|segment| match segment {
            _ if segment.starts_with("..;") => "..",
            _ if segment.starts_with(".;") => ".",
            _ => segment,
        })
        .collect();
    segments.join("/")
}

/// Resolves dot segments (also encoded ones), replaces backslashes by slashes, decodes unreserved characters, and
/// encodes characters that a URL cannot contain. Returns `None` for an encoded NUL.
fn canonicalise(path: &str) -> Option<String> {
    let mut rest = path.as_bytes();
    let mut output = String::with_capacity(path.len());
    while let Some((&byte, tail)) = rest.split_first() {
        if let Some(after_dot) = dot(rest) {
            rest = after_dot;
            if !output.ends_with('/') {
                output.push('.');
            } else if let Some(after) = end_of_segment(after_dot) {
                rest = after;
            } else if let Some(after) = dot(after_dot).and_then(end_of_segment) {
                rest = after;
                output.pop();
                output.truncate(output.rfind('/').unwrap_or(0));
                output.push('/');
            } else {
                output.push('.');
            }
            continue;
        }
        rest = tail;
        match byte {
            b'\\' => output.push('/'),
            b'%' => match encoded(tail) {
                Some((0, _)) => return None,
                Some((value, after)) if is_unreserved(value) => {
                    rest = after;
                    output.push(char::from(value));
                    keep_from_decoding(&mut output, after);
                }
                _ => output.push('%'),
            },
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                let _ = write!(output, "%{byte:02X}");
            }
            _ => output.push(char::from(byte)),
        }
    }
    Some(output)
}

/// Encodes a percent sign that would begin an encoded byte together with the byte that was just decoded.
fn keep_from_decoding(output: &mut String, rest: &[u8]) {
    let (after_percent, digits) = match (output.as_bytes(), rest) {
        ([.., b'%', high], [low, ..]) => (output.len() - 1, [*high, *low]),
        ([.., b'%', high, low], _) => (output.len() - 2, [*high, *low]),
        _ => return,
    };
    if digits.iter().all(u8::is_ascii_hexdigit) {
        output.insert_str(after_percent, "25");
    }
}

/// Returns the rest after a dot, plain or encoded, if the text begins with one.
fn dot(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'.', after @ ..] | [b'%', b'2', b'e' | b'E', after @ ..] => Some(after),
        _ => None,
    }
}

/// Returns the rest after the end of a segment, if the segment ends here.
fn end_of_segment(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [] => Some(rest),
        [b'/' | b'\\', after @ ..] => Some(after),
        _ => None,
    }
}

/// Decodes two hexadecimal digits. Returns the byte and the rest.
fn encoded(rest: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = rest else {
        return None;
    };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    Some((digit(*high)? * 16 + digit(*low)?, after))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Merges repeated slashes like Envoy, which keeps two of a path that consists only of slashes.
fn merge_slashes(path: String) -> String {
    if !path.contains("//") {
        return path;
    }
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let tail = if path.ends_with('/') { "/" } else { "" };
    format!("/{}{tail}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use regex::Regex;

    /// Paths that were sent to Envoy 1.40, and the paths that it forwarded.
    const FORWARDED: &[(&str, &str)] = &[
        ("/v1/a/..;/b", "/v1/b"),
        ("/v1/a/..;x", "/v1/"),
        ("/v1/a/.;x/b", "/v1/a/b"),
        ("/v1/a/%2e%2e;/b", "/v1/a/..;/b"),
        ("/v1/a/%2e%2e%3b/b", "/v1/a/..%3b/b"),
        ("/v1/a/...;/b", "/v1/a/...;/b"),
        ("/v1/a/..;\\b", "/v1/"),
        ("/v1/a/..;%2f/b", "/v1/b"),
        ("/v1/a;/../b", "/v1/b"),
        ("/v1/..;/..;/..;/x", "/x"),
        ("/v1//a//..//b", "/v1/a/b"),
        ("/v1/a/.", "/v1/a/"),
        ("/v1/a/..", "/v1/"),
        ("/v1/%2E%2e/b", "/b"),
        ("/v1/a%2e/b", "/v1/a./b"),
        ("/v1/a/..b", "/v1/a/..b"),
        ("/v1/a/...", "/v1/a/..."),
        ("/v1\\a\\..\\b", "/v1/b"),
        ("/v1/a\\\\b", "/v1/a/b"),
        (
            "/v1/a|b^c`d\"e<f>{g}",
            "/v1/a%7Cb%5Ec%60d%22e%3Cf%3E%7Bg%7D",
        ),
        ("/v1/a/%4g%2", "/v1/a/%4g%2"),
        ("/v1/%2f%5c", "/v1/%2f%5c"),
        ("/v1/a/?x=/../b//c;d\\e", "/v1/a/"),
        ("/", "/"),
        ("//", "//"),
        ("/..", "/"),
        ("/v1/%7E%5f%2d%69", "/v1/~_-i"),
        ("/%%61", "/%a"),
        ("/%%619", "/%25a9"),
        ("/%2%66", "/%252f"),
        ("/%%32f", "/%252f"),
        ("/%%%36%31", "/%%2561"),
        ("/%%2e%2e", "/%.."),
        ("/%c3%%619/", "/%c3%25a9/"),
        ("/%2%6a", "/%2j"),
        ("/%%2%61", "/%%252a"),
        ("/%%2f", "/%%2f"),
        ("/%%61/..", "/"),
        ("/v1/sys//%69../health", "/v1/sys/i../health"),
    ];

    #[test]
    fn paths_are_normalised_as_envoy_does() {
        for (sent, forwarded) in FORWARDED {
            assert_eq!(normalise(sent).unwrap().path, *forwarded, "{sent}");
        }
    }

    #[test]
    fn targets_that_envoy_refuses_are_refused() {
        for sent in [
            "",
            "v1/x",
            "http://other/v1/x",
            "*",
            "/v1/a b",
            "/v1/a\tb",
            "/v1/a#b",
            "/v1/a%00b",
            "/v1/\u{7f}",
            "/v1/\u{e9}",
            "/v1/a?b=\u{e9}",
        ] {
            assert!(normalise(sent).is_err(), "{sent:?}");
        }
    }

    #[test]
    fn the_path_pattern_refuses_ambiguous_paths() {
        let path = Regex::new(&format!("^(?:{PATH})$")).unwrap();
        for good in [
            "/",
            "/v1/a-b_c.d~e",
            "/v1/a%20b",
            "/v1/%C3%A9",
            "/v1/%e2%82%ac",
            "/v1/%F0%9F%94%92",
            "/v1/a:b@c=d,e",
            "/v1/100%25",
            "/v1/a%252fb",
            "/v1/a%23%3bb%3F",
        ] {
            assert!(path.is_match(good), "{good}");
        }
        for bad in [
            "/v1/a;b",
            "/v1/%2f",
            "/v1/%5C",
            "/v1/%zz",
            "/v1/%",
            "/v1/%0a",
            "/v1/%7f",
            "/v1/%80",
            "/v1/%ff",
            "/v1/%c0%af",
            "/v1/%ed%a0%80",
            "/v1/%c2%80",
            "/v1/%e2%28%a1",
            "/v1/%f5%80%80%80",
        ] {
            assert!(!path.is_match(bad), "{bad}");
        }
        for byte in 0x20..=0x7e_u8 {
            let allowed = path.is_match(&format!("/%{byte:02X}"));
            let plain = !byte.is_ascii_alphanumeric() && !b"-._~/\\".contains(&byte);
            assert_eq!(allowed, plain, "%{byte:02X}");
        }
    }

    #[test]
    fn the_query_pattern_refuses_ambiguous_queries() {
        let query = Regex::new(&format!("^(?:{QUERY})$")).unwrap();
        for good in [
            "",
            "list=true",
            "a=b&c",
            "&&",
            "a=b+c%20d&e=/?\\x",
            "a==b",
            "version=2",
        ] {
            assert!(query.is_match(good), "{good}");
        }
        let without_flags = Regex::new(&format!("^(?:{QUERY_WITHOUT_FLAGS})$")).unwrap();
        for good in ["", "api-version=7.6&%24skiptoken=a%2Bb", "a+b=c", "a=/?\\x"] {
            assert!(without_flags.is_match(good), "{good}");
        }
        for bad in [
            "a;b", "a=b;c", "a=%zz", "a=%", "%2", "a#b", "a=b c", "a=\u{7f}",
        ] {
            assert!(!without_flags.is_match(bad), "{bad}");
        }
        for bad in [
            "l%69st=true",
            "a+b=c",
            "a;b",
            "a=b;c",
            "a=%zz",
            "a=%",
            "a#b",
            "a=b c",
        ] {
            assert!(!query.is_match(bad), "{bad}");
        }
    }
}
