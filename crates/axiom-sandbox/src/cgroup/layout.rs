//! Where the trees of groups are mounted, and which folder of each is our own group.
//!
//! Read from two texts of the kernel: `mountinfo` says which trees are mounted where and from which of their folders on
//! (a container often sees only its own part), `cgroup` says which group of each tree we are in. Paths are never assumed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use super::{Controller, GroupError, Version, file};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    pub(super) homes: Vec<Home>,
}

/// One tree, and our own group in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) version: Version,
    /// Of version 1: what this tree is for. Version 2 says so in a file.
    pub(super) controllers: Vec<Controller>,
    pub(super) mount: PathBuf,
    /// The folder of our own group, at or below `mount`.
    pub(super) own: PathBuf,
}

impl Layout {
    /// That of this process.
    pub fn of_this_process() -> Result<Layout, GroupError> {
        let mounts = file::read(Path::new("/proc/self/mountinfo"))?;
        let own = file::read(Path::new("/proc/self/cgroup"))?;
        Ok(Layout::parse(&mounts, &own))
    }

    /// From the texts of `/proc/<pid>/mountinfo` and `/proc/<pid>/cgroup`. Lines that make no sense are none of ours.
    pub fn parse(mountinfo: &str, own: &str) -> Layout {
        let memberships: Vec<Membership> = own.lines().filter_map(Membership::parse).collect();
        let mut layout = Layout::default();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            layout.add(&mount, &memberships);
        }
        layout
    }

    /// Without version 2, as on a machine that does not mount it.
    pub fn without_v2(mut self) -> Layout {
        self.homes.retain(|home| home.version == Version::V1);
        self
    }

    fn add(&mut self, mount: &Mount, memberships: &[Membership]) {
        let is_ours = |membership: &&Membership| membership.is_in(mount);
        let Some(membership) = memberships.iter().find(is_ours) else {
            return;
        };
        let Some(own) = below(&mount.point, &mount.root, &membership.group) else {
            return;
        };
        let controllers: Vec<Controller> = membership
            .controllers
            .iter()
            .filter_map(|name| Controller::from_name_v1(name))
            .collect();
        let known = |home: &Home| home.version == mount.version && home.controllers == controllers;
        // A tree that is mounted twice is the same tree; one without a controller that we know is of no use.
        if self.homes.iter().any(known) || (mount.version == Version::V1 && controllers.is_empty()) {
            return;
        }
        self.homes.push(Home {
            version: mount.version,
            controllers,
            mount: mount.point.clone(),
            own,
        });
    }
}

/// The folder at which a group is seen when the tree is mounted from its folder `root` on.
fn below(point: &Path, root: &Path, group: &Path) -> Option<PathBuf> {
    let rest = group.strip_prefix(root).ok()?;
    // A group outside our namespace is shown as `/../..`: nothing below the mount is ours then.
    let plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| match rest.as_os_str().is_empty() {
        true => point.to_owned(),
        false => point.join(rest),
    })
}

/// A line of `mountinfo`: `36 35 98:0 /root /point opts [tags...] - type source super-opts`.
struct Mount {
    version: Version,
    root: PathBuf,
    point: PathBuf,
    /// For version 1 this has the names of the controllers.
    super_options: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ');
        let root = unescaped(left.nth(3)?);
        let point = unescaped(left.next()?);
        let mut right = right.split(' ');
        let version = match right.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let super_options = right.nth(1)?.split(',').map(str::to_owned).collect();
        Some(Mount {
            version,
            root,
            point,
            super_options,
        })
    }
}

/// A line of `/proc/<pid>/cgroup`: `4:cpu,cpuacct:/group`, and `0::/group` for version 2.
struct Membership {
    controllers: Vec<String>,
    group: PathBuf,
}

impl Membership {
    fn parse(line: &str) -> Option<Membership> {
        let mut parts = line.splitn(3, ':');
        let _hierarchy = parts.next()?;
        let controllers = parts.next()?;
        let group = PathBuf::from(parts.next()?);
        let controllers = controllers.split(',').filter(|name| !name.is_empty());
        Some(Membership {
            controllers: controllers.map(str::to_owned).collect(),
            group,
        })
    }

    fn is_in(&self, mount: &Mount) -> bool {
        match mount.version {
            Version::V2 => self.controllers.is_empty(),
            Version::V1 => {
                let has = |name: &String| mount.super_options.contains(name);
                !self.controllers.is_empty() && self.controllers.iter().all(has)
            }
        }
    }
}

/// The kernel writes blanks in paths as `\040`.
fn unescaped(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'\\')
            .then(|| bytes.get(at + 1..at + 4).and_then(octal))
            .flatten();
        plain.push(code.unwrap_or(byte));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(plain))
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 8)
        .ok()
        .filter(|_| digits.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The own groups as `version controllers folder`.
    fn check(mountinfo: &str, own: &str, expected: &[&str]) {
        let homes = Layout::parse(mountinfo, own).homes;
        let lines: Vec<String> = homes
            .iter()
            .map(|home| {
                let names: Vec<&str> = home
                    .controllers
                    .iter()
                    .map(|controller| controller.name_v1())
                    .collect();
                format!("{:?} {} {}", home.version, names.join(","), home.own.display())
            })
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn version_2_alone() {
        check(
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
            "0::/user.slice/user-1000.slice/session-2.scope",
            &["V2  /sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope"],
        );
    }

    #[test]
    fn hybrid_with_controllers_together_and_a_named_tree() {
        check(
            "31 1 0:28 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
             32 1 0:29 / /cg/memory rw - cgroup cgroup rw,memory\n\
             33 1 0:30 / /cg/systemd rw - cgroup cgroup rw,name=systemd\n\
             34 1 0:31 / /cg/unified rw - cgroup2 cgroup2 rw\n\
             35 1 0:29 / /elsewhere rw - cgroup cgroup rw,memory",
            "4:memory:/a\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/b",
            &[
                "V1 cpu,cpuacct /cg/cpu",
                "V1 memory /cg/memory/a",
                "V2  /cg/unified/b",
            ],
        );
    }

    #[test]
    fn a_container_sees_its_part_only() {
        let mount = "31 1 0:28 /docker/77 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        check(
            mount,
            "4:memory:/docker/77/mine",
            &["V1 memory /sys/fs/cgroup/memory/mine"],
        );
        check(mount, "4:memory:/docker/77", &["V1 memory /sys/fs/cgroup/memory"]);
        check(mount, "4:memory:/docker/778", &[]);
        check(mount, "4:memory:/docker/77/../78", &[]);
        check("31 1 0:28 / /cg rw - cgroup2 none rw", "0::/../../out", &[]);
    }

    #[test]
    fn blanks_in_paths_are_blanks() {
        check(
            r"31 1 0:28 / /my\040groups\134x rw - cgroup2 cgroup2 rw",
            "0::/a b:c",
            &[r"V2  /my groups\x/a b:c"],
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(mountinfo in "[ a-z0-9/:,\\\\\n-]{0,200}", own in "[a-z0-9/:.,\n]{0,100}") {
            let layout = Layout::parse(&mountinfo, &own);
            for home in layout.homes {
                prop_assert!(home.own.starts_with(&home.mount));
            }
        }

        #[test]
        fn what_was_escaped_comes_back(path in "/[ \\\\\ta-z0-9]{0,20}") {
            let escaped = path.replace('\\', r"\134").replace(' ', r"\040").replace('\t', r"\011");
            prop_assert_eq!(unescaped(&escaped), PathBuf::from(path));
        }
    }
}
