//! Validation of mount paths and vault namespaces.

use super::*;

#[test]
fn invalid_vault_namespaces_are_refused() {
    for good in ["team-a", "team-a/dev", "A.b_c~d", "a/b/c", "rooted", "system"] {
        assert!(policy(&[("spec.vault", json!({"namespaces": [good]}))]).is_ok(), "{good}");
    }
    for bad in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "./a",
        "a b",
        "a%2fb",
        "a;b",
        "ä",
        "a\\b",
        "*",
        "root",
        "sys",
        "audit",
        "auth",
        "cubbyhole",
        "identity",
        "a/sys",
        "sys/a",
    ] {
        assert_eq!(
            found(policy(&[("spec.vault", json!({"namespaces": [bad]}))])),
            ["spec.vault.namespaces[0] Invalid"],
            "{bad:?}"
        );
    }
    assert_eq!(
        found(policy(&[("spec.vault", json!({"namespaces": ["a", "b", "a"]}))])),
        ["spec.vault.namespaces[2] Duplicate"]
    );
}

#[test]
fn invalid_mount_paths_are_refused() {
    let engine = |path: &str| json!({"engines": [{"path": path, "type": "KvV2"}]});
    for good in ["secret", "team/kv", "A.b_c~d", "a/b/c", "system", "my/sys", "cubbyhole", "authority"] {
        assert!(policy(&[("spec.vault", engine(good))]).is_ok(), "{good}");
    }
    for bad in [
        "",
        "/",
        "/secret",
        "secret/",
        "a//b",
        ".",
        "..",
        "a/..",
        "a/./b",
        "a b",
        "a%2fb",
        "a;b",
        "a?b",
        "a#b",
        "ä",
        "a\\b",
        "*",
        "sys",
        "sys/raw",
        "auth",
        "auth/token",
        "identity",
        "identity/oidc",
    ] {
        assert_eq!(found(policy(&[("spec.vault", engine(bad))])), ["spec.vault.engines[0].path Invalid"], "{bad:?}");
    }
}

#[test]
fn mounts_and_namespaces_with_a_common_path_are_refused() {
    // listed namespaces | mounts `namespace:path` | expected violations
    let table: &[(&[&str], &[&str], &[&str])] = &[
        (&[], &["-:secret", "-:transit"], &[]),
        (&[], &["-:secret", "-:secret"], &["spec.vault.engines[1].path Duplicate"]),
        (&[], &["-:team/kv", "-:team"], &["spec.vault.engines[1].path Ambiguous"]),
        (&[], &["-:team", "-:team/kv"], &["spec.vault.engines[1].path Ambiguous"]),
        (&[], &["-:team", "-:teams", "-:tea/m"], &[]),
        (&[], &["a:secret"], &["spec.vault.engines[0].namespace Invalid"]),
        (&[], &["root:secret"], &["spec.vault.engines[0].namespace Invalid"]),
        (&[], &["*:secret"], &[]),
        (&["a", "b"], &["-:secret", "*:secret"], &[]),
        (&["a", "b"], &["a:secret", "b:secret", "-:secret"], &[]),
        (&["a", "b"], &["a:secret", "*:secret"], &["spec.vault.engines[1].path Duplicate"]),
        (&["a", "b"], &["*:team", "b:team/kv"], &["spec.vault.engines[1].path Ambiguous"]),
        (&["a"], &["-:a"], &["spec.vault.engines[0].path Ambiguous"]),
        (&["a"], &["-:a/kv"], &["spec.vault.engines[0].path Ambiguous"]),
        (&["a"], &["-:ab/kv", "-:b/a"], &[]),
        (&["a/b"], &["-:a"], &["spec.vault.engines[0].path Ambiguous"]),
        (&["a/b"], &["-:a/c"], &[]),
        (&["a/b"], &["-:a/b/c"], &["spec.vault.engines[0].path Ambiguous"]),
        // a mount in a namespace, and a namespace below that one
        (&["a", "a/b"], &["a:b/kv"], &["spec.vault.engines[0].path Ambiguous"]),
        (&["a", "a/b"], &["a:kv", "a/b:b"], &[]),
        (&["a", "a/b"], &["*:b"], &["spec.vault.engines[0].path Ambiguous"]),
        // with the namespace in the header, the path looks like one of the root namespace
        (&["a", "b"], &["a:b/kv"], &["spec.vault.engines[0].path Ambiguous"]),
        (&["a", "b"], &["a:b/sys"], &["spec.vault.engines[0].path Ambiguous"]),
        (&["a", "b"], &["*:b/sys"], &["spec.vault.engines[0].path Ambiguous"]),
        (&["a"], &["a:a"], &["spec.vault.engines[0].path Ambiguous"]),
        (&["a", "b"], &["a:c/b", "a:bc"], &[]),
    ];
    for (namespaces, mounts, expected) in table {
        let engines: Value = mounts
            .iter()
            .map(|mount| match mount.split_once(':').unwrap() {
                ("-", path) => json!({"path": path, "type": "KvV2"}),
                (namespace, path) => json!({"path": path, "type": "KvV2", "namespace": namespace}),
            })
            .collect();
        let vault = json!({"namespaces": namespaces, "engines": engines});
        assert_eq!(found(policy(&[("spec.vault", vault)])), *expected, "{namespaces:?} {mounts:?}");
    }
}

#[test]
fn auth_mounts_have_several_segments_and_no_second_meaning() {
    // mounts | expected violations
    let table: &[(&[&str], &[&str])] = &[
        (&[], &[]),
        (&["cluster1/k8s", "eu/cluster1/k8s", "a.b/c_d~e"], &[]),
        (&["k8s"], &["spec.vault.authMounts[0] Invalid"]),
        (&[""], &["spec.vault.authMounts[0] Invalid"]),
        (&["/a/b"], &["spec.vault.authMounts[0] Invalid"]),
        (&["a/b/"], &["spec.vault.authMounts[0] Invalid"]),
        (&["a//b"], &["spec.vault.authMounts[0] Invalid"]),
        (&["a/../b"], &["spec.vault.authMounts[0] Invalid"]),
        (&["a/%62"], &["spec.vault.authMounts[0] Invalid"]),
        (&["token/x"], &["spec.vault.authMounts[0] Invalid"]),
        (&["x/token"], &[]),
        (&["approle/role"], &["spec.vault.authMounts[0] Ambiguous"]),
        (&["a/b/users/c"], &["spec.vault.authMounts[0] Ambiguous"]),
        (&["a/b", "a/b"], &["spec.vault.authMounts[1] Duplicate"]),
        (&["a/b", "a/b/c"], &["spec.vault.authMounts[1] Duplicate"]),
        (&["a/b/c", "a/b"], &["spec.vault.authMounts[1] Duplicate"]),
        (&["a/b", "a/bc"], &[]),
    ];
    for (mounts, expected) in table {
        let vault = json!({"authMounts": mounts});
        assert_eq!(found(policy(&[("spec.vault", vault)])), *expected, "{mounts:?}");
    }
}
