//! side-by-side: the same work on pants, on its peers and on the kernel's floor, by turns in one run.

#![forbid(unsafe_code)]

fn main() {}
