//! Runs one task: a command with its limits, its output and its end.
//!
//! A task's life in the order of the modules: what it is to be ([`spec`], [`limits`]), who starts it and holds it while it runs
//! ([`spawner`]), what it leaves in its folder ([`output`], [`exit`]), what is said to it ([`wire`]), and how its supervisor has
//! it ([`handle`]); some share what has started already ([`pool`]). What a machine can enforce is asked of [`machine`], and enforced with [`cgroup`] and [`confine`].

pub mod limits;
pub mod spec;

pub mod spawner;

// The filter of system calls knows these two architectures.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub mod confine;
mod executor;
mod raw;
mod shim;

pub mod exit;
pub mod output;
pub mod wire;

pub mod handle;
pub mod pool;
pub mod processes;

pub mod cgroup;
pub mod machine;

mod wait;
