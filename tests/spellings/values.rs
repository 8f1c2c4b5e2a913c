//! Every value in every kind of field: most of them are refused in most fields, and each that is taken must be the same
//! for both.

use super::{Spelling, Verdict};

/// Lines of a policy's spec with `@` for the value: texts, labels, numbers, booleans, words, quantities, and whole
/// objects and lists.
const FIELDS: [&str; 25] = [
    "  ipRules:\n  - value: 203.0.113.7\n    name: @\n",
    "  vault:\n    namespaces:\n    - @\n    - last\n",
    "  virtualNetworkRules:\n  - pods:\n      podSelector:\n        matchLabels:\n          team: @\n",
    "  virtualNetworkRules:\n  - pods:\n      podSelector:\n        matchLabels:\n          @: web\n",
    "  virtualNetworkRules:
  - pods:
      podSelector:
        matchExpressions:
        - key: a
          operator: In
          values:
          - @
",
    "  virtualNetworkRules:\n  - pods:\n      namespaceSelector: {}\n      podSelector: @\n",
    "  virtualNetworkRules: [{pods: {podSelector: {matchLabels: {team: @, app: a}}}}]\n",
    "  virtualNetworkRules: [{pods: {podSelector: {matchLabels: {@: web}}}}]\n",
    "  proxy: {service: {annotations: {a: @}}}\n",
    "  virtualNetworkRules:\n  - ignoreMissingServiceEndpoint: @\n    pods: {podSelector: {}}\n",
    "  clientAddress:\n    source: XForwardedFor\n    trustedProxies:\n    - @\n    - 10.0.0.1\n",
    "  clientAddress: {source: XForwardedFor, trustedProxies: [10.0.0.1, {pods: @}]}\n",
    "  clientAddress:
    source: XForwardedFor
    trustedProxies:
    - pods:
        namespaceSelector:
          matchLabels:
            team: @
",
    "  clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {matchLabels: {@: web}}}}]}\n",
    "  proxy:\n    replicas: @\n",
    "  proxy:\n    resources:\n      limits:\n        cpu: @\n",
    "  proxy:\n    service:\n      annotations:\n        a: @\n",
    "  defaultAction: @\n",
    "  proxy: @\n",
    "  ipRules: @\n",
    "  bypass: TrustedServices\n  trustedServices: {names: [@, other]}\n",
    "  management:\n    deployers:\n    - serviceAccount: {namespace: a, name: @}\n    - @\n",
    "  management:
    operators:
    - federatedCredential:
        issuer: https://tokens.example.com
        jwksUri: https://tokens.example.com/keys
        subject: @
        audiences:
        - @
        - vault
",
    "  management:
    operators:
    - federatedCredential:
        issuer: https://tokens.example.com
        subject: a
        audiences: [b]
        jwks:
          keys:
          - kty: EC
            crv: P-256
            x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU
            y: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0
            kid: @
",
    "  management: {operators: [{federatedCredential: {issuer: 'https://a', subject: b, audiences: [c], jwks: @}}]}\n",
];

const VALUES: &[&str] = &[
    "",
    "~",
    "null",
    "Null",
    "NULL",
    "nULL",
    "\"\"",
    "''",
    "{}",
    "[]",
    "[~]",
    "{a: ~}",
    "yes",
    "No",
    "ON",
    "off",
    "y",
    "N",
    "true",
    "True",
    "FALSE",
    "tRUE",
    "\"true\"",
    "0",
    "2",
    "-1",
    "7.0",
    "0.5",
    "1.10",
    "1e0",
    "1E3",
    "2.5e-3",
    "1e+2",
    "-0",
    "9223372036854775808",
    "007",
    "010",
    "08",
    "0o7",
    "0x1F",
    "0b1",
    "1_000",
    "+2",
    ".5",
    "5.",
    "00.5",
    "1e",
    "12e03",
    ".inf",
    "-.Inf",
    ".nan",
    "inf",
    "NaN",
    "infinity",
    "1:30",
    "2027-01-31",
    "2027-01-31T00:00:00Z",
    "\"007\"",
    "'0.5'",
    "'2'",
    "!!str 7",
    "!!int \"7\"",
    "!!binary aGk=",
    "!custom a",
    "! a",
    "&anchor a",
    "Allow",
    "Deny # comment",
    "a#b",
    "a b",
    "\"a\\\n      b\"",
    "a\n          b",
    "'it''s'",
    "\"\\x41\\u0042\"",
    "\"\\/\"",
    "\"\\e\\_\"",
    "|\n            a\n",
    ">-\n            a\n",
    "|+\n            a\n\n",
    "<<",
    "=",
    "@a",
    "%a",
    "`a`",
    "- a",
    "a: b",
    "*a",
    "\"a\": b",
    "a,b",
    "a]",
    "a?b",
    "?a",
    "\u{e9}",
    "\u{1f512}",
    "a\tb",
    "100m",
];

/// One file for each value in each field.
pub(super) fn spellings() -> Vec<Spelling> {
    FIELDS
        .iter()
        .flat_map(|field| {
            VALUES
                .iter()
                .map(|value| Spelling::of_spec(Verdict::Either, &field.replace('@', value)))
        })
        .collect()
}
