//! Whether namespaces can be made: by having the program `unshare` make one.
//!
//! Without that program nothing is made: the kernel's settings are read, and what they do not forbid is unproven. A caller that
//! can call `clone` itself passes a probe of its own.

use super::ability::Namespace;
use super::program::NoAnswer;
use super::{Finding, program};

pub(super) fn probe(namespace: Namespace) -> Finding {
    // With a user namespace first: that is how an ordinary user gets the others.
    let refused = match make(&["--user", "--map-root-user"], namespace) {
        Ok(_) => return Finding::yes("made in a user namespace"),
        Err(NoAnswer::NotThere) => return from_settings(namespace),
        Err(NoAnswer::Failed(how)) => Finding::no(format!("`unshare {}` {how}", namespace.option)),
    };
    match make(&[], namespace) {
        Ok(_) if namespace.option == "--user" => Finding::no("made, but without a map of users"),
        Ok(_) => Finding::yes("made as this user, without a user namespace"),
        Err(_) => refused,
    }
}

fn make(with: &[&str], namespace: Namespace) -> Result<String, NoAnswer> {
    // A user namespace is in `with` already.
    let own = Some(namespace.option).filter(|option| !with.contains(option));
    // Without a fork `unshare --pid` leaves the program itself outside.
    let fork = Some("--fork").filter(|_| namespace.option == "--pid");
    let args: Vec<&str> = with
        .iter()
        .copied()
        .chain(own)
        .chain(fork)
        .chain(["true"])
        .collect();
    program::run("unshare", &args)
}

fn from_settings(namespace: Namespace) -> Finding {
    let read = |path: String| {
        fs_err::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .ok()
    };
    let kernel = |name: &str| read(format!("/proc/sys/kernel/{name}"));
    let is_root = rustix::process::geteuid().is_root();
    match read(format!("/proc/sys/user/{}", namespace.sysctl)).as_deref() {
        None => Finding::no(format!("the kernel has no user.{}", namespace.sysctl)),
        Some("0") => Finding::no(format!("user.{} is 0", namespace.sysctl)),
        Some(_) if is_root => {
            Finding::unproven("not forbidden, and not tried: there is no program `unshare`")
        }
        Some(_) if kernel("unprivileged_userns_clone").as_deref() == Some("0") => {
            Finding::no("kernel.unprivileged_userns_clone is 0")
        }
        Some(_) if kernel("apparmor_restrict_unprivileged_userns").as_deref() == Some("1") => {
            Finding::no("kernel.apparmor_restrict_unprivileged_userns is 1")
        }
        Some(_) => Finding::unproven("not forbidden, and not tried: there is no program `unshare`"),
    }
}
