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
    assert_snapshot!(scratch.run(&["config", "check"]), @"");
}

#[test]
fn a_file_of_keys_grows() {
    let scratch = Scratch::with("key-into", "axiom.toml", CONFIG);
    std::fs::create_dir(scratch.path.join("secret")).unwrap();
    let into = ["key", "new", "--into", "secret/axiom.keys"];
    assert_snapshot!(scratch.run(&into), @"");
    let file = scratch.path.join("secret/axiom.keys");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // As an editor may leave it.
    let first = scratch.read("secret/axiom.keys");
    scratch.write("secret/axiom.keys", &format!("# ours\n{}", first.trim_end()));
    assert_snapshot!(scratch.run(&into), @"");
    assert_snapshot!(scratch.run(&[&into[..], &["--json"]].concat()), @"");
    let lines = scratch.read("secret/axiom.keys");
    assert_eq!(lines.lines().count(), 4, "{lines}");
    assert!(lines.starts_with(&format!("# ours\n{first}")), "{lines}");
    assert_snapshot!(scratch.run(&["config", "check"]), @"");
}

#[test]
fn what_is_wrong_with_keys() {
    let missing = Scratch::with("key-missing", "axiom.toml", CONFIG);
    assert_snapshot!(missing.run(&["config", "check"]), @"");
    let bad = with_keys("key-bad", &format!("# keys\n{KEY}\nnonsense\n"));
    assert_snapshot!(bad.run(&["config", "check"]), @"");
    let open = with_keys("key-open", KEY);
    set_mode(&open, 0o644);
    assert_snapshot!(open.run(&["config", "check"]), @"");
}

#[test]
fn where_a_replica_is() {
    let check = |name, advertise: &str| {
        let scratch = with_keys(name, KEY);
        scratch.write("axiom.toml", &format!("{CONFIG}advertise = \"{advertise}\"\n"));
        scratch.run(&["config", "check"])
    };
    assert_snapshot!(check("advertise", "http://10.0.0.5:3000/"), @"");
    assert_snapshot!(check("advertise-words", "10.0.0.5:3000"), @"");
    assert_snapshot!(check("advertise-any", "http://0.0.0.0:3000"), @"");
    let alone = "[gateway]\nadvertise = \"http://10.0.0.5:3000\"\n";
    assert_snapshot!(Scratch::with("advertise-alone", "axiom.toml", alone).run(&["config", "check"]), @"");
}
