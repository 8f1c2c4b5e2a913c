//! Texts of bounded length: the API server rejects the whole status if one message is too long.

/// Longest item of a list, in characters, so that one item cannot displace the others.
const ITEM_LENGTH: usize = 4096;
/// Room for the last line, which has the number of omitted items, in characters.
const MORE_LENGTH: usize = 64;

/// Returns a heading and a line for each item. If some do not fit into `length` characters, the last line has their
/// number.
pub(crate) fn list<'a>(
    heading: &str,
    items: impl ExactSizeIterator<Item = String> + 'a,
    length: usize,
) -> String {
    let mut text = shortened(heading, length.saturating_sub(MORE_LENGTH));
    let mut used = text.chars().count();
    let count = items.len();
    for (position, item) in items.enumerate() {
        let item = shortened(&item, ITEM_LENGTH);
        let more = item.chars().count() + 1;
        if used + more + MORE_LENGTH > length {
            return text + &format!("\n… and {} more", count - position);
        }
        text.push('\n');
        text.push_str(&item);
        used += more;
    }
    text
}

/// Returns at most `length` characters of a text; a shortened text ends with an ellipsis.
pub(crate) fn shortened(text: &str, length: usize) -> String {
    if text.chars().nth(length).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(length.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Returns at most `length` bytes of a text; a shortened text ends with an ellipsis.
pub(crate) fn shortened_bytes(text: &str, length: usize) -> String {
    const END: &str = "…";
    if text.len() <= length {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    short.truncate(text.floor_char_boundary(length.saturating_sub(END.len())));
    short + END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_with_the_number_of_omitted_items() {
        let items = |count: usize| (0..count).map(|number| format!("item {number}"));
        assert_eq!(list("two:", items(2), 100), "two:\nitem 0\nitem 1");
        assert_eq!(
            list("many:", items(100), 100),
            "many:\nitem 0\nitem 1\nitem 2\nitem 3\n… and 96 more"
        );
        let long = list("long:", std::iter::once("ü".repeat(5000)), 32768);
        assert_eq!(long.chars().count(), "long:\n".len() + ITEM_LENGTH);
    }

    #[test]
    fn a_shortened_text_ends_with_an_ellipsis() {
        for (text, length, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("äöüß", 4, "äöüß"),
            ("äöüß", 3, "äö…"),
        ] {
            assert_eq!(shortened(text, length), expected);
        }
        for (text, length, expected) in [("abc", 3, "abc"), ("abcdef", 5, "ab…"), ("äöü", 5, "ä…")]
        {
            assert_eq!(shortened_bytes(text, length), expected);
        }
    }
}
