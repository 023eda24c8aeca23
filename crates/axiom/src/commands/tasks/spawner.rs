//! `axiom task-spawner`: the process that starts tasks, and every task's shim.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use axiom_sandbox::spawner;

use crate::terminal::Terminal;

/// With so many sandboxes in store, at most.
pub fn run(warm: usize) -> ExitCode {
    match serve(warm) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Terminal::new(true).say(format_args!("axiom task-spawner: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(warm: usize) -> io::Result<()> {
    let teller = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Tasks do not inherit it: whoever reads its other end waits for its end.
    let nothing = fs_err::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    spawner::serve_with(teller, warm)
}
