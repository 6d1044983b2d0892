//! What the programs on pants have in common: their flags, their signals, their descriptors; and what is larger than a `main`.
//!
//! A program's `main` fits the parts together; what each does is its own.

#![forbid(unsafe_code)]

pub mod chat;
pub mod descriptors;
pub mod flags;
pub mod lifecycle;
pub mod log;
pub mod notice;
pub mod program;
pub mod proxy;
pub mod signals;
