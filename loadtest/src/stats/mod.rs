//! Statistics over what runs have measured; pure.

pub mod usl;
