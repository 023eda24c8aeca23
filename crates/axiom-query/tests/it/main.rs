//! Queries as their users meet them: the library over real logs and files, and the real program.

mod random;
mod store;

mod duckdb;
mod equal;
mod limits;
mod missing;
mod mutated;
mod s3;
mod serve;
mod table;
