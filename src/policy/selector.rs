//! Label selectors in a normal form, which can be evaluated, compared and used as keys. Pure.
//!
//! The semantics are those of Kubernetes (`labels.Selector`): all requirements must hold, an empty selector selects
//! everything, `NotIn` also selects an object without the key. A selector with a requirement that Kubernetes would
//! refuse selects nothing: validation reports it, and it must not allow anything before it is corrected.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// A normalised label selector. Selectors with the same requirements are equal, in whatever form they were written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// Requirements that must all hold; `None` selects nothing.
    requirements: Option<BTreeSet<Requirement>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Normalises `selector`.
    pub fn new(selector: &LabelSelector) -> Self {
        let labels = selector
            .match_labels
            .iter()
            .flatten()
            .map(|(key, value)| Some(equals(key, value)));
        let expressions = selector
            .match_expressions
            .iter()
            .flatten()
            .map(Requirement::new);
        Self {
            requirements: labels.chain(expressions).collect(),
        }
    }

    /// Builds a selector of objects that have the label.
    pub fn label(key: &str, value: &str) -> Self {
        Self {
            requirements: Some(BTreeSet::from([equals(key, value)])),
        }
    }

    /// Builds a selector of objects that both select.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let both = self.requirements.as_ref().zip(other.requirements.as_ref());
        Self {
            requirements: both.map(|(ours, theirs)| ours.union(theirs).cloned().collect()),
        }
    }

    /// Whether the selector selects an object with `labels`.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements
            .as_ref()
            .is_some_and(|all| all.iter().all(|one| one.matches(labels)))
    }

    /// Whether it selects nothing, because it has a requirement that Kubernetes refuses.
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// Returns the value that `key` must have, if the selector requires exactly one. With it a caller can look up
    /// objects instead of matching all of them.
    pub fn required_value(&self, key: &str) -> Option<&str> {
        self.requirements
            .iter()
            .flatten()
            .find_map(|requirement| match &requirement.test {
                Test::In(values) if requirement.key == key && values.len() == 1 => {
                    values.first().map(String::as_str)
                }
                _ => None,
            })
    }

    /// Converts to the selector type of a `NetworkPolicy`. Returns `None` if it selects nothing: no `LabelSelector`
    /// does that, and an empty one selects everything.
    pub fn to_label_selector(&self) -> Option<LabelSelector> {
        let mut labels = BTreeMap::new();
        let mut expressions = Vec::new();
        for Requirement { key, test } in self.requirements.as_ref()? {
            let (operator, values) = match test {
                Test::In(values) => match values.first() {
                    // A second value for one key cannot be a matchLabels entry: it would replace the first.
                    Some(value) if values.len() == 1 && !labels.contains_key(key) => {
                        labels.insert(key.clone(), value.clone());
                        continue;
                    }
                    _ => ("In", Some(values)),
                },
                Test::NotIn(values) => ("NotIn", Some(values)),
                Test::Exists => ("Exists", None),
                Test::DoesNotExist => ("DoesNotExist", None),
            };
            expressions.push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.to_owned(),
                values: values.map(|values| values.iter().cloned().collect()),
            });
        }
        Some(LabelSelector {
            match_labels: (!labels.is_empty()).then_some(labels),
            match_expressions: (!expressions.is_empty()).then_some(expressions),
        })
    }
}

fn equals(key: &str, value: &str) -> Requirement {
    Requirement {
        key: key.to_owned(),
        test: Test::In(BTreeSet::from([value.to_owned()])),
    }
}

impl Requirement {
    /// Returns `None` if Kubernetes would refuse the expression: unknown operator, `In` or `NotIn` without values,
    /// other operators with values.
    fn new(expression: &LabelSelectorRequirement) -> Option<Self> {
        let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
        let test = match (expression.operator.as_str(), values.is_empty()) {
            ("In", false) => Test::In(values),
            ("NotIn", false) => Test::NotIn(values),
            ("Exists", true) => Test::Exists,
            ("DoesNotExist", true) => Test::DoesNotExist,
            _ => return None,
        };
        Some(Self {
            key: expression.key.clone(),
            test,
        })
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::needless_pass_by_value
    )]
    use super::*;
    use serde_json::{Value, json};

    fn wire(selector: Value) -> LabelSelector {
        serde_json::from_value(selector).unwrap()
    }

    fn selector(value: Value) -> Selector {
        Selector::new(&wire(value))
    }

    fn one(operator: &str, values: Value) -> Value {
        json!({"matchExpressions": [{"key": "tier", "operator": operator, "values": values}]})
    }

    #[test]
    fn selectors_match_like_those_of_kubernetes() {
        let labels = |tier: &str| -> BTreeMap<String, String> {
            if tier.is_empty() {
                BTreeMap::new()
            } else {
                BTreeMap::from([("tier".into(), tier.into())])
            }
        };
        let (yes, no) = (true, false);
        // selector | an object with tier=web | tier=db | without tier
        let table = [
            (json!({}), yes, yes, yes),
            (json!({"matchLabels": {}}), yes, yes, yes),
            (json!({"matchLabels": {"tier": "web"}}), yes, no, no),
            (
                json!({"matchLabels": {"tier": "web", "app": "x"}}),
                no,
                no,
                no,
            ),
            (one("In", json!(["web", "cache"])), yes, no, no),
            (one("NotIn", json!(["web", "cache"])), no, yes, yes),
            (one("Exists", Value::Null), yes, yes, no),
            (one("Exists", json!([])), yes, yes, no),
            (one("DoesNotExist", Value::Null), no, no, yes),
            // requirements that Kubernetes refuses
            (one("In", json!([])), no, no, no),
            (one("NotIn", json!([])), no, no, no),
            (one("Exists", json!(["web"])), no, no, no),
            (one("DoesNotExist", json!(["web"])), no, no, no),
            (one("in", json!(["web"])), no, no, no),
            (one("Gt", json!(["1"])), no, no, no),
        ];
        for (value, web, db, without) in table {
            let selector = selector(value.clone());
            let got = ["web", "db", ""].map(|tier| selector.matches(&labels(tier)));
            assert_eq!(got, [web, db, without], "{value}");
        }
    }

    #[test]
    fn selectors_with_the_same_requirements_are_equal() {
        let label = selector(json!({"matchLabels": {"tier": "web"}}));
        assert_eq!(label, selector(one("In", json!(["web"]))));
        assert_eq!(label, Selector::label("tier", "web"));
        let values = selector(one("In", json!(["web", "db"])));
        assert_eq!(values, selector(one("In", json!(["db", "web", "db"]))));
        assert_ne!(values, label);
        assert_eq!(
            (label.required_value("tier"), values.required_value("tier")),
            (Some("web"), None)
        );
    }

    #[test]
    fn a_second_value_of_a_label_does_not_replace_the_first() {
        let closed = selector(json!({"matchLabels": {"opted": "disabled"}}));
        let both = closed.and(&Selector::label("opted", "enabled"));
        let written = both.to_label_selector().unwrap();
        let expected = wire(json!({
            "matchLabels": {"opted": "disabled"},
            "matchExpressions": [{"key": "opted", "operator": "In", "values": ["enabled"]}],
        }));
        assert_eq!(written, expected);
        assert_eq!(Selector::new(&written), both);
        for value in ["enabled", "disabled"] {
            assert!(!both.matches(&BTreeMap::from([("opted".into(), value.into())])));
        }
    }

    #[test]
    fn a_selector_that_is_converted_and_parsed_again_is_equal() {
        for value in [
            json!({}),
            json!({"matchLabels": {"tier": "web"}}),
            one("In", json!(["db", "web"])),
            one("NotIn", json!(["db"])),
            one("Exists", Value::Null),
            one("DoesNotExist", Value::Null),
        ] {
            assert_eq!(
                selector(value.clone()).to_label_selector(),
                Some(wire(value))
            );
        }
        let nothing = selector(one("Gt", json!(["1"])));
        assert!(nothing.is_nothing() && nothing.to_label_selector().is_none());
        assert!(nothing.and(&selector(json!({}))).is_nothing());
    }
}
