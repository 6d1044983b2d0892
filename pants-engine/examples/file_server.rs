//! Serves the files under a directory: a line names one, and the answer is its length, as a line, and its contents.
//!
//! Run `cargo run -p pants-engine --example file_server -- . 127.0.0.1:4040` and try `echo README.md | nc -N 127.0.0.1 4040`.
//! Without a second argument that is the address, too. What cannot be served is answered with a line that begins with `-`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use pants_engine::{Connection, Engine, Handler};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

struct FileServer {
    directory: Rc<OwnedFd>,
}

impl FileServer {
    /// Opens a file under the directory. The kernel itself refuses what leads out of it, by `..`, from the root or by a
    /// symbolic link (openat2(2)), so that nothing can change between a check and the opening.
    fn open(&self, name: &[u8]) -> io::Result<(File, u64)> {
        // Without blocking: a FIFO would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(&self.directory, OsStr::from_bytes(name), flags, Mode::empty(), resolve);
        let file = File::from(file.map_err(|errno| match errno {
            Errno::XDEV => io::Error::new(io::ErrorKind::PermissionDenied, "it leads out of the directory"),
            errno => errno.into(),
        })?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        Ok((file, metadata.len()))
    }
}

impl Handler for FileServer {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.set_delimiter("\n");
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, line: &[u8]) {
        match self.open(line.strip_suffix(b"\r").unwrap_or(line)) {
            Ok((file, length)) => {
                connection.write(format!("{length}\n").as_bytes());
                connection.write_file(file, 0, length);
                // One file at a time: a peer that asks for many and reads none would have them all open.
                connection.pause_reading();
            }
            Err(error) => {
                connection.write(format!("- {error}\n").as_bytes());
            }
        }
    }

    fn on_write(&mut self, connection: &mut Connection<'_>) {
        connection.resume_reading();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: file_server DIRECTORY [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:4040".to_owned());
    let directory = Rc::new(open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
    let mut engine = Engine::new()?;
    let server = engine.listen(address, move |_peer| FileServer { directory: Rc::clone(&directory) })?;
    if let Some(address) = engine.context().server_address(server) {
        println!("listening on {address}");
    }
    Ok(engine.start()?)
}
