//! What the servers inside of this process have in common: JSON-RPC by hand, in the words of both eras.

pub(crate) mod conversation;
pub(crate) mod wire;

pub(crate) mod arguments;
