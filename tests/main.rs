//! End to end: the real program, a real PostgreSQL, real HTTP.

mod support;

mod operations;
mod roles;
