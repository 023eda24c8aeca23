//! Process 1 of a task: starts the program, passes signals on, buries orphans, and ends with the program's status.
//!
//! The kernel delivers to process 1 only signals that it asks for, so that a program in that place could not even be
//! interrupted. This one blocks them all and takes them one by one. When it ends, the kernel kills whatever the task has
//! left running, and only then does its parent hear of the end.
//!
//! It is as confined as the program. It holds no file open, so that readers of the task's output see its end. And it is a
//! copy of its parent's memory, which is why the task must not read it: it is marked as not to be inspected.

use std::convert::Infallible;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};

use super::child::{self, REPORTS_FD, run_program};
use super::error::{At as _, Fault, Step};
use super::prepared::Prepared;
use super::program::Program;
use super::slot::{READY, Told};
use super::{raw, slot};

/// What a shell adds to the number of the signal that ended a program.
pub(super) const SIGNAL_STATUS: i32 = 128;
const LOST: i32 = 255;

/// Returns only with a fault. All signals are blocked.
pub(super) fn run(prepared: &Prepared<'_>, program: &Program<'_>) -> Result<Infallible, Fault> {
    stand(prepared)?;
    start(prepared, program)
}

/// The same, with a command that is told later; ends if there will be none.
pub(super) fn wait(prepared: &Prepared<'_>, told: &mut Told) -> Result<Infallible, Fault> {
    stand(prepared)?;
    let line = raw::descriptor(REPORTS_FD);
    rustix::io::write(line, &[READY]).at(Step::HandOver)?;
    match slot::wait(line, told)? {
        Some(program) => start(prepared, &program),
        None => raw::exit(0),
    }
}

fn stand(prepared: &Prepared<'_>) -> Result<(), Fault> {
    // Before the fork, so that the program never sees another state; for itself, exec lifts it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Init)?;
    if prepared.plan.ends_with_parent {
        // After the change of user, which would undo it. It holds for this process alone, and with it all others end.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Init)?;
    }
    Ok(())
}

fn start(prepared: &Prepared<'_>, program: &Program<'_>) -> Result<Infallible, Fault> {
    let program = raw::start_program(&prepared.stack, &|| {
        // Apart from init's, which keeps the terminal free for it.
        let session = rustix::process::setsid().at(Step::Session);
        match session.and_then(|_| run_program(program)) {
            Ok(never) => match never {},
            Err(fault) => child::fail(raw::descriptor(REPORTS_FD), fault),
        }
    });
    let program = program.at(Step::Init)?;
    // Also the pipe to the parent, who waits for its end.
    if raw::close_from(0).is_err() {
        raw::exit(LOST);
    }
    watch(program)
}

fn watch(program: Pid) -> ! {
    loop {
        match raw::next_signal() {
            Ok(libc::SIGCHLD) => bury(program),
            Ok(signal) => raw::send_signal(program, signal),
            Err(Errno::INTR) => {}
            Err(_) => raw::exit(LOST),
        }
    }
}

/// Takes all that have ended: signals of the same kind come as one.
fn bury(program: Pid) {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == program {
            raw::exit(exit_code(status));
        }
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => SIGNAL_STATUS + signal,
        (None, None) => LOST,
    }
}
