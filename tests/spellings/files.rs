//! Whole files: how documents, lines, objects and lists are written.

use super::Verdict::{Refused, Same};
use super::{Spelling, Verdict, policy};

/// Lines of a policy's spec: objects, lists, comments, merge keys, anchors and null.
#[rustfmt::skip] // read by eye
const SPECS: &[(Verdict, &str)] = &[
    (Refused, "  vault: {namespaces: [\"a\u{2028}b\"]}\n"),
    (Refused, "  vault: {namespaces: [a\u{85}b]}\n"),
    (Refused, "  vault: {namespaces: [\"a\u{1}b\"]}\n"),
    (Refused, "  vault: {namespaces: [\"a\u{7f}b\"]}\n"),
    (Refused, "  vault: {namespaces: [\"a\u{feff}b\"]}\n"),
    (Refused, "  proxy:\n    service:\n      annotations:\n        a: \"x\n---\ny\"\n"),
    (Refused, "  proxy:\n    service:\n      annotations:\n        a: \"x\n...\ny\"\n"),
    (Same, "  proxy:\n    service:\n      annotations:\n        a: |\n          ---\n          x\n\
     \x20         ...\n"),
    (Refused, "  mode: Enforced\n  \"mode\": Enforced\n"),
    (Same, "  \"mode\": 'Enforced'\n  ? denial\n  : Drop\n"),
    (Same, "  vault : {namespaces : [a , b,]}\n"),
    (Same, "  vault: {\"namespaces\":[\"a\",\"b\"]}\n"),
    (Same, "  vault: {namespaces}\n"),
    (Refused, "  vault: {namespaces: [a: b]}\n"),
    (Refused, "  vault: {namespaces: [a, , b]}\n"),
    (Refused, "  vault: {[namespaces]: [a]}\n"),
    (Refused, "  vault: {{a: b}: [a]}\n"),
    (Refused, "  ? [a]\n  : b\n"),
    (Refused, "  : b\n"),
    (Refused, "  null: b\n"),
    (Refused, "\tmode: Enforced\n"),
    (Same, "  mode:\tEnforced\t# note\n"),
    (Same, "  vault:\n    namespaces: [\n      a,\n  b ]\n"),
    (Same, "  vault:\n    namespaces:\n      - a\n\n      # note\n      -   b\n"),
    (Same, "  proxy: {service: {annotations: {a: a#b, b: 'c # d', c: \"e\"}}} # note\n"),
    (Refused, "  mode: Enforced#note\n"),
    (Refused, "  mode: \"Enforced\"#note\n"),
    (Refused, "  mode: Enforced\u{a0}\n"),
    (Same, "  mode: \"Enforced\" #note\n"),
    (Same, "  denial: &a Drop\n  vault: {namespaces: &n [a, b]}\n"),
    (Same, "  ipRules: [{name: &a one, value: 203.0.113.7}]\n  vault: {namespaces: [*a ]}\n"),
    (Same, "  ipRules: [{name: &a one, value: 203.0.113.7}]\n  vault: {namespaces: [&a two]}\n\
     \x20 proxy: {tls: {secretName: *a}}\n"),
    (Same, "  virtualNetworkRules:\n  - pods: &p {podSelector: &s {matchLabels: {team: web}}}\n\
     \x20 - pods: {namespaceSelector: {}, podSelector: *s}\n"),
    (Refused, "  vault: {namespaces: [*a, &a one]}\n"),
    (Refused, "  ? &k denial\n  : Drop\n  *k : Drop\n"),
    (Same, "  proxy: null\n  trustedServices: ~\n  virtualNetworkRules:\n  ipRules:\n"),
    (Same, "  mode: ~\n  defaultAction: null\n  bypass:\n  denial: NULL\n  vault: ~\n  management: ~\n\
     \x20 accessLog:\n  clientAddress: ~\n"),
    (Same, "  proxy: {replicas: ~, resources: {limits: ~, requests: null}, tls: ~, service: {type: ~, \
     annotations: ~}}\n"),
    (Same, "  ipRules: [{value: 203.0.113.7, name: ~, serviceTag: ~, cloud: ~, expiresAt: ~}]\n"),
    (Same, "  virtualNetworkRules: [{subnet: ~, pods: {podSelector: {matchExpressions: ~}}, \
     ignoreMissingServiceEndpoint: ~}]\n"),
    (Same, "  clientAddress: {source: XForwardedFor, trustedProxies: [10.0.0.1, '10.2.0.9/32']}\n"),
    (Same, "  clientAddress:\n    source: XForwardedFor\n    trustedProxies:\n    - pods: {namespaceSelector: \
     {matchLabels: {kubernetes.io/metadata.name: other}}}\n    - 10.0.0.1\n"),
    (Same, "  clientAddress: {source: XForwardedFor, trustedProxies: [&p {pods: {podSelector: {}}}, {pods: \
     {podSelector: {matchLabels: {a: b}}}}]}\n"),
    (Same, "  clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: ~, namespaceSelector: \
     {matchLabels: ~}}}]}\n"),
    (Same, "  clientAddress: {source: XForwardedFor, trustedProxies: [{\"pods\": {podSelector: {matchExpressions: \
     [{key: a, operator: In, values: [b]}]}}}]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [~]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [10.0.0.1, ]}\n  nothing: a\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: {pods: {podSelector: {}}}}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [[10.0.0.1]]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [10.0]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [{}]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {}}]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [{pods: ~}]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {}}, a: 10.0.0.1}]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {}}, value: ~}]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {}}, pods: {}}]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [{podSelector: {}}]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {matchLabels: \
     {team: ~}}}}]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {matchLabels: \
     {team: web, app: null}}}}]}\n"),
    (Refused, "  clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {matchLabels: \
     {yes: web}}}}]}\n"),
    (Refused, "  ipRules: [~]\n"),
    (Refused, "  ipRules: [{value: ~}]\n"),
    (Refused, "  nothing: ~\n"),
    (Refused, "  proxy: {service: {annotations: {a: ~}}}\n"),
    (Refused, "  proxy: {resources: {limits: {cpu: ~}}}\n"),
];

/// Lines that are hard to tell: whether they are refused here matters less than what they mean.
#[rustfmt::skip] // read by eye
const ODD: &[&str] = &[
    "  proxy:\n    service:\n      annotations:\n        a: |\n          x\n          \ty\n          \t\n",
    "  proxy:\n    service:\n      annotations:\n        a: \"x\n\ty\"\n",
    "\t# note\n  denial: Drop\n",
    "  vault: {namespaces: [\n\ta]}\n",
    "  ?\tdenial\n  :\tDrop\n",
    "  ipRules:\n  - {<<: [{name: a}, ~], value: 203.0.113.8}\n",
    "  ? |\n    denial\n  : Drop\n",
    "  ? >-\n    denial\n  : Drop\n",
    "  \"denial\" : Drop\n",
    "  denial  :  Drop  \n",
    "  denial :Drop\n",
    "  denial: Drop:\n",
    "  denial: :Drop\n",
    "  denial:\n    Drop\n",
    "  denial:\n\n    # note\n    Drop\n",
    "  denial:\n  Drop\n",
    "  denial: Dr\n    op\n",
    "  denial: !!str Drop\n",
    "  vault: !!map {}\n",
    "  ipRules: !!seq []\n",
    "  vault: !<tag:yaml.org,2002:map> {}\n",
    "  ipRules:\n  -\n    value: 203.0.113.7\n  - value: 203.0.113.8\n",
    "  ipRules:\n    - value: 203.0.113.7\n   # note\n    - value: 203.0.113.8\n",
    "  ipRules:\n- value: 203.0.113.7\n",
    "  ipRules: [{value: 203.0.113.7},]\n",
    "  ipRules: [,{value: 203.0.113.7}]\n",
    "  ipRules: [{value: 203.0.113.7,},]\n",
    "  ipRules: [{value: 203.0.113.7}]]\n",
    "  ipRules: [\n{value: 203.0.113.7}\n]\n",
    "  ipRules: [ # note\n    {value: 203.0.113.7} # note\n    ]\n",
    "  ipRules: [{value: 203.0.113.7}#note\n    ]\n",
    "  ipRules: [{value: 203.0.113.7 #note\n    }]\n",
    "  ipRules: [{value: 203.0.113.7\n    , name: hq}]\n",
    "  ipRules: [{\tvalue:\t203.0.113.7\t}]\n",
    "  ipRules:\n  -\tvalue: 203.0.113.7\n",
    "  ipRules:\n  - value: 203.0.113.7\n  \tname: hq\n",
    "  ipRules:\n  - value: 203.0.113.7\n\t\n  - value: 203.0.113.8\n",
    "  ipRules:\n  - {value: 203.0.113.7, name: &a.b hq}\n",
    "  ipRules:\n  - {value: 203.0.113.7, name: &\u{e9} hq}\n",
    "  ipRules:\n  - {value: 203.0.113.7, name: &a hq}\n  denial: &a Drop\n",
    "  ipRules:\n  - &r {value: 203.0.113.7}\n  - <<: *r\n    value: 203.0.113.8\n",
    "  ipRules:\n  - &r {value: 203.0.113.7}\n  - value: 203.0.113.8\n    <<: *r\n",
    "  ipRules:\n  - &r {value: 203.0.113.7, <<: {name: a}}\n  - {<<: *r, value: 203.0.113.8, name: b}\n",
    "  ipRules:\n  - {<<: *r, value: 203.0.113.8}\n",
    "  ipRules:\n  - {<<: [], value: 203.0.113.8}\n",
    "  ipRules:\n  - {<<: [~], value: 203.0.113.8}\n",
    "  ipRules:\n  - {<<: a, value: 203.0.113.8}\n",
    "  ipRules:\n  - &r {value: 203.0.113.8, name: *r}\n",
    "  &k denial: Drop\n",
    "  &k denial : Drop\n  vault: {namespaces: [*k ]}\n",
    "  \u{a0}denial: Drop\n",
    "  denial:\u{a0}Drop\n",
    "  denial: Drop\u{3000}\n",
    "  denial: \u{200b}Drop\n",
    "  den\u{ad}ial: Drop\n",
    "  vault: {namespaces: [- a]}\n",
    "  vault: {namespaces: [-a]}\n",
    "  vault: {namespaces: [a-, \"b\" , c]}\n",
    "  vault: {namespaces: [\"a\"\"b\"]}\n",
    "  vault: {namespaces: [\"a\"b]}\n",
    "  vault: {namespaces: ['a\n\n    b']}\n",
    "  vault: {namespaces: [a\n    b]}\n",
    "  vault: {namespaces: [\"a\\n\"]}\n",
    "  vault: {namespaces: [\"a\\q\"]}\n",
    "  vault: {namespaces: [\"\\ud83d\\ude00\"]}\n",
    "  vault: {namespaces: [\"\\U0000d83d\"]}\n",
    "  vault: {namespaces: [{a}]}\n",
    "  vault: {namespaces: [a]}{}\n",
    "  vault: {namespaces: [a]} {}\n",
    "  vault: {namespaces: [a], }\n",
    "  vault: {? namespaces : [a]}\n",
    "  vault: {? namespaces, ? api : OpenBao}\n",
    "  vault: {namespaces: [? a]}\n",
    "  vault: {namespaces: [a\n---\n]}\n",
    "  vault: {namespaces: [|\n    a\n    ]}\n",
    "  denial: |0\n    Drop\n",
    "  denial: |10\n    Drop\n",
    "  denial: |-2\n    Drop\n",
    "  denial: |-\n   \n    Drop\n",
    "  denial: |-\n\n\n   Drop\n",
    "  denial: >-\n    Drop\n\n\n",
    "  denial: |-\n    Drop\n # note\n",
    "  denial: |-#\n    Drop\n",
    "  denial: |- a\n    Drop\n",
    "  denial: \"Dr\\\n    op\"\n",
    "  denial: \"Drop\n\"\n",
    "  denial: *denial\n",
    "  denial: &a\n  mode: *a\n",
    "  denial: &a Drop\n  mode: &a Enforced\n",
    "# note\n  denial: Drop\n",
    "  denial: Drop\n #note\n",
    "  denial: Drop\n...\n",
    "  denial: Drop\n...#\n",
    "  denial: Drop\n... \n# note\n",
    "  denial: Drop\n.... \n",
    "  denial: Drop\n--- \n...\n",
    "  denial: Drop\n----\n",
    "  denial: Drop\n-- -\n",
    "  denial: Drop\n ---\n",
    "  denial: Drop\n%a\n",
    "  denial: Drop\n\n%YAML 1.1\n---\n",
    "  denial: Drop\n\u{c}",
    "  denial: Drop\u{b}\n",
    "  denial: Drop\n\u{0}\n",
];

/// Labels of a rule that selects pods.
#[rustfmt::skip] // read by eye
const LABELS: &[(Verdict, &str)] = &[
    (Refused, "{team: null}"),
    (Refused, "{team: ~}"),
    (Refused, "{team: }"),
    (Refused, "{team}"),
    (Refused, "{team: web, app: null}"),
    (Same, "{team: \"\"}"),
    (Refused, "{}"),
    (Same, "~"),
    (Same, "{\"yes\": a, '010': b, \"1.10\": c}"),
    (Refused, "{yes: a}"),
    (Refused, "{010: a}"),
    (Refused, "{1.10: a}"),
    (Refused, "{8: a}"),
    (Refused, "{true: a}"),
    (Refused, "{~: a}"),
    (Refused, "{1e3: a}"),
    (Refused, "{!!str 8: a}"),
    (Refused, "{team: web, <<: {team: app}}"),
    (Same, "{<<: {team: app, app: a}, team: web}"),
    (Same, "{<<: [{team: app}, {team: b, app: a}]}"),
    (Refused, "{<<: {team: app}, <<: {team: web}}"),
    (Refused, "{\"<<\": {team: app}}"),
    (Refused, "{<<: ~, team: web}"),
    (Refused, "{<<: {team: ~}}"),
];

/// Policies of one file.
fn plain(name: &str) -> String {
    policy(name, "")
}

fn labels(labels: &str) -> String {
    format!("  virtualNetworkRules: [{{pods: {{podSelector: {{matchLabels: {labels}}}}}}}]\n")
}

fn network(subnet: &str) -> String {
    format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {{name: ID}}\n\
         spec:\n  subnets:\n  - {subnet}\n"
    )
}

/// Lines of a policy's spec with an annotation of the proxies' Service.
fn annotation(value: &str) -> String {
    format!("  proxy:\n    service:\n      annotations:\n        a: {value}\n")
}

fn with_metadata(lines: &str) -> String {
    plain("ID").replace("  name: ID\n  n", &format!("  name: ID\n  {lines}\n  n"))
}

fn list(member: &str) -> String {
    format!("apiVersion: v1\nkind: List\nitems:\n{}", indented(member))
}

fn indented(text: &str) -> String {
    format!("- {}\n", text.trim_end().replace('\n', "\n  "))
}

/// JSON of a policy with these members in its spec.
fn json(spec: &str) -> String {
    format!(
        "{{\"apiVersion\":\"vaultwall.dev/v1alpha1\",\"kind\":\"VaultNetworkPolicy\",\"metadata\":{{\"name\":\"ID\",\
         \"namespace\":\"spellings\"}},\"spec\":{{\"targetRef\":{{\"name\":\"ID\",\"port\":8200}}{spec}}}}}"
    )
}

/// A trusted service with these identities.
fn service(identities: &str) -> String {
    let kind = "apiVersion: vaultwall.dev/v1alpha1\nkind: TrustedService\nmetadata: {name: ID}";
    let scenarios = "[{name: backup, operations: [keys/backup, keys/get]}]";
    format!("{kind}\nspec:\n  scenarios: {scenarios}\n  identities: {identities}\n")
}

/// Documents, lines and objects.
#[rustfmt::skip] // read by eye
fn documents() -> Vec<(Verdict, String)> {
    let (one, two) = (plain("ID-a"), plain("ID-b"));
    let hidden = policy("ID", "  defaultAction: Deny\n");
    vec![
        // Documents and lines.
        (Same, plain("ID")),
        (Same, service("[{serviceAccount: {namespace: a, name: &a b}}, \
         {registeredResource: {serviceAccountName: *a }}]")),
        (Same, service("~")),
        (Refused, service("[{serviceAccount: {namespace: a, name: no}}]")),
        (Refused, service("[{serviceAccount: {namespace: a, name: b}, registeredResource: ~, federated: ~}]")),
        (Same, format!("{one}---\n{two}")),
        (Same, format!("---\n---\n{one}--- # note\n# nothing\n---   \n{two}---\n")),
        (Same, format!("{one}...\n---\n{two}...\n")),
        (Same, format!("\u{feff}{one}---\n{two}")),
        (Same, format!("{one}---\n{two}").replace('\n', "\r\n")),
        (Same, format!("{one}--- \t\nnull\n---\n~\n---\n{two}")),
        (Same, plain("ID").trim_end().to_owned()),
        (Refused, format!("{one}...\n{two}")),
        (Refused, format!("{one}... # note\n\n{two}")),
        (Refused, format!("{one}---# note\n{two}")),
        (Refused, format!("{one}--- {{}}\n---\n{two}")),
        (Refused, format!("{one}---\u{a0}\n{two}")),
        (Refused, format!("{one}\r---\r{two}")),
        (Refused, format!("{one}---\n\u{feff}{two}")),
        (Refused, format!("%YAML 1.1\n---\n{one}")),
        (Refused, format!("%YAML 1.2\n---\n{one}")),
        (Refused, format!("%TAG ! tag:x,2000:\n---\n{one}")),
        (Refused, format!("{hidden}  # note\u{85}  denial: Drop\n")),
        (Refused, format!("{hidden}  # note\u{2028}  denial: Drop\n")),
        (Refused, format!("{hidden}  # note\u{2029}  denial: Drop\n")),
        (Refused, format!("{hidden}  # note\r  denial: Drop\n")),
        (Same, format!("# \u{e9}\u{1f512}\n{}", plain("ID"))),
        (Same, policy("ID", &annotation("|\n          x\n          y")).replace('\n', "\r\n")),
        // Objects.
        (Refused, format!("{}  targetRef: {{name: ID, port: 8201}}\n", plain("ID"))),
        (Refused, format!("{}spec: {{}}\n", plain("ID"))),
        (Same, plain("ID").replace("kind: ", "kind: &k ")),
        (Refused, format!("{}---\n{}", policy("ID-a", "  denial: &a Drop\n"), policy("ID-b", "  denial: *a\n"))),
        // Null for what is required, and in lists.
        (Same, network("{name: a, pods: ~, serviceEndpoints: ~, addressPrefixes: [10.0.0.0/8]}")),
        (Same, network("{name: a, pods: {namespaceSelector: {matchLabels: ~}, podSelector: ~}}")),
        (Refused, network("{name: a, pods: {namespaceSelector: {matchLabels: {team: ~}}}}")),
        (Refused, network("{name: a, pods: {namespaceSelector: ~, podSelector: {}}}")),
        (Refused, network("{name: a, serviceEndpoints: [~], addressPrefixes: [10.0.0.0/8]}")),
        (Refused, network("~")),
        (Refused, policy("ID", "  targetRef: ~\n").replacen("  targetRef:\n    name: ID\n    port: 8200\n", "", 1)),
        (Refused, plain("ID").replace("    port: 8200\n", "    port: ~\n")),
        (Refused, plain("ID").replace("metadata:\n  name: ID\n  namespace: spellings\n", "metadata: ~\n")),
        (Refused, plain("ID").split("spec:").next().unwrap().to_owned() + "spec: ~\n"),
    ]
}

/// Metadata, Lists, objects of other kinds, and JSON.
#[rustfmt::skip] // read by eye
fn objects() -> Vec<(Verdict, String)> {
    let (one, two) = (plain("ID-a"), plain("ID-b"));
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sID}";
    vec![
        // Metadata; `default` is the namespace of kubectl's context in this test.
        (Same, plain("ID").replace("  namespace: spellings\n", "")),
        (Same, plain("ID").replace("namespace: spellings", "namespace: ~")),
        (Same, plain("ID").replace("namespace: spellings", "namespace: \"\"")),
        (Same, with_metadata("creationTimestamp: null\n  labels: ~\n  annotations:")),
        (Refused, with_metadata("labels: {a: ~}")),
        (Refused, with_metadata("labels: {a: 007}")),
        (Refused, with_metadata("labels: {a: 7}")),
        (Refused, plain("ID").replace("kind: VaultNetworkPolicy", "kind: vaultnetworkpolicy")),
        (Refused, plain("ID").replace("namespace: spellings", "namespace: 010")),
        (Refused, plain("ID").replace("  name: ID\n  n", "  name: 010\n  n")),
        (Refused, plain("ID").replace("  name: ID\n  n", "  name: yes\n  n")),
        (Refused, plain("ID").replace("    name: ID\n    port", "    name: 007\n    port")),
        // Lists.
        (Same, format!("apiVersion: v1\nkind: List\nitems:\n{}{}", indented(&one), indented(&two))),
        (Same, format!("apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: \"\"}}\nitems: []\n---\n{one}")),
        (Same, format!("apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicyList\nitems:\n{}", indented(&one))),
        (Refused, format!("apiVersion: v1\nkind: Anything\nitems:\n{}", indented(&one))),
        (Refused, format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: id}}\nitems:\n{}", indented(&one))),
        (Refused, list(&list(&one))),
        // Objects of other kinds are not ours to judge.
        (Same, format!("{config_map}\nimmutable: yes\n---\n{one}")),
        (Same, format!("{config_map}\ndata: {{a: b, <<: {{a: c}}}}\n---\n{one}").replace("sID", "tID")),
        (Refused, plain("ID").replace("kind: ", "x: &x {kind: VaultNetworkPolicy}\nkind: Other\n<<: *x\ny: ")),
        (Refused, format!("apiVersion: v1\nkind: List\nitems:\n{}- ~\n", indented(&one))),
        (Refused, format!("apiVersion: v1\nkind: List\nitems:\n{}items: []\n", indented(&one))),
        (Refused, format!("x: &x {{items: []}}\napiVersion: v1\nkind: List\nitems:\n{}<<: *x\n", indented(&one))),
        (Refused, format!("apiVersion: v1\nkind: List\nitems:\n{}", indented(&policy("ID", &labels("{team: ~}"))))),
        // JSON.
        (Same, json("")),
        (Same, json(",\"mode\":null,\"proxy\":{\"service\":{\"annotations\":{\"a\":\"\\u0061\\/\\ud83d\\ude00\"}}}")),
        (Same, format!("{}\n---\n{}", json("").replace("ID", "ID-a"), two)),
        (Same, json("").replace(",\"", ",\n\t\"")),
        (Refused, json(",\"mode\":\"Enforced\",\"mode\":\"Enforced\"")),
        (Refused, json(",\"proxy\":{\"service\":{\"annotations\":{\"a\":\"\\ud83d\"}}}")),
        (Refused, format!("{}\n---\n{}", json("").replace("ID", "ID-a"), policy("ID-b", &annotation("\"\\/\"")))),
        (Refused, json(",\"proxy\":{\"replicas\":2.0}")),
        (Refused, json(",\"proxy\":{\"replicas\":010}")),
        (Refused, json(",\"virtualNetworkRules\":[{\"pods\":{\"podSelector\":{\"matchLabels\":{\"team\":null}}}}]")),
        (Refused, format!("{}\n{}", json("").replace("ID", "ID-a"), json("").replace("ID", "ID-b"))),
        (Refused, json("").replace('"', "")),
        (Same, json("").replace('"', "").replace(':', ": ")),
    ]
}

/// The files, each with its verdict.
pub(super) fn spellings() -> Vec<Spelling> {
    let files = documents().into_iter().chain(objects());
    let mut all: Vec<Spelling> = files
        .map(|(verdict, text)| Spelling::new(verdict, text))
        .collect();
    all.extend(
        SPECS
            .iter()
            .map(|(verdict, lines)| Spelling::of_spec(*verdict, lines)),
    );
    all.extend(
        LABELS
            .iter()
            .map(|(verdict, text)| Spelling::of_spec(*verdict, &labels(text))),
    );
    all.extend(
        ODD.iter()
            .map(|lines| Spelling::of_spec(Verdict::Either, lines)),
    );
    // Texts over several lines: what is folded, kept and cut.
    let texts = [
        "|\n          a\n",
        "|-\n          a\n",
        "|+\n          a\n\n\n",
        ">\n          a\n          b\n\n          c\n",
        ">-\n          a\n            b\n          c\n",
        "|2\n          a\n",
        "|1-\n          a\n",
        "| # note\n          a\n          # kept\n",
        "|\n\n          a\n",
        "\"a\n\n          b\"",
        "'a\n          b'",
        "\"a \\\n          b\"",
        "a\n          b\n\n          c",
        "\"a\tb\"",
        "\"\\ta\\u00e9\\U0001F512\"",
        "\"\\N\\L\\P\\_\"",
        "|\n          a\n  # note",
    ];
    all.extend(texts.map(|text| {
        Spelling::of_spec(
            Same,
            &format!("  proxy:\n    service:\n      annotations:\n        a: {text}\n"),
        )
    }));
    // The last line of a file without a line feed.
    all.extend(
        ["|\n          a", ">\n          a", "|+\n          a"].map(|text| {
            Spelling::of_spec(
                Same,
                &format!("  proxy:\n    service:\n      annotations:\n        a: {text}"),
            )
        }),
    );
    all
}
