//! All that the child needs for its walls, made before it exists.

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use libc::sock_filter;
use rustix::io::Errno;

use super::actions::Action;
use super::child::HIGH_FD;
use super::error::{Fault, Step};
use super::landlock::Rules;
use super::plan::{Identity, Network, Plan};
use super::raw::{self, Stack};
use super::template::{Template, before_old};
use super::view::RootView;
use super::{ConfineError, FileId, landlock, mounts, seccomp};

/// A plan in the kernel's words.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) plan: &'a Plan,
    /// Flags of the clone.
    pub(super) namespaces: u64,
    pub(super) root: Option<Root<'a>>,
    pub(super) landlock: Option<Rules>,
    pub(super) filter: Option<&'static [sock_filter]>,
    /// Of the process that becomes the program, until it has become it.
    pub(super) stack: Stack,
}

/// Lists of what to do, one after the other.
#[derive(Debug)]
pub(super) struct Root<'a> {
    pub(super) beginning: Beginning,
    shared: &'a [Action],
    fresh: &'a [Action],
    against_root: &'a [Action],
    own: Vec<Action>,
}

#[derive(Debug)]
pub(super) enum Beginning {
    /// With nothing, at a folder of the machine that is covered for a moment.
    Empty { base: CString },
    /// With what the shared list makes.
    Copy(RootCopy),
}

/// A root that begins as a copy.
#[derive(Debug)]
pub(super) struct RootCopy {
    pub(super) template: Arc<Template>,
    /// What the own list binds, in its order: from there the machine's paths are not to be seen.
    pub(super) trees: Vec<OwnedFd>,
}

impl Root<'_> {
    pub(super) fn actions(&self) -> impl Iterator<Item = &Action> {
        self.shared.iter().chain(self.after_shared())
    }

    pub(super) fn after_shared(&self) -> impl Iterator<Item = &Action> {
        self.fresh.iter().chain(self.against_root).chain(&self.own)
    }

    pub(super) fn shared_len(&self) -> usize {
        self.shared.len()
    }
}

impl<'a> Prepared<'a> {
    pub(super) fn new(plan: &'a Plan) -> Result<Self, ConfineError> {
        plan.check()?;
        let root = root(plan)?;
        let filter = plan.seccomp.map(seccomp::program).transpose()?;
        let rules = plan.landlock.as_ref().map(landlock::compile).transpose()?;
        Ok(Prepared {
            plan,
            namespaces: namespaces(plan, root.as_ref()),
            root,
            landlock: rules.flatten(),
            filter,
            stack: Stack::new(),
        })
    }

    /// What was bound into a root that begins as a copy, by the names that the plan has for it. `None` for another root.
    pub(super) fn bound(&self) -> Option<Result<Vec<(PathBuf, FileId)>, Errno>> {
        let Beginning::Copy(copy) = &self.root.as_ref()?.beginning else {
            return None;
        };
        // Each mount of a view is bound once, in their order.
        let sources = self.plan.root.iter().flat_map(|view| &view.mounts);
        let bound = sources.zip(&copy.trees).map(|(mount, tree)| {
            let found = rustix::fs::fstat(tree)?;
            Ok((mount.source.clone(), (found.st_dev, found.st_ino)))
        });
        Some(bound.collect())
    }

    /// A child's fault, with the name of what it was about, if that is not the command's.
    pub(super) fn explain(&self, fault: Fault) -> ConfineError {
        let item = usize::try_from(fault.item).unwrap_or(usize::MAX);
        let action = self.root.as_ref().and_then(|root| root.actions().nth(item));
        let on = match fault.step {
            Step::LandlockRule => self.landlock.as_ref().and_then(|rules| rules.path(item)),
            Step::MakeEntry | Step::Bind | Step::MaskProc | Step::CopyRoot => action.map(Action::path),
            Step::MountTmpfs | Step::MountDevpts => action.map(Action::path),
            _ => None,
        };
        let error = ConfineError::new(fault.step, fault.errno);
        match on {
            Some(on) => error.on(on.to_string_lossy()),
            None => error,
        }
    }
}

fn namespaces(plan: &Plan, root: Option<&Root<'_>>) -> u64 {
    // With a copy, the one of mounts comes later too: the machine's own mounts are never copied then.
    let copies = root.is_some_and(|root| matches!(root.beginning, Beginning::Copy(_)));
    let wanted = [
        (plan.namespaces.pid, raw::NEW_PID),
        (plan.namespaces.mount && !copies, raw::NEW_MOUNT),
        (plan.namespaces.ipc, raw::NEW_IPC),
        (plan.namespaces.uts, raw::NEW_UTS),
        (plan.network != Network::Host, raw::NEW_NETWORK),
        (matches!(plan.identity, Identity::Mapped { .. }), raw::NEW_USER),
    ];
    // The cgroup namespace comes later, in the child: its root is to be the cgroup that the child has entered.
    let wanted = wanted.iter().filter(|(wanted, _)| *wanted);
    wanted.map(|(_, flag)| flag).sum()
}

fn root(plan: &Plan) -> Result<Option<Root<'_>>, ConfineError> {
    let Some(view) = &plan.root else {
        return Ok(None);
    };
    let is_root = match plan.identity {
        Identity::Inherited => rustix::process::geteuid().is_root(),
        Identity::Switched { uid, .. } => uid == 0,
        Identity::Mapped { outside_uid, .. } => outside_uid == 0,
    };
    let own = view.actions()?;
    let beginning = match copy(plan, view, &own)? {
        Some(copy) => Beginning::Copy(copy),
        None => Beginning::Empty {
            base: mounts::base()?,
        },
    };
    Ok(Some(Root {
        beginning,
        shared: view.system.shared(),
        fresh: view.system.fresh(),
        against_root: if is_root {
            view.system.actions_against_root()
        } else {
            &[]
        },
        own,
    }))
}

/// `None` where the root has to be made from the machine's own.
fn copy(plan: &Plan, view: &RootView, own: &[Action]) -> Result<Option<RootCopy>, ConfineError> {
    let Some(template) = view.system.template() else {
        return Ok(None);
    };
    // Who is in a namespace of users may not enter one of mounts that is not of it.
    let is_mapped = matches!(plan.identity, Identity::Mapped { .. });
    if is_mapped || own.iter().any(|action| template.is_in_the_way_of(action)) {
        return Ok(None);
    }
    let binds = own.iter().filter_map(|action| match action {
        Action::Bind {
            source,
            target,
            attributes,
        } => Some((source, target, *attributes)),
        _ => None,
    });
    let trees = binds.map(|(source, target, attributes)| {
        let failed = |errno| ConfineError::new(Step::Bind, errno).on(target.to_string_lossy());
        let tree = mounts::detach(before_old(source), attributes).map_err(failed)?;
        if tree.as_raw_fd() >= HIGH_FD {
            return Ok(tree);
        }
        // Numbers below are for the child's stdin, stdout and stderr.
        rustix::io::fcntl_dupfd_cloexec(&tree, HIGH_FD).map_err(failed)
    });
    Ok(Some(RootCopy {
        trees: trees.collect::<Result<_, _>>()?,
        template,
    }))
}
