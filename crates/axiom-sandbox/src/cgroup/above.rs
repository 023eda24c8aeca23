//! What the groups above this process allow: a limit of a container or a service is the machine's size for us.

use std::path::Path;

use super::layout::Home;
use super::{Layout, Version, file};

/// The smallest limits of our own group and all above it, as far as they are seen from here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Above {
    pub memory_bytes: Option<u64>,
    pub cpu_millis: Option<u64>,
}

impl Layout {
    pub fn above(&self) -> Above {
        let mut above = Above::default();
        for home in &self.homes {
            for group in home
                .own
                .ancestors()
                .take_while(|group| group.starts_with(&home.mount))
            {
                above.memory_bytes = smallest(above.memory_bytes, memory(home, group));
                above.cpu_millis = smallest(above.cpu_millis, cpu(home, group));
            }
        }
        above
    }
}

fn smallest(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

fn memory(home: &Home, group: &Path) -> Option<u64> {
    // Version 1 writes a number larger than any memory for "no limit"; whoever asks compares it with the memory there is.
    file::number(&read(home, group, "memory.max", "memory.limit_in_bytes")?)
}

fn cpu(home: &Home, group: &Path) -> Option<u64> {
    match home.version {
        Version::V2 => share(&read(home, group, "cpu.max", "")?),
        Version::V1 => {
            let quota = read(home, group, "", "cpu.cfs_quota_us")?;
            let period = read(home, group, "", "cpu.cfs_period_us")?;
            share(&format!("{} {}", quota.trim(), period.trim()))
        }
    }
}

/// `quota period` in thousandths of a CPU. None for `max` or -1, which is no limit.
pub(super) fn share(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let quota: u64 = quota.parse().ok()?;
    quota.saturating_mul(1_000).checked_div(period.parse().ok()?)
}

/// A file that is not there limits nothing.
fn read(home: &Home, group: &Path, file_v2: &str, file_v1: &str) -> Option<String> {
    let name = match home.version {
        Version::V2 => file_v2,
        Version::V1 => file_v1,
    };
    file::read_if_there(&group.join(name)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_in_thousandths() {
        assert_eq!(share("150000 100000\n"), Some(1_500));
        assert_eq!(share("max 100000"), None);
        assert_eq!(share("-1 100000"), None);
        assert_eq!(share("1 0"), None);
    }

    #[test]
    fn the_smallest_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("a/b");
        fs_err::create_dir_all(&own).unwrap();
        for (folder, memory, cpu) in [
            (&own, "max", "300000 100000"),
            (&root.path().join("a"), "4096", "50000 100000"),
        ] {
            fs_err::write(folder.join("memory.max"), memory).unwrap();
            fs_err::write(folder.join("cpu.max"), cpu).unwrap();
        }
        let mount = root.path().to_owned();
        let home = Home {
            version: Version::V2,
            controllers: Vec::new(),
            mount,
            own,
        };
        let above = Layout { homes: vec![home] }.above();
        assert_eq!(
            above,
            Above {
                memory_bytes: Some(4_096),
                cpu_millis: Some(500)
            }
        );
    }
}
