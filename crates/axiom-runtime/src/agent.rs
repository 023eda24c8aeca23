//! Coding agents: how their command lines are started, spoken to and stopped, as a profile says it.
//!
//! A [`Conversation`] is pure: it has no clock, no terminal and no I/O. The caller hands it what the agent writes
//! ([`Conversation::output`]) and comes back at [`Conversation::wake_at`]; each call returns [`Step`]s: what is to be typed, what a
//! person is to be asked, and which [`State`] the agent is in now. Time is a `Duration` since a start that the caller chose.
//!
//! ```text
//!                     ready, prompt      Enter            idle
//!  Starting --------------------> Ready -----> Working <-----> Idle ----> Leaving ----> Ended
//!     ^                             ^           |   ^                        exit
//!     |            ready            |  redirect |   | answered
//!     |                       Interrupting <----+   v
//!     +---- a question may come in any state ---> Asking
//! ```
//!
//! A prompt that is an argument or standard input has been delivered by the caller: then it begins as `Working`.
//!
//! # What is read
//!
//! The [`Screen`], as a person would see it: a prompt has no line end, and a program that draws its screen anew shows the same
//! question many times. Nothing is decided before the screen has not changed for [`SETTLE`], since a question that is half
//! drawn is none, and what is typed too early is lost in many programs. A question that stays on a screen which changes all the
//! time is decided after [`SETTLE_MAX`].
//!
//! # Once
//!
//! A prompt is typed once. A question is answered once, for as long as it stands on the screen: where it stands is remembered
//! until something else has stood there for [`FORGET`].

mod conversation;
mod profile;
mod questions;
mod screen;

use std::time::Duration;

pub use self::conversation::{Conversation, State, Step};
pub use self::profile::{Answer, Approve, BadProfile, Interrupt, Profile, PromptBy, Times};
pub use self::screen::Screen;

/// A screen that has not changed for so long is read.
pub const SETTLE: Duration = Duration::from_millis(200);
/// A question on a screen that does not come to rest is read after so long.
pub const SETTLE_MAX: Duration = Duration::from_secs(2);
/// A question that was answered is another one when it comes back after so long.
pub const FORGET: Duration = Duration::from_millis(400);
/// From a text to its Enter. A program that gets both at once takes the Enter for a part of what was pasted.
pub const ENTER_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
