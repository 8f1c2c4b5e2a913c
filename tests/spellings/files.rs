//! Whole files: how documents, lines, objects and lists are written.

use super::Verdict::{Refused, Same};
use super::{Spelling, policy};

/// Policies of one file.
fn plain(name: &str) -> String {
    policy(name, "")
}

fn labels(labels: &str) -> String {
    format!("  virtualNetworkRules: [{{pods: {{podSelector: {{matchLabels: {labels}}}}}}}]\n")
}

fn network(subnet: &str) -> String {
    format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {{name: ID}}\nspec:\n  subnets:\n  - {subnet}\n"
    )
}

fn indented(text: &str) -> String {
    text.lines()
        .enumerate()
        .map(|(index, line)| format!("{}{line}\n", if index == 0 { "- " } else { "  " }))
        .collect()
}

/// JSON of a policy with these members in its spec.
fn json(spec: &str) -> String {
    format!(
        "{{\"apiVersion\":\"vaultwall.dev/v1alpha1\",\"kind\":\"VaultNetworkPolicy\",\"metadata\":{{\"name\":\"ID\",\
         \"namespace\":\"spellings\"}},\"spec\":{{\"targetRef\":{{\"name\":\"ID\",\"port\":8200}}{spec}}}}}"
    )
}

/// The files, each with its verdict.
pub(super) fn spellings() -> Vec<Spelling> {
    let (one, two) = (plain("ID-a"), plain("ID-b"));
    let hidden = policy("ID", "  defaultAction: Deny\n");
    let mut all: Vec<Spelling> = [
        // Documents and lines.
        (Same, plain("ID")),
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
        (Refused, policy("ID", "  vault: {namespaces: [\"a\u{2028}b\"]}\n")),
        (Refused, policy("ID", "  vault: {namespaces: [a\u{85}b]}\n")),
        (Refused, policy("ID", "  vault: {namespaces: [\"a\u{1}b\"]}\n")),
        (Refused, policy("ID", "  vault: {namespaces: [\"a\u{7f}b\"]}\n")),
        (Refused, policy("ID", "  vault: {namespaces: [\"a\u{feff}b\"]}\n")),
        (Same, format!("# \u{e9}\u{1f512}\n{}", plain("ID"))),
        (Refused, policy("ID", "  proxy:\n    service:\n      annotations:\n        a: \"x\n---\ny\"\n")),
        (Refused, policy("ID", "  proxy:\n    service:\n      annotations:\n        a: \"x\n...\ny\"\n")),
        (Same, policy("ID", "  proxy:\n    service:\n      annotations:\n        a: |\n          ---\n          x\n          ...\n")),
        (Same, policy("ID", "  proxy:\n    service:\n      annotations:\n        a: |\n          x\n          y\n").replace('\n', "\r\n")),
        // Objects.
        (Refused, format!("{}  targetRef: {{name: ID, port: 8201}}\n", plain("ID"))),
        (Refused, format!("{}spec: {{}}\n", plain("ID"))),
        (Refused, policy("ID", "  mode: Enforced\n  \"mode\": Enforced\n")),
        (Same, policy("ID", "  \"mode\": 'Enforced'\n  ? denial\n  : Drop\n")),
        (Same, policy("ID", "  vault : {namespaces : [a , b,]}\n")),
        (Same, policy("ID", "  vault: {\"namespaces\":[\"a\",\"b\"]}\n")),
        (Same, policy("ID", "  vault: {namespaces}\n")),
        (Refused, policy("ID", "  vault: {namespaces: [a: b]}\n")),
        (Refused, policy("ID", "  vault: {namespaces: [a, , b]}\n")),
        (Refused, policy("ID", "  vault: {[namespaces]: [a]}\n")),
        (Refused, policy("ID", "  vault: {{a: b}: [a]}\n")),
        (Refused, policy("ID", "  ? [a]\n  : b\n")),
        (Refused, policy("ID", "  : b\n")),
        (Refused, policy("ID", "  null: b\n")),
        (Refused, policy("ID", "\tmode: Enforced\n")),
        (Same, policy("ID", "  mode:\tEnforced\t# note\n")),
        (Same, policy("ID", "  vault:\n    namespaces: [\n      a,\n  b ]\n")),
        (Same, policy("ID", "  vault:\n    namespaces:\n      - a\n\n      # note\n      -   b\n")),
        (Same, policy("ID", "  proxy: {service: {annotations: {a: a#b, b: 'c # d', c: \"e\"}}} # note\n")),
        (Refused, policy("ID", "  mode: Enforced#note\n")),
        (Refused, policy("ID", "  mode: \"Enforced\"#note\n")),
        (Refused, policy("ID", "  mode: Enforced\u{a0}\n")),
        (Same, policy("ID", "  mode: \"Enforced\" #note\n")),
        // Labels.
        (Refused, policy("ID", &labels("{team: null}"))),
        (Refused, policy("ID", &labels("{team: ~}"))),
        (Refused, policy("ID", &labels("{team: }"))),
        (Refused, policy("ID", &labels("{team}"))),
        (Refused, policy("ID", &labels("{team: web, app: null}"))),
        (Same, policy("ID", &labels("{team: \"\"}"))),
        (Same, policy("ID", &labels("{}"))),
        (Same, policy("ID", &labels("~"))),
        (Same, policy("ID", &labels("{\"yes\": a, '010': b, \"1.10\": c}"))),
        (Refused, policy("ID", &labels("{yes: a}"))),
        (Refused, policy("ID", &labels("{010: a}"))),
        (Refused, policy("ID", &labels("{1.10: a}"))),
        (Refused, policy("ID", &labels("{8: a}"))),
        (Refused, policy("ID", &labels("{true: a}"))),
        (Refused, policy("ID", &labels("{~: a}"))),
        (Refused, policy("ID", &labels("{1e3: a}"))),
        (Refused, policy("ID", &labels("{!!str 8: a}"))),
        (Refused, policy("ID", &labels("{team: web, <<: {team: app}}"))),
        (Same, policy("ID", &labels("{<<: {team: app, app: a}, team: web}"))),
        (Same, policy("ID", &labels("{<<: [{team: app}, {team: b, app: a}]}"))),
        (Refused, policy("ID", &labels("{<<: {team: app}, <<: {team: web}}"))),
        (Refused, policy("ID", &labels("{\"<<\": {team: app}}"))),
        (Refused, policy("ID", &labels("{<<: ~, team: web}"))),
        (Refused, policy("ID", &labels("{<<: {team: ~}}"))),
        // Anchors.
        (Same, policy("ID", "  denial: &a Drop\n  vault: {namespaces: &n [a, b]}\n")),
        (Same, policy("ID", "  ipRules: [{name: &a one, value: 203.0.113.7}]\n  vault: {namespaces: [*a ]}\n")),
        (Same, policy("ID", "  ipRules: [{name: &a one, value: 203.0.113.7}]\n  vault: {namespaces: [&a two]}\n  proxy: {tls: {secretName: *a}}\n")),
        (Same, plain("ID").replace("kind: VaultNetworkPolicy\n", "").replace("metadata:", "kind: &k VaultNetworkPolicy\nmetadata:")),
        (Same, policy("ID", "  virtualNetworkRules:\n  - pods: &p {podSelector: &s {matchLabels: {team: web}}}\n  - pods: {namespaceSelector: {}, podSelector: *s}\n")),
        (Refused, policy("ID", "  vault: {namespaces: [*a, &a one]}\n")),
        (Refused, format!("{}---\n{}", policy("ID-a", "  denial: &a Drop\n"), policy("ID-b", "  denial: *a\n"))),
        (Refused, policy("ID", "  ? &k denial\n  : Drop\n  *k : Drop\n")),
        // Null for what is required, and in lists.
        (Same, policy("ID", "  proxy: null\n  trustedServices: ~\n  virtualNetworkRules:\n  ipRules:\n")),
        (Same, policy("ID", "  mode: ~\n  defaultAction: null\n  bypass:\n  denial: NULL\n  vault: ~\n  management: ~\n  accessLog:\n  clientAddress: ~\n")),
        (Same, policy("ID", "  proxy: {replicas: ~, resources: {limits: ~, requests: null}, tls: ~, service: {type: ~, annotations: ~}}\n")),
        (Same, policy("ID", "  ipRules: [{value: 203.0.113.7, name: ~, serviceTag: ~, cloud: ~, expiresAt: ~}]\n")),
        (Same, policy("ID", "  virtualNetworkRules: [{subnet: ~, pods: {podSelector: {matchExpressions: ~}}, ignoreMissingServiceEndpoint: ~}]\n")),
        (Same, network("{name: a, pods: ~, serviceEndpoints: ~, addressPrefixes: [10.0.0.0/8]}")),
        (Same, network("{name: a, pods: {namespaceSelector: {matchLabels: ~}, podSelector: ~}}")),
        (Refused, network("{name: a, pods: {namespaceSelector: {matchLabels: {team: ~}}}}")),
        (Refused, network("{name: a, pods: {namespaceSelector: ~, podSelector: {}}}")),
        (Refused, network("{name: a, serviceEndpoints: [~], addressPrefixes: [10.0.0.0/8]}")),
        (Refused, network("~")),
        (Refused, policy("ID", "  ipRules: [~]\n")),
        (Refused, policy("ID", "  ipRules: [{value: ~}]\n")),
        (Refused, policy("ID", "  targetRef: ~\n").replacen("  targetRef:\n    name: ID\n    port: 8200\n", "", 1)),
        (Refused, plain("ID").replace("    port: 8200\n", "    port: ~\n")),
        (Refused, plain("ID").replace("metadata:\n  name: ID\n  namespace: spellings\n", "metadata: ~\n")),
        (Refused, "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {name: ID}\nspec: ~\n".into()),
        (Refused, policy("ID", "  nothing: ~\n")),
        (Refused, policy("ID", "  proxy: {service: {annotations: {a: ~}}}\n")),
        (Refused, policy("ID", "  proxy: {resources: {limits: {cpu: ~}}}\n")),
        // Metadata; `default` is the namespace of kubectl's context in this test.
        (Same, plain("ID").replace("  namespace: spellings\n", "")),
        (Same, plain("ID").replace("namespace: spellings", "namespace: ~")),
        (Same, plain("ID").replace("namespace: spellings", "namespace: \"\"")),
        (Same, plain("ID").replace("  name: ID\n  n", "  name: ID\n  creationTimestamp: null\n  labels: ~\n  annotations:\n  n")),
        (Refused, plain("ID").replace("  name: ID\n  n", "  name: ID\n  labels: {a: ~}\n  n")),
        (Refused, plain("ID").replace("  name: ID\n  n", "  name: ID\n  labels: {a: 007}\n  n")),
        (Refused, plain("ID").replace("  name: ID\n  n", "  name: ID\n  labels: {a: 7}\n  n")),
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
        (Refused, format!("apiVersion: v1\nkind: List\nitems:\n{}", indented(&format!("apiVersion: v1\nkind: List\nitems:\n{}", indented(&one))))),
        // Objects of other kinds are not ours to judge.
        (Same, format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: sID}}\nimmutable: yes\n---\n{one}")),
        (Same, format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: tID}}\ndata: {{a: b, <<: {{a: c}}}}\n---\n{one}")),
        (Refused, format!("x: &x {{kind: VaultNetworkPolicy}}\nkind: Other\n<<: *x\n{}", plain("ID").replace("kind: VaultNetworkPolicy\n", ""))),
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
        (Refused, format!("{}\n---\n{}", json("").replace("ID", "ID-a"), policy("ID-b", "  proxy: {service: {annotations: {a: \"\\/\"}}}\n"))),
        (Refused, json(",\"proxy\":{\"replicas\":2.0}")),
        (Refused, json(",\"proxy\":{\"replicas\":010}")),
        (Refused, json(",\"virtualNetworkRules\":[{\"pods\":{\"podSelector\":{\"matchLabels\":{\"team\":null}}}}]")),
        (Refused, format!("{}\n{}", json("").replace("ID", "ID-a"), json("").replace("ID", "ID-b"))),
        (Refused, json("").replace('"', "")),
        (Same, json("").replace('"', "").replace(':', ": ")),
    ]
    .into_iter()
    .map(|(verdict, text)| Spelling::new(verdict, text))
    .collect();
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
