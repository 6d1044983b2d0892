//! The search for the highest rate at which a server holds a target.

pub mod bounds;
pub mod objective;
