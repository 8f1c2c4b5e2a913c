//! Notation of `expiresAt`: a text with one reading, not `format: date-time`, which takes texts that are no time and of
//! which every program takes others. Whole seconds, from the year 2000 to 9999, with `Z` or an offset. The seconds
//! since 1970 are computed here alone, so that all programs that enforce a policy compare numbers.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use kube::core::Rule;
use regex::Regex;

/// Notation of a time.
pub const PATTERN: &str =
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$";
/// A time that exists: days of the month, leap years, no leap seconds.
pub const EXISTING: &str = "^([2-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])\
     |(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))\
     |([2-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[3579][26])00)-02-29)\
     T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
/// Message about a text that is no time.
pub const NO_TIME: &str = "is no time from the year 2000 on, in whole seconds and with its offset; write a time \
                           such as 2027-01-31T18:00:00Z or 2027-01-31T18:00:00+02:00";

/// Requires a time that exists.
pub(super) fn existing_time() -> Rule {
    Rule::new(format!("self.matches('{EXISTING}')")).message(NO_TIME)
}

/// The CRD's rule, for [`seconds`].
static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(EXISTING).ok());

/// Returns the seconds from 1970 to a time in the notation of `expiresAt`; `None` if it is no such time.
pub fn seconds(text: &str) -> Option<i64> {
    if !TIME.as_ref()?.is_match(text) {
        return None;
    }
    let (local, offset) = text.split_at_checked(19)?;
    let since_1970 = DateTime::constant(1970, 1, 1, 0, 0, 0, 0)
        .duration_until(local.parse::<DateTime>().ok()?)
        .as_secs();
    let (sign, offset) = match offset.split_at_checked(1)? {
        ("+", offset) => (1, offset),
        ("-", offset) => (-1, offset),
        _ => return Some(since_1970),
    };
    let (hours, minutes) = offset.split_once(':')?;
    let [hours, minutes]: [i64; 2] = [hours.parse().ok()?, minutes.parse().ok()?];
    Some(since_1970 - sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_seconds_since_1970() {
        // As `date -u -d TEXT +%s` prints them.
        for (text, expected) in [
            ("2000-01-01T00:00:00Z", 946_684_800),
            ("2027-01-31T18:00:00Z", 1_801_418_400),
            ("2027-01-31T18:00:00+02:00", 1_801_411_200),
            ("2027-01-31T18:00:00-03:30", 1_801_431_000),
            ("2027-01-31T00:30:00+01:00", 1_801_351_800),
            ("2028-02-29T23:59:59Z", 1_835_481_599),
            ("2400-02-29T00:00:00Z", 13_574_563_200),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("9999-12-31T23:59:59-23:59", 253_402_387_139),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_no_time() {
        for text in [
            "",
            "yesterday",
            "2027-01-31",
            "2027-01-31T18:00Z",
            "2027-01-31T18:00:00",
            "2027-01-31 18:00:00Z",
            "2027-01-31t18:00:00z",
            "2027-01-31T18:00:00.5Z",
            "2027-01-31T18:00:00.1234567890Z",
            "2027-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2027-04-31T00:00:00Z",
            "2027-00-01T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-01-00T00:00:00Z",
            "2027-01-32T00:00:00Z",
            "2027-01-31T24:00:00Z",
            "2027-01-31T23:60:00Z",
            "2027-01-31T23:59:60Z",
            "2027-01-31T18:00:00+2:00",
            "2027-01-31T18:00:00+0200",
            "2027-01-31T18:00:00+24:00",
            "2027-01-31T18:00:00+02:60",
            "1999-12-31T23:59:59Z",
            "12027-01-31T18:00:00Z",
            "2027-01-31T18:00:00Z ",
            "2027-01-31T18:00:00Z\n",
            "２027-01-31T18:00:00Z",
            "+2027-01-31T18:00:00Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
