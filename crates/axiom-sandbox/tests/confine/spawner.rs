//! The process with a single thread that confines one task and reports its end.

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use axiom_sandbox::confine::{
    self, Cgroup, ConfineError, Exit, Identity, Landlock, Mount, Namespaces, Network, Plan, Profile,
    RootView, Step, System, TcpPorts, TreeAccess,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pty::OpenptFlags;

use crate::task::{Report, Rules, Task, UID, User};

/// Enough for a slow program on a busy machine, and an end for one that waits for what will not come.
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

pub(crate) fn run(task: &str, report: &str) -> ExitCode {
    let task: Task = serde_json::from_str(task).unwrap();
    let mut report = File::create(report).unwrap();
    // As strict as a careful service has it; the task's root must not inherit it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let _leaked = task.leak.then(|| rustix::io::dup(&report).unwrap());
    if task.user == User::Mapped && rustix::process::geteuid().is_root() {
        rustix::thread::set_thread_groups(&[]).unwrap();
        let gid = rustix::process::Gid::from_raw(UID);
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        let uid = rustix::process::Uid::from_raw(UID);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        // A change of the user hides /proc/self from it, until the next exec.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).unwrap();
    }
    let (stdio, terminal) = stdio(&task);
    let command = command(&task, stdio);
    let plan = plan(&task);
    if let Some(folder) = &task.mounted_later {
        mount_later(folder);
        if let Some(root) = plan.root.as_ref().filter(|_| task.copies) {
            root.system.lay_out().unwrap();
        }
    }
    if !task.earlier.is_empty() {
        earlier(&task, &plan);
    }
    let started = match task.waits {
        true => behind_standing_walls(&plan, &command),
        false => confine::spawn(&plan, &command),
    };
    let end = started.map(|child| {
        drop((plan, command));
        watch(&child, terminal);
        child.wait().unwrap()
    });
    let text = serde_json::to_string(&told(end)).unwrap();
    report.write_all(text.as_bytes()).unwrap();
    ExitCode::SUCCESS
}

/// Not all can wait for a task: those of users of their own, and of tasks that are given something inside what all have.
fn behind_standing_walls(plan: &Plan, command: &confine::Command) -> Result<confine::Child, ConfineError> {
    match confine::park(plan) {
        Ok(slot) => slot.start(command),
        Err(error) if error.step == Step::Plan => confine::spawn(plan, command),
        Err(error) => Err(error),
    }
}

fn mount_later(folder: &str) {
    let mut mount = std::process::Command::new("mount");
    let done = mount.args(["-t", "tmpfs", "news", folder]).status().unwrap();
    assert!(done.success(), "{done}");
    std::fs::write(format!("{folder}/news"), "news\n").unwrap();
}

/// A task before this one, from the same ground, to its end.
fn earlier(task: &Task, later: &Plan) {
    let nothing = || {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap()
            .into()
    };
    let mut root = later.root.clone().unwrap();
    root.mounts.extend(mounts(&task.earlier));
    let script = ["sh", "-c", "touch /tmp/left /dev/shm/left; ls /earlier/secret"].map(string);
    let command = confine::Command::new(script.to_vec(), [nothing(), nothing(), nothing()]);
    let mut plan = Plan::new(root);
    plan.identity = Identity::Switched { uid: UID, gid: UID };
    let child = confine::spawn(&plan, &command).unwrap();
    assert_eq!(child.wait(), Ok(Exit::Code(0)));
}

fn told(end: Result<Exit, ConfineError>) -> Report {
    match end {
        Ok(Exit::Code(code)) => Report::Code(code),
        Ok(Exit::Signal(signal)) => Report::Signal(signal),
        Err(error) => Report::Failed {
            step: format!("{:?}", error.step),
            on: error.on.clone(),
            exec: error.exec_fault().map(|fault| format!("{fault:?}")),
            text: error.to_string(),
        },
    }
}

/// What the spawner has itself, or a terminal, whose other end is given back.
fn stdio(task: &Task) -> ([OwnedFd; 3], Option<OwnedFd>) {
    let duplicate = |fd: &OwnedFd| fd.try_clone().unwrap();
    if !task.terminal {
        let inherited = [
            std::io::stdin().as_fd().try_clone_to_owned().unwrap(),
            std::io::stdout().as_fd().try_clone_to_owned().unwrap(),
            std::io::stderr().as_fd().try_clone_to_owned().unwrap(),
        ];
        return (inherited, None);
    }
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&ours).unwrap();
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags).unwrap();
    ([duplicate(&theirs), duplicate(&theirs), theirs], Some(ours))
}

/// Until the task has ended and its terminal is read to its end; what takes too long is killed.
fn watch(child: &confine::Child, mut terminal: Option<OwnedFd>) {
    let mut buffer = [0; 1024];
    loop {
        let mut awaited = vec![PollFd::new(&child.pidfd, PollFlags::IN)];
        awaited.extend(
            terminal
                .iter()
                .map(|terminal| PollFd::new(terminal, PollFlags::IN)),
        );
        if rustix::event::poll(&mut awaited, Some(&PATIENCE)).unwrap() == 0 {
            rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL).unwrap();
            return;
        }
        let has_ended = !awaited[0].revents().is_empty();
        let has_more = awaited.get(1).is_some_and(|polled| !polled.revents().is_empty());
        match &terminal {
            // Its end, once no process has it open, reads as an error.
            Some(open) if has_more => match rustix::io::read(open, &mut buffer) {
                Ok(count @ 1..) => std::io::stdout().write_all(&buffer[..count]).unwrap(),
                _ => terminal = None,
            },
            None if has_ended => return,
            _ => {}
        }
    }
}

fn command(task: &Task, stdio: [OwnedFd; 3]) -> confine::Command {
    let strings = |texts: &[String]| texts.iter().map(|text| string(text)).collect();
    let mut command = confine::Command::new(strings(&task.argv), stdio);
    command.environment = strings(&task.environment);
    command.working_folder = task.working_folder.clone().into();
    command.terminal = task.terminal;
    command
}

fn plan(task: &Task) -> Plan {
    let mut plan = Plan::new(view(task));
    plan.rlimits.open_files = task.open_files;
    plan.rlimits.file_bytes = task.file_bytes;
    plan.cgroup = task.cgroup.as_deref().map_or(Cgroup::Inherited, cgroup);
    plan.namespaces = if task.own_namespaces {
        Namespaces::ALL
    } else {
        Namespaces::NONE
    };
    plan.namespaces.cgroup &= task.cgroup_namespace;
    plan.host_name = task.host_name.as_deref().map(string);
    plan.network = match task.network.as_str() {
        "none" => Network::None,
        "loopback" => Network::Loopback,
        _ => Network::Host,
    };
    plan.identity = identity(task.user);
    plan.root = plan.root.filter(|_| task.own_root);
    plan.landlock = task
        .landlock
        .as_ref()
        .map(|rules| landlock(rules, plan.root.as_ref()));
    plan.seccomp = match task.seccomp.as_str() {
        "ordinary" => Some(Profile::Ordinary),
        "compute" => Some(Profile::Compute),
        _ => None,
    };
    plan.nice = task.nice;
    plan.capabilities_kept = task.capabilities_kept;
    plan
}

fn view(task: &Task) -> RootView {
    let system = System::standard().unwrap();
    if task.copies {
        match system.lay_out() {
            // Who is not root makes each root from the beginning.
            Err(_) if task.user == User::Mapped => {}
            done => done.unwrap(),
        }
    }
    let mut view = RootView::new(system);
    if !task.work.is_empty() {
        view.mounts.push(Mount {
            source: task.work.clone().into(),
            target: "/work".into(),
            writable: true,
        });
    }
    view.mounts.extend(mounts(&task.mounts));
    view
}

fn mounts(listed: &[(String, String)]) -> impl Iterator<Item = Mount> {
    listed.iter().map(|(source, target)| Mount {
        source: source.into(),
        target: target.into(),
        writable: false,
    })
}

fn identity(user: User) -> Identity {
    match user {
        User::Same => Identity::Inherited,
        User::Switched => Identity::Switched { uid: UID, gid: UID },
        User::Mapped => Identity::Mapped {
            inside_uid: 0,
            inside_gid: 0,
            outside_uid: rustix::process::geteuid().as_raw(),
            outside_gid: rustix::process::getegid().as_raw(),
        },
        User::MappedByRoot => Identity::Mapped {
            inside_uid: 1000,
            inside_gid: 1000,
            outside_uid: UID,
            outside_gid: UID,
        },
    }
}

fn landlock(rules: &Rules, view: Option<&RootView>) -> Landlock {
    let mut landlock = match view {
        Some(view) if rules.of_view => view.landlock(),
        _ => Landlock::default(),
    };
    for path in &rules.readable {
        landlock.allow(path, TreeAccess::ReadExecute);
    }
    for path in &rules.writable {
        landlock.allow(path, TreeAccess::ReadWriteExecute);
    }
    landlock.tcp = rules.no_tcp.then(TcpPorts::default);
    landlock.scope_signals = rules.scoped;
    landlock.scope_abstract_sockets = rules.scoped;
    landlock
}

fn cgroup(path: &str) -> Cgroup {
    if Path::new(path).is_dir() {
        Cgroup::V2(File::open(path).unwrap().into())
    } else {
        Cgroup::V1(vec![File::options().write(true).open(path).unwrap().into()])
    }
}

fn string(text: &str) -> CString {
    CString::new(text).unwrap()
}
