//! All that the child needs, made before it exists.

use std::ffi::{CStr, CString};
use std::path::Path;

use seccompiler::sock_filter;

use super::actions::Action;
use super::error::{Fault, Step};
use super::landlock::Rules;
use super::plan::{Identity, Network, Plan};
use super::raw::{self, Strings};
use super::{ConfineError, kernel_path, landlock, seccomp};

/// A plan in the kernel's words.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) plan: &'a Plan,
    /// Flags of the clone.
    pub(super) namespaces: u64,
    /// Tried one after the other, as a shell does with `PATH`.
    pub(super) programs: Vec<CString>,
    pub(super) argv: Strings<'a>,
    pub(super) environment: Strings<'a>,
    pub(super) working_folder: CString,
    pub(super) root: Option<Root<'a>>,
    pub(super) landlock: Option<Rules>,
    pub(super) filter: Option<&'static [sock_filter]>,
}

/// Three lists, one after the other.
#[derive(Debug)]
pub(super) struct Root<'a> {
    /// A folder of the machine that is covered for a moment.
    pub(super) base: CString,
    system: &'a [Action],
    against_root: &'a [Action],
    own: Vec<Action>,
}

impl Root<'_> {
    pub(super) fn actions(&self) -> impl Iterator<Item = &Action> {
        self.system.iter().chain(self.against_root).chain(&self.own)
    }
}

/// Folders that every system has; which one it is does not matter.
const BASES: [&str; 4] = ["/tmp", "/run", "/var/tmp", "/mnt"];

/// Where programs are looked for without a `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

impl<'a> Prepared<'a> {
    pub(super) fn new(plan: &'a Plan) -> Result<Self, ConfineError> {
        plan.check()?;
        let filter = plan.seccomp.map(seccomp::program).transpose()?;
        let rules = plan.landlock.as_ref().map(landlock::compile).transpose()?;
        Ok(Prepared {
            plan,
            namespaces: namespaces(plan),
            programs: programs(plan)?,
            argv: Strings::new(&plan.argv),
            environment: Strings::new(&plan.environment),
            working_folder: kernel_path(&plan.working_folder)?,
            root: root(plan)?,
            landlock: rules.flatten(),
            filter,
        })
    }

    /// A child's fault, with the name of what it was about.
    pub(super) fn explain(&self, fault: Fault) -> ConfineError {
        let item = usize::try_from(fault.item).unwrap_or(usize::MAX);
        let action = self.root.as_ref().and_then(|root| root.actions().nth(item));
        let on = match fault.step {
            Step::Exec | Step::ExecInterpreter => self.plan.argv.first(),
            Step::WorkingFolder => Some(&self.working_folder),
            Step::LandlockRule => self.landlock.as_ref().and_then(|rules| rules.path(item)),
            Step::MakeEntry | Step::Bind | Step::MaskProc => action.map(Action::path),
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

fn namespaces(plan: &Plan) -> u64 {
    let wanted = [
        (plan.namespaces.pid, raw::NEW_PID),
        (plan.namespaces.mount, raw::NEW_MOUNT),
        (plan.namespaces.ipc, raw::NEW_IPC),
        (plan.namespaces.uts, raw::NEW_UTS),
        (plan.network != Network::Host, raw::NEW_NETWORK),
        (matches!(plan.identity, Identity::Mapped { .. }), raw::NEW_USER),
    ];
    // The cgroup namespace comes later, in the child: its root is to be the cgroup that the child has entered.
    let wanted = wanted.iter().filter(|(wanted, _)| *wanted);
    wanted.map(|(_, flag)| flag).sum()
}

fn programs(plan: &Plan) -> Result<Vec<CString>, ConfineError> {
    let Some(name) = plan.argv.first() else {
        return Err(ConfineError::plan("it names no program"));
    };
    if name.is_empty() || name.as_bytes().contains(&b'/') {
        return Ok(vec![name.clone()]);
    }
    let set = plan.environment.iter().map(|variable| variable.as_bytes());
    let path = set.filter_map(|variable| variable.strip_prefix(b"PATH=")).next();
    let folders = path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':');
    // An empty folder would be the working folder, where a task may put anything under any name.
    let folders = folders.filter(|folder| !folder.is_empty());
    Ok(folders.map(|folder| in_folder(folder, name)).collect())
}

fn in_folder(folder: &[u8], name: &CStr) -> CString {
    let path = [folder, b"/", name.to_bytes()].concat();
    CString::new(path).expect("parts of C strings contain no zero byte")
}

fn root(plan: &Plan) -> Result<Option<Root<'_>>, ConfineError> {
    let Some(view) = &plan.root else {
        return Ok(None);
    };
    let base = BASES
        .iter()
        .map(Path::new)
        .find(|base| base.is_dir() && !base.is_symlink());
    let base = base.ok_or(ConfineError::plan("the machine has no /tmp to make a root at"))?;
    let is_root = match plan.identity {
        Identity::Inherited => rustix::process::geteuid().is_root(),
        Identity::Switched { uid, .. } => uid == 0,
        Identity::Mapped { outside_uid, .. } => outside_uid == 0,
    };
    Ok(Some(Root {
        base: kernel_path(base)?,
        system: view.system.actions(),
        against_root: if is_root {
            view.system.actions_against_root()
        } else {
            &[]
        },
        own: view.actions()?,
    }))
}
