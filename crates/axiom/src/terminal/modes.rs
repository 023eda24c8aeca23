//! Our own terminal in another mode for a while, and back on every way out.

use std::io::IsTerminal as _;
use std::sync::{Mutex, Once, PoisonError};

use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// How it is while somebody else has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every key comes as it is typed, and what is written is shown as it is.
    Raw,
    /// As [`Mode::Raw`], on a screen of its own without a cursor: what was there before comes back.
    Screen,
    /// Every key comes as it is typed; what is written are lines, as before.
    Keys,
    /// Lines, as before, and one character that ends a line as Enter does.
    Lines { end: Option<u8> },
}

/// While this lives, the terminal that we read is in the [`Mode`]. It is put back when this is dropped, and before a panic is told.
#[derive(Debug)]
pub struct Changed(());

#[derive(Debug)]
struct Before {
    termios: Termios,
    /// What puts the screen back.
    undo: &'static [u8],
}

const SCREEN: &[u8] = b"\x1b[?1049h\x1b[?25l";
const NO_SCREEN: &[u8] = b"\x1b[?1049l\x1b[?25h";

/// How it was. Not in [`Changed`], so that a panic anywhere finds it.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);
static HOOK: Once = Once::new();

impl Changed {
    /// `None` if what we read is no terminal, or it is somebody else's turn there: then nothing was changed.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn to(mode: Mode) -> std::io::Result<Option<Changed>> {
        // From the background the system would stop us for it.
        let is_ours = tcgetpgrp(stdin()).is_ok_and(|group| group == rustix::process::getpgrp());
        if !std::io::stdin().is_terminal() || !is_ours {
            return Ok(None);
        }
        let before = tcgetattr(stdin())?;
        let mut after = before.clone();
        match mode {
            Mode::Raw | Mode::Screen => after.make_raw(),
            Mode::Keys => {
                after.make_raw();
                after.output_modes = before.output_modes;
            }
            Mode::Lines { end } => {
                if let Some(end) = end {
                    after.special_codes[SpecialCodeIndex::VEOL] = end;
                }
            }
        }
        HOOK.call_once(|| {
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                put_back();
                told(panic);
            }));
        });
        let (begin, undo): (&[u8], &[u8]) = match mode {
            Mode::Screen => (SCREEN, NO_SCREEN),
            _ => (b"", b""),
        };
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Before {
            termios: before,
            undo,
        });
        tcsetattr(stdin(), OptionalActions::Now, &after)?;
        write(begin);
        Ok(Some(Changed(())))
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        put_back();
    }
}

fn put_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        write(before.undo);
        // A terminal that is gone needs nothing.
        tcsetattr(stdin(), OptionalActions::Now, &before.termios).ok();
    }
}

fn write(bytes: &[u8]) {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).ok();
}
