//! A request's target as Envoy normalises it, and what is refused because the vault could read it differently.
//!
//! Envoy rewrites a path once, before any filter sees it (`normalize_path`, `merge_slashes`), and forwards the result;
//! so the decision is taken on that result. What still has two readings afterwards is a bad request. The steps here
//! were found by sending such paths to Envoy 1.40; the differential test keeps them equal.

use std::fmt::Write as _;

/// What a path may hold after normalisation, as a regular expression in the syntax that RE2 and Rust share.
///
/// Plain characters; percent-encoded plain data bytes (space and punctuation that separates nothing); well-formed
/// UTF-8 of U+00A0 and above, encoded. Not: `;`, `%`, `#`, encoded slashes, backslashes, percent signs, control bytes,
/// overlong or broken UTF-8.
pub const PATH: &str = concat!(
    "/(?:[-!$&-:=@A-Z\\[\\]_a-z~]",
    "|%2[0-246-9A-Ca-c]|%3[ACDEacde]|%40|%5[BDEbde]|%60|%7[B-Db-d]",
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

/// What a query may hold: keys without any encoding (`%` and `+`), no `;` and no `#` anywhere, and values whose
/// percent signs all begin an encoded byte. A flag's value is judged apart.
pub const QUERY: &str = concat!(
    "(?:[!\"$'-*,-:<>-~]*(?:=(?:[!\"$'-:<-~]|%[0-9A-Fa-f]{2})*)?)",
    "(?:&(?:[!\"$'-*,-:<>-~]*(?:=(?:[!\"$'-:<-~]|%[0-9A-Fa-f]{2})*)?))*"
);

/// A normalised request target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path, beginning with `/`, without the query.
    pub path: String,
    /// The query as it was sent, without the `?`; none when there is no `?`.
    pub query: Option<String>,
}

/// Normalises a request target. The error says what is wrong with it.
pub fn normalise(raw: &str) -> Result<Target, String> {
    if !raw.starts_with('/') {
        return Err("the target must be a path that starts with /".into());
    }
    if let Some(c) = raw
        .chars()
        .find(|c| c.is_control() || !c.is_ascii() || matches!(c, ' ' | '#'))
    {
        return Err(format!("the target holds {c:?} unencoded"));
    }
    let (path, query) = raw
        .split_once('?')
        .map_or((raw, None), |(path, query)| (path, Some(query)));
    let path = canonicalise(&strip_dot_segment_parameters(path));
    let path = path.ok_or("the path holds an encoded NUL byte")?;
    Ok(Target {
        path: merge_slashes(path),
        query: query.map(str::to_owned),
    })
}

/// Envoy drops the parameters of `.;…` and `..;…` segments before it resolves them.
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

/// Resolves dot segments (also encoded), turns backslashes into slashes, decodes unreserved characters and encodes
/// those that a URL may not hold. None for an encoded NUL.
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

/// Encodes a stray percent sign where the byte that was just decoded would make an encoded byte of it.
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

/// What follows a dot, plain or encoded, if one comes next.
fn dot(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'.', after @ ..] | [b'%', b'2', b'e' | b'E', after @ ..] => Some(after),
        _ => None,
    }
}

/// What follows the end of a segment, if the segment ends here.
fn end_of_segment(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [] => Some(rest),
        [b'/' | b'\\', after @ ..] => Some(after),
        _ => None,
    }
}

/// The byte that two hexadecimal digits stand for, and what follows them.
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

/// Repeated slashes become one, as Envoy does it: a path of nothing but slashes keeps two.
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

    /// Sent to Envoy 1.40, and what it forwarded.
    const SEEN: &[(&str, &str)] = &[
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
    fn normalises_as_envoy_does() {
        for (sent, forwarded) in SEEN {
            assert_eq!(normalise(sent).unwrap().path, *forwarded, "{sent}");
        }
    }

    #[test]
    fn refuses_what_envoy_refuses() {
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
    fn plain_data_bytes_and_nothing_ambiguous() {
        let path = Regex::new(&format!("^(?:{PATH})$")).unwrap();
        for good in [
            "/",
            "/v1/a-b_c.d~e",
            "/v1/a%20b",
            "/v1/%C3%A9",
            "/v1/%e2%82%ac",
            "/v1/%F0%9F%94%92",
            "/v1/a:b@c=d,e",
        ] {
            assert!(path.is_match(good), "{good}");
        }
        for bad in [
            "/v1/a;b",
            "/v1/a%3bb",
            "/v1/%2f",
            "/v1/%5C",
            "/v1/%25",
            "/v1/%23",
            "/v1/%3F",
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
            let plain = !byte.is_ascii_alphanumeric() && !b"-._~#%/;?\\".contains(&byte);
            assert_eq!(allowed, plain, "%{byte:02X}");
        }
    }

    #[test]
    fn queries() {
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
