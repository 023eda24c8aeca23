//! Who may do what: who a caller is, what they may, and how much of it.
//!
//! In the order in which a request meets them: what a caller shows ([`key`]), who that is ([`keyring`], [`principal`]), what
//! people of that kind may ([`role`]), and how much of it ([`limit`]). Beside that: where this
//! program itself may connect to because others said so ([`outbound`]). Nothing here knows HTTP or MCP.

pub mod key;
pub mod keyring;
pub mod limit;
pub mod outbound;
pub mod principal;
pub mod role;

pub use key::ApiKey;
pub use keyring::{Keyring, Refused};
pub use limit::{Limiter, Rate};
pub use principal::{Principal, Source};
pub use role::{Deed, Role};
