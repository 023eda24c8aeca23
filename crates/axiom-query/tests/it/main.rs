//! Queries as their users meet them: the library over real logs and files, and the real program.

mod random;
mod store;

mod equal;
mod limits;
mod outrun;
mod serve;
mod table;
