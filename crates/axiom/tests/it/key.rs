//! Keys: making them, and everything that can be wrong with a file of them.

use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;

use crate::session::Scratch;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const CONFIG: &str = "[gateway]\nkey_file = \"secret/axiom.keys\"\n";

fn with_keys(name: &str, keys: &str) -> Scratch {
    let scratch = Scratch::with(name, "axiom.toml", CONFIG);
    scratch.write("secret/axiom.keys", keys);
    set_mode(&scratch, 0o600);
    scratch
}

fn set_mode(scratch: &Scratch, mode: u32) {
    let file = scratch.path.join("secret/axiom.keys");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_fresh_key_each_time() {
    let scratch = Scratch::new("key-new");
    let [first, second] = [scratch.run(&["key", "new"]), scratch.run(&["key", "new"])];
    assert_ne!(first, second);
    let key = first.strip_prefix("exit 0\n--- stdout\n").unwrap().trim_end();
    assert_eq!(key.len(), KEY.len());
    let scratch = with_keys("key-new-used", &format!("{key}\n"));
    assert_snapshot!(scratch.run(&["config", "check"]), @r"
    exit 0
    --- stderr
    axiom.toml is fine: servers 0, views 0
    ");
}

#[test]
fn a_file_of_keys_grows() {
    let scratch = Scratch::with("key-into", "axiom.toml", CONFIG);
    std::fs::create_dir(scratch.path.join("secret")).unwrap();
    let into = ["key", "new", "--into", "secret/axiom.keys"];
    assert_snapshot!(scratch.run(&into), @r"
    exit 0
    --- stderr
    a key is in secret/axiom.keys now
    ");
    let file = scratch.path.join("secret/axiom.keys");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // As an editor may leave it.
    let first = scratch.read("secret/axiom.keys");
    scratch.write("secret/axiom.keys", &format!("# ours\n{}", first.trim_end()));
    assert_snapshot!(scratch.run(&into), @r"
    exit 0
    --- stderr
    a key is in the last line of secret/axiom.keys now: it opens; moved to the first line, it seals
    ");
    assert_snapshot!(scratch.run(&[&into[..], &["--json"]].concat()), @r#"
    exit 0
    --- stdout
    {"into":"secret/axiom.keys","keys":3}
    "#);
    let lines = scratch.read("secret/axiom.keys");
    assert_eq!(lines.lines().count(), 4, "{lines}");
    assert!(lines.starts_with(&format!("# ours\n{first}")), "{lines}");
    assert_snapshot!(scratch.run(&["config", "check"]), @r"
    exit 0
    --- stderr
    axiom.toml is fine: servers 0, views 0
    ");
}

#[test]
fn what_is_wrong_with_keys() {
    let missing = Scratch::with("key-missing", "axiom.toml", CONFIG);
    assert_snapshot!(missing.run(&["config", "check"]), @r#"
    exit 1
    --- stderr
      × `gateway.key_file`: failed to open file `secret/axiom.keys`: No such file or directory (os error 2)
       ╭─[axiom.toml:2:12]
     1 │ [gateway]
     2 │ key_file = "secret/axiom.keys"
       ·            ─────────┬─────────
       ·                     ╰── the file of keys
       ╰────
      help: `axiom key new --into FILE` puts a fresh key into a file
    error: axiom.toml has 1 error
    "#);
    let bad = with_keys("key-bad", &format!("# keys\n{KEY}\nnonsense\n"));
    assert_snapshot!(bad.run(&["config", "check"]), @r#"
    exit 1
    --- stderr
      × `gateway.key_file`: in secret/axiom.keys line 3 is no key: a key of 6 bytes, not of 32
       ╭─[axiom.toml:2:12]
     1 │ [gateway]
     2 │ key_file = "secret/axiom.keys"
       ·            ─────────┬─────────
       ·                     ╰── the file of keys
       ╰────
      help: `axiom key new --into FILE` puts a fresh key into a file
    error: axiom.toml has 1 error
    "#);
    let open = with_keys("key-open", KEY);
    set_mode(&open, 0o644);
    assert_snapshot!(open.run(&["config", "check"]), @r#"
    exit 0
    --- stderr
      ⚠ `gateway.key_file`: everybody on this machine can read secret/axiom.keys
       ╭─[axiom.toml:2:12]
     1 │ [gateway]
     2 │ key_file = "secret/axiom.keys"
       ·            ─────────┬─────────
       ·                     ╰── the file of keys
       ╰────
      help: whoever has a key can make session ids of any client; `chmod 600` keeps it to its owner
    axiom.toml is fine: servers 0, views 0
    "#);
}

#[test]
fn where_a_replica_is() {
    let check = |name, advertise: &str| {
        let scratch = with_keys(name, KEY);
        scratch.write("axiom.toml", &format!("{CONFIG}advertise = \"{advertise}\"\n"));
        scratch.run(&["config", "check"])
    };
    assert_snapshot!(check("advertise", "http://10.0.0.5:3000/"), @r"
    exit 0
    --- stderr
    axiom.toml is fine: servers 0, views 0
    ");
    assert_snapshot!(check("advertise-words", "10.0.0.5:3000"), @r#"
    exit 1
    --- stderr
      × `gateway.advertise` must be a base URL
       ╭─[axiom.toml:3:13]
     2 │ key_file = "secret/axiom.keys"
     3 │ advertise = "10.0.0.5:3000"
       ·             ───────┬───────
       ·                    ╰── this value
       ╰────
      help: write scheme, host and port, like "http://10.0.0.5:3000"
    error: axiom.toml has 1 error
    "#);
    assert_snapshot!(check("advertise-any", "http://0.0.0.0:3000"), @r#"
    exit 1
    --- stderr
      × `gateway.advertise` must be a base URL
       ╭─[axiom.toml:3:13]
     2 │ key_file = "secret/axiom.keys"
     3 │ advertise = "http://0.0.0.0:3000"
       ·             ──────────┬──────────
       ·                       ╰── this value
       ╰────
      help: write the address and the port that the other replicas can connect to
    error: axiom.toml has 1 error
    "#);
    let alone = "[gateway]\nadvertise = \"http://10.0.0.5:3000\"\n";
    assert_snapshot!(Scratch::with("advertise-alone", "axiom.toml", alone).run(&["config", "check"]), @r#"
    exit 0
    --- stderr
      ⚠ `gateway.advertise` helps nobody without `gateway.key_file`
       ╭─[axiom.toml:2:13]
     1 │ [gateway]
     2 │ advertise = "http://10.0.0.5:3000"
       ·             ───────────┬──────────
       ·                        ╰── no other replica will know it
       ╰────
      help: replicas find each other by what they seal, and only with the same keys can they read it
    axiom.toml is fine: servers 0, views 0
    "#);
}
