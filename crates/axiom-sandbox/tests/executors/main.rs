//! Tasks in each executor, as their supervisor has them: started by a real spawner, held by a real shim.
//!
//! A spawner must have a single thread, which the usual harness has not, so this program has two roles: run the cases, and with
//! `--spawner` start their tasks.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, though without the harness that clippy knows one by"
)]

mod bed;
mod cases;
mod oci;
mod slots;
mod worker;
mod zygote;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--spawner", slots] => bed::serve(slots),
        _ => cases::run(&arguments),
    }
}
