//! Where words go: stdout is data, stderr is talk. The only place that writes to either.

use std::fmt::Display;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::config::Look;

#[cfg(target_os = "linux")]
pub mod modes;

/// The two streams and what they can show.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    colour: bool,
}

impl Terminal {
    /// Colours only on a terminal, and never with `--no-color` or `NO_COLOR`; `CLICOLOR_FORCE` insists on them.
    pub fn new(no_color: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let refused = no_color || set("NO_COLOR");
        let wanted =
            std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Terminal {
            colour: !refused && (wanted || set("CLICOLOR_FORCE")),
        }
    }

    pub fn look(&self) -> Look {
        if self.colour { Look::Colour } else { Look::Plain }
    }

    pub fn colour(&self) -> bool {
        self.colour
    }

    /// A line of talk. A closed stderr is nobody's failure.
    pub fn say(&self, line: impl Display) {
        let _heard = writeln!(std::io::stderr().lock(), "{line}").is_ok();
    }

    /// Data, with a newline. A reader that has had enough (`axiom tools | head -1`) is no error.
    ///
    /// # Errors
    /// Writing failed for any other reason, like a full disk.
    pub fn data(&self, text: impl Display) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(std::io::Error::new(
                error.kind(),
                format!("cannot write to stdout: {error}"),
            )),
            Ok(()) => Ok(()),
        }
    }

    /// Lines of data in one piece, each with its newline. False when the reader has had enough.
    ///
    /// # Errors
    /// As [`data`](Terminal::data).
    pub fn lines(&self, lines: &[u8]) -> std::io::Result<bool> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(lines).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until nobody can read stdout any more: a pipe whose other end was closed. For ever where that cannot be known.
    ///
    /// # Cancel safety
    /// Safe: it only waits.
    pub async fn unread(&self) {
        #[cfg(unix)]
        {
            use tokio::io::Interest;
            use tokio::io::unix::AsyncFd;
            #[allow(
                deprecated,
                reason = "what takes its place is unsafe, for descriptors that somebody may close; nobody closes stdout"
            )]
            let stdout = AsyncFd::with_interest(std::io::stdout(), Interest::ERROR);
            // A file, and a terminal on some systems, cannot be waited for, and is not closed by anybody.
            if let Ok(stdout) = stdout
                && let Ok(ready) = stdout.ready(Interest::ERROR).await
                && ready.ready().is_error()
            {
                return;
            }
        }
        std::future::pending().await
    }

    /// The same terminal for what goes to stdout: colours only if that is a terminal too.
    pub fn for_data(self) -> Terminal {
        let insists = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty());
        Terminal {
            colour: self.colour && (insists || std::io::stdout().is_terminal()),
        }
    }

    /// Whether a person sits at both ends and can be asked.
    pub fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks a yes-or-no question; anything but a clear yes is no.
    ///
    /// # Errors
    /// Reading stdin failed.
    pub fn ask(&self, question: impl Display) -> std::io::Result<bool> {
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn red(&self, text: &str) -> String {
        self.paint("31;1", text)
    }

    pub fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
