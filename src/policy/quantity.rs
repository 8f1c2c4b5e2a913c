//! Quantities of compute resources in Kubernetes notation (`100m`, `512Mi`): parsed, compared, and printed in the
//! canonical form that the API server stores, so that an applied object equals the stored one.

use std::fmt;

/// Number of nanos in 1. Nano is the smallest unit of a Kubernetes quantity.
const NANO: u128 = 1_000_000_000;
/// Largest quantity of Kubernetes, in nanos.
const LARGEST: u128 = i64::MAX as u128 * NANO;

/// A quantity that is not negative.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: u128,
    notation: Notation,
}

/// Kind of suffix of a quantity. It is printed with the kind that it was parsed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    /// `Ki`, `Mi`, …
    Binary,
    /// `m`, none, `k`, `M`, …
    Decimal,
    /// `e3`
    Exponent,
}

impl Quantity {
    /// Parses a quantity. Returns `None` if Kubernetes does not accept the text, or if the quantity is negative, has a
    /// fraction of a nano, or is larger than the largest quantity of Kubernetes.
    pub fn read(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at_checked(end)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return None;
        }
        let (scale, notation) = scale(suffix)?;
        let places = u32::try_from(fraction.len()).ok()?;
        let digits: u128 = match format!("{whole}{fraction}").trim_start_matches('0') {
            "" => 0,
            digits => digits.parse().ok()?,
        };
        let product = digits.checked_mul(scale)?;
        let divisor = 10_u128.checked_pow(places)?;
        (product % divisor == 0 && product / divisor <= LARGEST).then_some(Self {
            nanos: product / divisor,
            notation,
        })
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is a whole number.
    pub fn is_whole(self) -> bool {
        self.nanos.is_multiple_of(NANO)
    }

    /// Whether it is a whole number of thousandths.
    pub fn is_whole_thousandths(self) -> bool {
        self.nanos.is_multiple_of(NANO / 1000)
    }

    /// Rounds up to a whole number.
    pub fn rounded_up(self) -> u64 {
        u64::try_from(self.nanos.div_ceil(NANO)).unwrap_or(u64::MAX)
    }
}

/// Compares the values: `1` and `1000m` are equal.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// Number of nanos in one unit of a suffix, and the kind of the suffix.
fn scale(suffix: &str) -> Option<(u128, Notation)> {
    if let Some(exponent) = suffix.strip_prefix(['e', 'E'])
        && exponent.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-')
    {
        let exponent: i32 = exponent.parse().ok()?;
        let power = u32::try_from(exponent.checked_add(9)?).ok()?;
        return Some((10_u128.checked_pow(power)?, Notation::Exponent));
    }
    let decimal = |power| Some((10_u128.checked_pow(power)?, Notation::Decimal));
    let binary = |power| Some((NANO * 1024_u128.checked_pow(power)?, Notation::Binary));
    match suffix {
        "n" => decimal(0),
        "u" => decimal(3),
        "m" => decimal(6),
        "" => decimal(9),
        "k" => decimal(12),
        "M" => decimal(15),
        "G" => decimal(18),
        "T" => decimal(21),
        "P" => decimal(24),
        "E" => decimal(27),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => None,
    }
}

/// Prints the canonical form: no fraction, and the largest suffix that needs none.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Kubernetes prints quantities below 1024 and fractions in decimal.
        if self.notation == Notation::Binary && self.nanos >= 1024 * NANO && self.is_whole() {
            let mut number = self.nanos / NANO;
            let mut suffixes = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter();
            let mut suffix = "";
            while number.is_multiple_of(1024)
                && let Some(next) = suffixes.next()
            {
                number /= 1024;
                suffix = next;
            }
            return write!(f, "{number}{suffix}");
        }
        let mut number = self.nanos;
        let mut power = -9;
        while number.is_multiple_of(1000) && power < 18 {
            number /= 1000;
            power += 3;
        }
        if self.notation == Notation::Exponent && power != 0 {
            return write!(f, "{number}e{power}");
        }
        let suffix = match power {
            -9 => "n",
            -6 => "u",
            -3 => "m",
            0 => "",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            _ => "E",
        };
        write!(f, "{number}{suffix}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_printed_in_the_canonical_form_of_the_api_server() {
        for (text, expected) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            (".5", "500m"),
            ("2.", "2"),
            ("1000m", "1"),
            ("+2", "2"),
            ("007", "7"),
            ("1.5", "1500m"),
            ("1500", "1500"),
            ("2000", "2k"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e2", "1200"),
            ("1e-3", "1e-3"),
            ("1E", "1E"),
            ("128Mi", "128Mi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("0.5Mi", "512Ki"),
            ("1025Ki", "1025Ki"),
            ("1M", "1M"),
            ("2Ei", "2Ei"),
            ("1000k", "1M"),
            ("134217728", "134217728"),
            ("100n", "100n"),
            ("1000n", "1u"),
        ] {
            let found = Quantity::read(text).map(|quantity| quantity.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn text_that_is_not_a_quantity_is_refused() {
        for text in [
            "", ".", "m", "-1", "1 Gi", "1gi", "1GB", "1K", "1KiB", "1.2.3", "0x10", "e3", "1e",
            "1e+", "1ee3", "+-1", "٣", "0.1n", "9Ei", "1e99", "10E", "1,5", "1_000", "Infinity",
        ] {
            assert!(Quantity::read(text).is_none(), "{text}");
        }
        assert!(Quantity::read("7Ei").is_some());
    }

    #[test]
    fn quantities_are_compared_by_value() {
        let read = |text| Quantity::read(text).unwrap();
        assert_eq!(read("1"), read("1000m"));
        assert!(read("1M") < read("1Mi"));
        assert!(read("900m") < read("1"));
        assert_eq!(read("1500m").rounded_up(), 2);
        assert!(!read("1m").is_whole() && read("1m").is_whole_thousandths());
        assert!(!read("1u").is_whole_thousandths());
    }
}
