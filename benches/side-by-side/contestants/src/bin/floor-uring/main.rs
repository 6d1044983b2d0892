//! The floor of io_uring: an echo server that is nothing but a ring. One multishot accept, a multishot receive for every
//! connection with buffers that the kernel takes from a ring, and a send for every piece received, which goes out of the
//! buffer that it came in.
//!
//! As liburing's documentation advises for a server of one thread, completions are worked on only when the thread asks for
//! them (`IORING_SETUP_DEFER_TASKRUN`), and connections are direct descriptors. It has no timeouts and no limits: one peer
//! that sends and never reads can take all the buffers.

#![deny(unsafe_code)]

mod echo;
#[expect(unsafe_code, reason = "the crate io-uring trusts its user with what the kernel may write to")]
mod ring;

use clap::Parser;
use contestants::{Arguments, Work};

fn main() {
    let arguments = Arguments::parse();
    match arguments.work {
        Work::Echo => echo::serve(),
        _ => contestants::refuse("floor-uring", &arguments),
    }
}
