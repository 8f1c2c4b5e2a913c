//! Sets of numbers (IPv4 addresses, ports), stored as ranges.

/// Sorted ranges that include both ends. No two overlap or touch, so equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Returns the set of all IPv4 addresses.
    pub fn everything() -> Self {
        Self(vec![(0, u32::MAX)])
    }

    /// Whether no number is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a number is in the set.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after
            .checked_sub(1)
            .and_then(|index| self.0.get(index))
            .is_some_and(|(_, last)| number <= *last)
    }

    /// Returns the first and last number of each range.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().copied()
    }

    /// Returns the numbers of this set that are not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for (first, last) in self.iter() {
            // First number of the part that is not checked yet, if any is left.
            let mut rest = Some(first);
            for (from, to) in other.iter() {
                let Some(start) = rest.filter(|_| from <= last) else {
                    break;
                };
                if to < start {
                    continue;
                }
                if start < from {
                    left.push((start, from - 1));
                }
                rest = to.checked_add(1).filter(|next| *next <= last);
            }
            left.extend(rest.map(|start| (start, last)));
        }
        Self(left)
    }
}

impl FromIterator<(u32, u32)> for Ranges {
    /// A range whose end is before its start is empty.
    fn from_iter<I: IntoIterator<Item = (u32, u32)>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges
            .into_iter()
            .filter(|(first, last)| first <= last)
            .collect();
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }
}
