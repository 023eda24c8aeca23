//! Signals as futures: interruption (Ctrl-C, SIGTERM) and reload (SIGHUP).

use crate::outcome::Failed;

#[cfg(unix)]
pub use unix::{Caught, Signals};

#[cfg(unix)]
mod unix {
    use std::io::IsTerminal as _;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::Failed;

    /// A signal that came.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Caught {
        /// SIGINT, as Ctrl-C sends it.
        Interrupt,
        Terminate,
        Hangup,
    }

    /// The signals this process listens to; from its creation on they no longer end the process by themselves.
    #[derive(Debug)]
    pub struct Signals {
        interrupt: Signal,
        terminate: Signal,
        hangup: Signal,
        /// Whether a terminal was there at the start.
        on_terminal: bool,
    }

    impl Signals {
        /// # Errors
        /// The system has no room for another handler.
        pub fn listen() -> Result<Self, Failed> {
            Ok(Signals {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: signal(SignalKind::hangup())?,
                on_terminal: std::io::stderr().is_terminal(),
            })
        }

        /// Waits for Ctrl-C or SIGTERM.
        ///
        /// # Cancel safety
        /// Safe: a signal that arrives while nobody waits is kept for the next call.
        pub async fn interrupted(&mut self) {
            tokio::select! {
                // cancel-safe, both: Signal::recv keeps the signal.
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
        }

        /// Waits for any of them and says which it was.
        ///
        /// # Cancel safety
        /// As [`Signals::interrupted`].
        pub async fn caught(&mut self) -> Caught {
            tokio::select! {
                // cancel-safe, all: Signal::recv keeps the signal.
                _ = self.interrupt.recv() => Caught::Interrupt,
                _ = self.terminate.recv() => Caught::Terminate,
                _ = self.hangup.recv() => Caught::Hangup,
            }
        }

        /// Waits for Ctrl-C, SIGTERM or SIGHUP and says which kind it was. One method, since both borrow `self`.
        ///
        /// # Cancel safety
        /// As [`Signals::interrupted`].
        pub async fn next(&mut self) -> super::Asked {
            tokio::select! {
                // cancel-safe, all: Signal::recv keeps the signal.
                _ = self.interrupt.recv() => super::Asked::Stop,
                _ = self.terminate.recv() => super::Asked::Stop,
                // A terminal that was closed takes its programs along; it is gone by now, where one that merely sent the
                // signal is still there.
                _ = self.hangup.recv() => match self.on_terminal && !std::io::stderr().is_terminal() {
                    true => super::Asked::Stop,
                    false => super::Asked::Reload,
                },
            }
        }
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Stop,
    Reload,
}

/// Elsewhere there is only Ctrl-C.
#[cfg(not(unix))]
#[derive(Debug)]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// # Errors
    /// None here.
    pub fn listen() -> Result<Self, Failed> {
        Ok(Signals)
    }

    pub async fn interrupted(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }

    pub async fn next(&mut self) -> Asked {
        self.interrupted().await;
        Asked::Stop
    }
}

/// A file that reaches the process's limit (`ulimit -f`) is an error of that file from now on. Without this the system ends
/// the process, and all calls with it, because of a log.
#[cfg(unix)]
pub fn survive_file_limits() {
    use tokio::signal::unix::{SignalKind, signal};
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // Once a handler is there it stays; nobody needs to hear of the signal, since the write says so.
    let _handled = signal(kind).is_ok();
}

#[cfg(not(unix))]
pub fn survive_file_limits() {}
