//! Where events go when they are no longer hot: Parquet files, object stores, Redis.

pub mod template;

pub mod file;

pub mod redis;
