//! The ring, and the buffers that the kernel receives into: the one place that is `unsafe`, because the kernel reads and
//! writes memory after the call that names it.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode};

/// A connection's direct descriptor.
pub(crate) type Slot = u32;

/// Bytes in one of the buffers.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    buffer: u16,
    pub(crate) start: u32,
    pub(crate) length: u32,
}

/// What has happened.
pub(crate) enum Completion {
    /// A connection; nothing is received on it yet.
    Accepted(Slot),
    /// Bytes have come, and more may.
    Received(Slot, Piece),
    /// Nothing more comes until it is asked for again, because there was no buffer.
    Starved(Slot),
    /// The peer has ended, or the connection is broken.
    Ended(Slot),
    /// So many bytes were sent; none if the connection is broken.
    Sent(Slot, Option<u32>),
}

/// A power of two. All of them are used in turn, so that more of them are colder.
const BUFFERS: u16 = 1024;
const BUFFER_BYTES: usize = 16 * 1024;
/// One cache line more than a buffer, lest all of them begin in the same set of the cache.
const STRIDE: usize = BUFFER_BYTES + 64;
const BUFFER_GROUP: u16 = 0;

/// What waits to be submitted, and what may have completed.
const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 32 * 1024;

/// How many connections there may be; the limit of descriptors holds, too.
const CONNECTIONS: u64 = 16 * 1024;

/// What a completion is of, above its slot in the user data.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const CLOSE: u64 = 3 << 32;

/// The ring.
pub(crate) struct Ring {
    ring: IoUring,
    listener: Fd,
    /// Never freed, since the kernel may write into it as long as the process lives.
    memory: &'static mut [u8],
    /// The ring of free buffers: `BUFFERS` entries, which the kernel reads up to the tail.
    free: *mut BufRingEntry,
    tail: u16,
    /// How many buffers have been handed out.
    taken: u16,
}

/// The ring of free buffers begins on a page of its own.
#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

impl Ring {
    pub(crate) fn new(listener: &TcpListener) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_cqsize(COMPLETIONS);
        let ring = builder.build(SUBMISSIONS)?;
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        ring.submitter().register_files_sparse(descriptors.unwrap_or(CONNECTIONS).min(CONNECTIONS) as u32)?;
        let pages = (usize::from(BUFFERS) * size_of::<BufRingEntry>()).div_ceil(size_of::<Page>());
        let free = vec![Page([0; _]); pages].leak().as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the memory is page-aligned, has room for so many entries, and is never freed.
        unsafe { ring.submitter().register_buf_ring_with_flags(free as u64, BUFFERS, BUFFER_GROUP, 0)? };
        let memory = vec![0; usize::from(BUFFERS) * STRIDE].leak();
        let mut ring = Self { ring, listener: Fd(listener.as_raw_fd()), memory, free, tail: 0, taken: BUFFERS };
        for buffer in 0..BUFFERS {
            ring.free_buffer(buffer);
        }
        ring.accept();
        Ok(ring)
    }

    /// Submits what is to be done, waits until something has happened, and tells what.
    pub(crate) fn wait(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            // A signal, or so much has completed that the kernel submits no more until it is taken.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {}
            result => drop(result?),
        }
        let mut accept_again = false;
        let mut receive_again = Vec::new();
        for entry in self.ring.completion() {
            let (result, flags) = (entry.result(), entry.flags());
            let slot = entry.user_data() as Slot;
            match entry.user_data() & !u64::from(Slot::MAX) {
                ACCEPT => {
                    assert!(result >= 0, "accept: {}", io::Error::from_raw_os_error(-result));
                    completions.push(Completion::Accepted(result as Slot));
                    accept_again = !cqueue::more(flags);
                }
                RECEIVE if result > 0 => {
                    self.taken += 1;
                    let buffer = cqueue::buffer_select(flags).expect("bytes come in a buffer");
                    completions.push(Completion::Received(slot, Piece { buffer, start: 0, length: result as u32 }));
                    if !cqueue::more(flags) {
                        receive_again.push(slot);
                    }
                }
                RECEIVE if result == -libc::ENOBUFS => completions.push(Completion::Starved(slot)),
                RECEIVE => completions.push(Completion::Ended(slot)),
                SEND => completions.push(Completion::Sent(slot, u32::try_from(result).ok())),
                _ => {}
            }
        }
        if accept_again {
            self.accept();
        }
        for slot in receive_again {
            self.receive(slot);
        }
        Ok(())
    }

    fn accept(&mut self) {
        let entry = opcode::AcceptMulti::new(self.listener).allocate_file_index(true).build();
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry.user_data(ACCEPT)) };
    }

    /// Receives on a connection until it ends, or until there is no buffer.
    pub(crate) fn receive(&mut self, slot: Slot) {
        let entry = opcode::RecvMulti::new(Fixed(slot), BUFFER_GROUP).build();
        // SAFETY: the entry names no memory but the group of buffers, which are never freed.
        unsafe { self.push(&entry.user_data(RECEIVE | u64::from(slot))) };
    }

    /// Whether the kernel may have a buffer to receive into.
    pub(crate) fn has_buffers(&self) -> bool {
        self.taken < BUFFERS
    }

    /// Sends what is in a buffer, all of it where the socket takes it.
    pub(crate) fn send(&mut self, slot: Slot, piece: Piece) {
        let start = usize::from(piece.buffer) * STRIDE + piece.start as usize;
        let bytes = &self.memory[start..start + piece.length as usize];
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = opcode::Send::new(Fixed(slot), bytes.as_ptr(), piece.length).flags(flags).build();
        // SAFETY: the bytes are never freed, and nobody writes them until the buffer is given back.
        unsafe { self.push(&entry.user_data(SEND | u64::from(slot))) };
    }

    /// Lets the kernel receive into a buffer again, and receives on a connection that has waited for one.
    pub(crate) fn give_back(&mut self, piece: Piece, starved: Option<Slot>) {
        self.free_buffer(piece.buffer);
        if let Some(slot) = starved {
            self.receive(slot);
        }
    }

    fn free_buffer(&mut self, buffer: u16) {
        let address = self.memory[usize::from(buffer) * STRIDE..].as_ptr() as u64;
        // SAFETY: the index is below `BUFFERS`; the entry is beyond the tail, so that the kernel does not read it.
        let entry = unsafe { &mut *self.free.add(usize::from(self.tail % BUFFERS)) };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        self.taken -= 1;
        // SAFETY: `free` is the first entry of the ring, whose tail is aligned and is read by the kernel only.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.free).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Closes a connection on which nothing is under way.
    pub(crate) fn close(&mut self, slot: Slot) {
        let entry = opcode::Close::new(Fixed(slot)).build().flags(Flags::SKIP_SUCCESS);
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry.user_data(CLOSE)) };
    }

    /// # Safety
    ///
    /// What the entry names must live until it has completed.
    unsafe fn push(&mut self, entry: &Entry) {
        // SAFETY: as the caller says.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit().expect("room for submissions");
        }
    }
}
