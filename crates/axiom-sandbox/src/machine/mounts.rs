//! Whether a task's own view of files can be built: by mounting, in a mount namespace that nobody else sees.
//!
//! The mounts hide a folder that exists on every machine, inside that namespace only, and end with it: nothing is left.

use super::program::NoAnswer;
use super::{Ability, Finding, program};

const TMPFS: &str = "mount -t tmpfs tmpfs /tmp";
const OVERLAY: &str = "mount -t tmpfs tmpfs /tmp && cd /tmp && mkdir low up work all && echo x > low/file && \
    mount -t overlay overlay -o lowerdir=/tmp/low,upperdir=/tmp/up,workdir=/tmp/work /tmp/all && \
    echo y > all/file && grep -q x low/file && grep -q y up/file";

pub(super) fn probe(ability: Ability) -> Finding {
    let script = match ability {
        Ability::MountOverlay => OVERLAY,
        _ => TMPFS,
    };
    match mount(&["--user", "--map-root-user"], script) {
        Ok(_) => Finding::yes("mounted in a user namespace"),
        Err(_) => match mount(&[], script) {
            Ok(_) => Finding::yes("mounted as this user, without a user namespace"),
            Err(NoAnswer::NotThere) => Finding::unproven("not tried: there is no program `unshare`"),
            Err(reason) => Finding::no(format!("the mount {reason}")),
        },
    }
}

fn mount(with: &[&str], script: &str) -> Result<String, NoAnswer> {
    let args: Vec<&str> = with
        .iter()
        .copied()
        .chain(["--mount", "sh", "-c", script])
        .collect();
    program::run("unshare", &args)
}
