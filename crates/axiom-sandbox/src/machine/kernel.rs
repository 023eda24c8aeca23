//! What the kernel says about itself, where trying takes a system call that safe code cannot make.
//!
//! A caller that can make it passes a probe of its own; until then these are unproven at best.

use super::Finding;

/// The first kernels with each version of Landlock's interface, newest first.
const LANDLOCK_VERSIONS: [((u32, u32), u32); 7] = [
    ((6, 15), 7),
    ((6, 12), 6),
    ((6, 10), 5),
    ((6, 7), 4),
    ((6, 2), 3),
    ((5, 19), 2),
    ((5, 13), 1),
];

pub(super) fn release() -> String {
    fs_err::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

pub(super) fn landlock() -> Finding {
    let release = release();
    let Some(version) = number(&release).and_then(landlock_version) else {
        return Finding::no(format!("kernel {release} is older than it"));
    };
    match fs_err::read_to_string("/sys/kernel/security/lsm") {
        Ok(modules) if !modules.trim().split(',').any(|module| module == "landlock") => {
            Finding::no(format!("not among the security modules: {}", modules.trim()))
        }
        Ok(_) => Finding::unproven(format!(
            "switched on; kernel {release} has up to ABI version {version}"
        )),
        Err(_) => Finding::unproven(format!(
            "kernel {release} may have it, up to ABI version {version}"
        )),
    }
}

pub(super) fn seccomp() -> Finding {
    match fs_err::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.split_whitespace().any(|action| action == "errno") => {
            Finding::unproven(format!("not tried; the kernel offers {}", actions.trim()))
        }
        Ok(actions) => Finding::no(format!("the kernel offers only {}", actions.trim())),
        Err(error) => Finding::no(format!("the kernel offers no filters: {error}")),
    }
}

/// The first two numbers of `6.12.4-generic`.
fn number(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn landlock_version(kernel: (u32, u32)) -> Option<u32> {
    let found = LANDLOCK_VERSIONS.iter().find(|(since, _)| kernel >= *since);
    found.map(|(_, version)| *version)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kernels_have_their_version_of_landlock() {
        let check = |release: &str, expected: Option<u32>| {
            assert_eq!(number(release).and_then(landlock_version), expected, "{release}");
        };
        check("5.10.0-30-amd64", None);
        check("5.15.0", Some(1));
        check("6.1", Some(2));
        check("7.0.1+", Some(7));
        check("odd", None);
    }

    proptest! {
        #[test]
        fn two_numbers_come_back(major in 0u32..100, minor in 0u32..100, rest in "([.-][a-z0-9.]{0,9})?") {
            prop_assert_eq!(number(&format!("{major}.{minor}{rest}")), Some((major, minor)));
        }
    }
}
