//! The floor of UDP: an echo server that is nothing but an epoll loop and the bare system calls.
//!
//! `one-a-call` is `recvfrom` and `sendto` for each datagram; `batched` is `recvmmsg` and `sendmmsg`; `gso` is the same with trains
//! of datagrams (`UDP_GRO` and `UDP_SEGMENT`, udp(7)).

use std::io;
use std::mem::{size_of, zeroed};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use clap::Parser;
use contestants::{Arguments, Work};
use rustix::event::epoll;
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};

fn main() {
    let arguments = Arguments::parse();
    match (arguments.work, arguments.variant.as_deref()) {
        (Work::Udp, None | Some("one-a-call")) => one_a_call(),
        (Work::Udp, Some("batched")) => batched(false),
        (Work::Udp, Some("gso")) => batched(true),
        _ => contestants::refuse("floor-udp", &arguments),
    }
}

fn one_a_call() {
    let (socket, address) = contestants::datagram_socket();
    let mut buffer = vec![0; 64 * 1024];
    contestants::announce(address);
    for_each_edge(&socket, || {
        while let Ok((count, _, Some(from))) = recvfrom(&socket, &mut *buffer, RecvFlags::empty()) {
            let _ = sendto(&socket, &buffer[..count], SendFlags::NOSIGNAL, &from);
        }
    });
}

/// Runs `drain`, which reads until nothing is left, whenever something has come.
fn for_each_edge(socket: &UdpSocket, mut drain: impl FnMut()) {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&epoll, socket, epoll::EventData::new_u64(0), flags).expect("a descriptor");
    let mut events = Vec::with_capacity(16);
    loop {
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None).expect("events");
        events.clear();
        drain();
    }
}

const BATCH: usize = 32;

/// What UDP can bring, and a line more, so that not all slots share one place in the caches.
const SLOT: usize = 64 * 1024 + 64;

/// `CMSG_SPACE` of an integer, as cmsg(3) has it.
const CONTROL: usize = 24;

/// The same headers serve both ways: what `recvmmsg` has filled in, `sendmmsg` sends.
fn batched(trains: bool) {
    let (socket, address) = contestants::datagram_socket();
    let fd = socket.as_raw_fd();
    if trains {
        set_gro(fd);
    }
    let mut bytes = vec![0_u8; BATCH * SLOT];
    // SAFETY: these are plain C structures, for which zeros are valid.
    let (mut names, mut headers): ([libc::sockaddr_in; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { (zeroed(), zeroed()) };
    let slots = bytes.chunks_mut(SLOT).map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT });
    let mut slices: Vec<libc::iovec> = slots.collect();
    let mut controls = [Control([0; CONTROL]); BATCH];
    contestants::announce(address);
    for_each_edge(&socket, || {
        loop {
            for i in 0..BATCH {
                slices[i].iov_len = SLOT;
                let header = &mut headers[i].msg_hdr;
                header.msg_name = (&raw mut names[i]).cast();
                header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                header.msg_iov = &raw mut slices[i];
                header.msg_iovlen = 1;
                if trains {
                    header.msg_control = (&raw mut controls[i]).cast();
                    header.msg_controllen = CONTROL;
                }
            }
            // SAFETY: each header names a slot, a name and a control buffer that live on, with their lengths.
            let received = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as u32, 0, std::ptr::null_mut()) };
            let Ok(received) = usize::try_from(received) else { return };
            for i in 0..received {
                slices[i].iov_len = headers[i].msg_len as usize;
                let header = &mut headers[i].msg_hdr;
                if header.msg_controllen > 0 {
                    header.msg_controllen = controls[i].make_segment_length();
                }
            }
            let mut sent = 0;
            while sent < received {
                let rest = &mut headers[sent..received];
                // SAFETY: as above; the lengths are those of what was received.
                let count = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as u32, 0) };
                sent += usize::try_from(count).unwrap_or(1);
            }
            if received < BATCH {
                return;
            }
        }
    });
}

/// One control message: its length, level and kind, and a value.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

impl Control {
    /// Makes `UDP_SEGMENT` of what has come as `UDP_GRO`. Returns how long it is.
    fn make_segment_length(&mut self) -> usize {
        self.0[..8].copy_from_slice(&18_u64.to_ne_bytes());
        self.0[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        CONTROL
    }
}

fn set_gro(fd: i32) {
    let on = 1_i32;
    // SAFETY: the option is an integer, and that is what is pointed to.
    let result = unsafe { libc::setsockopt(fd, libc::SOL_UDP, libc::UDP_GRO, (&raw const on).cast(), 4) };
    assert_eq!(result, 0, "UDP_GRO: {}", io::Error::last_os_error());
}
