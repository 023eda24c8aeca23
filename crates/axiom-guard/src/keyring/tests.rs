#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::path::Path;

use super::*;

const NOW: u64 = 1_800_000_000;

fn wanted(name: &str) -> Wanted {
    Wanted {
        name: name.to_owned(),
        tenant: DEFAULT_TENANT.to_owned(),
        role: Role::Operator,
        expires: None,
    }
}

fn ring(path: &Path) -> Keyring {
    Keyring::load(path).unwrap()
}

#[test]
fn a_key_opens_until_it_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir.path().join("auth"));
    assert!(ring(&path).is_empty());
    let (key, record) = create(&path, &wanted("ci"), NOW).unwrap();
    let keys = ring(&path);
    let principal = keys.principal(&key, NOW).unwrap();
    assert_eq!((&*principal.name, principal.role), ("ci", Role::Operator));
    assert_eq!(record.standing(NOW), Standing::Good);
    let text = std::fs::read_to_string(&path).unwrap();
    let secret = key.to_text();
    assert!(!text.contains(secret.rsplit_once('_').unwrap().1), "{text}");

    let id = key.id().clone();
    revoke(&path, id.as_str(), NOW + 1).unwrap();
    let keys = ring(&path);
    assert_eq!(
        keys.principal(&key, NOW + 1),
        Err(Refused::Revoked { id: id.clone() })
    );
    let again = revoke(&path, id.as_str(), NOW + 2).unwrap_err();
    assert!(again.to_string().ends_with("is revoked already"), "{again}");
    // Its name is free again.
    create(&path, &wanted("ci"), NOW + 3).unwrap();
}

#[test]
fn other_keys_open_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(dir.path());
    let (key, _) = create(&path, &wanted("ci"), NOW).unwrap();
    let keys = ring(&path);
    let other = ApiKey::random();
    let id = other.id().clone();
    assert_eq!(keys.principal(&other, NOW), Err(Refused::Unknown { id }));
    // The id of one with the secret of another: a checksum is no secret, so such a text can be made.
    let forged = ApiKey::forged(key.id().clone(), &other);
    let id = key.id().clone();
    assert_eq!(keys.principal(&forged, NOW), Err(Refused::Forged { id }));
}

#[test]
fn a_key_that_is_rotated_stays_good_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(dir.path());
    let mut month = wanted("ci");
    month.expires = Some(NOW + 1000);
    let (old, _) = create(&path, &month, NOW).unwrap();
    let (new, record) = rotate(&path, "ci", 60, NOW + 100).unwrap();
    assert_eq!(record.expires, Some(NOW + 1100));
    let keys = ring(&path);
    let [a, b] = [&old, &new].map(|key| keys.principal(key, NOW + 159).unwrap().identity());
    assert_eq!(a, b, "they are the same principal");
    let id = old.id().clone();
    assert_eq!(keys.principal(&old, NOW + 160), Err(Refused::Expired { id }));
    keys.principal(&new, NOW + 1099).unwrap();
    keys.principal(&new, NOW + 1100).unwrap_err();
    let all = records(&path).unwrap();
    assert_eq!(all[0].replaced_by.as_ref(), Some(new.id()));
    // Both are good for a minute, and a name alone does not say which.
    let error = revoke(&path, "ci", NOW + 100).unwrap_err();
    assert!(
        matches!(error, ChangeError::Ambiguous { count: 2, .. }),
        "{error}"
    );
    // The old one never gets more time by being rotated.
    let (_, _) = rotate(&path, old.id().as_str(), 5000, NOW + 150).unwrap();
    assert_eq!(records(&path).unwrap()[0].expires, Some(NOW + 160));
}

#[test]
fn names_are_checked_and_are_not_taken_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(dir.path());
    create(&path, &wanted("ci"), NOW).unwrap();
    let error = create(&path, &wanted("ci"), NOW).unwrap_err();
    assert!(error.to_string().contains("axiom keys rotate"), "{error}");
    for name in ["", "a b", "a\n", "é", &"x".repeat(65)] {
        let error = create(&path, &wanted(name), NOW).unwrap_err();
        assert!(matches!(error, ChangeError::Name { .. }), "{error}");
    }
    assert_eq!(records(&path).unwrap().len(), 1);
}

#[test]
fn a_file_that_is_not_understood_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(dir.path());
    create(&path, &wanted("ci"), NOW).unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    let record = whole.split_once("[\n").unwrap().1.rsplit_once("\n  ]").unwrap().0;
    for (text, says) in [
        (String::new(), "cannot be understood"),
        (
            whole.chars().take(whole.len() / 2).collect(),
            "cannot be understood",
        ),
        (whole.replace("operator", "root"), "unknown variant `root`"),
        (whole.replace("\"role\"", "\"rule\""), "unknown field `rule`"),
        (whole.replace("blake3:", "md5:"), "begins with blake3:"),
        (
            whole.replace(record, &format!("{record},\n{record}")),
            "is in it twice",
        ),
        (
            whole.replace("\"version\": 1", "\"version\": 2, \"more\": 0"),
            "a newer axiom",
        ),
    ] {
        std::fs::write(&path, &text).unwrap();
        let error = Keyring::load(&path).unwrap_err();
        assert!(error.to_string().contains(says), "{error}\n{text}");
        // And it is not written over.
        create(&path, &wanted("b"), NOW).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn many_that_change_it_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let path = &path;
            scope.spawn(move || {
                for n in 0..10 {
                    create(path, &wanted(&format!("{thread}-{n}")), NOW).unwrap();
                    // A reader never sees half of it.
                    ring(path);
                }
            });
        }
    });
    assert_eq!(ring(&path).len(), 80);
}

#[cfg(unix)]
#[test]
fn the_file_and_its_folder_are_for_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir.path().join("auth"));
    create(&path, &wanted("ci"), NOW).unwrap();
    for (path, expected) in [(path.parent().unwrap(), 0o700), (&path, 0o600)] {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, expected, "{path:?}");
    }
}
