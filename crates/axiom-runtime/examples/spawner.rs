//! The process that starts tasks, for the tests of the supervisor: it must have one thread, which a test has not.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

fn main() -> std::io::Result<()> {
    let teller = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    axiom_sandbox::spawner::serve(teller)
}
