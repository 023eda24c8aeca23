//! The tiers as their users meet them.

#[allow(
    dead_code,
    reason = "it is shared with the log's own tests, which use more of it"
)]
#[path = "../../../axiom-events/tests/it/sim.rs"]
mod sim;
mod world;

mod cold;
mod faults;
mod followers;
mod handover;
mod holds;
mod kill;
mod outrun;
mod reading;
mod retention;
mod s3;
mod spoilt;
