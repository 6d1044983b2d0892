//! Pants, where the work is not what one of its own programs does: lines, broadcast, datagrams, and an echo with time-outs pending.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use clap::Parser;
use contestants::timers::{PENDING, delay};
use contestants::{Arguments, Work};
use pants_shard::{
    Bus, Config, Connection, ConnectionKey, Context, Datagram, DatagramHandler, DatagramOptions, Endpoint, Handler,
    Result, Runtime, Shard, ShardId, Shards,
};

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match (arguments.work, arguments.variant.as_deref()) {
        (Work::Echo, None) => serve(1, |shard| echo(shard, 0)),
        (Work::Echo, Some("idle-timeouts")) => serve(1, |shard| echo(shard, PENDING)),
        (Work::Lines, None) => serve(1, lines),
        (Work::Broadcast, None) => serve(1, broadcast),
        (Work::Broadcast, Some("two-shards")) => serve(2, broadcast),
        (Work::Udp, None) => serve(1, |shard| udp(shard, true)),
        (Work::Udp, Some("no-segmentation")) => serve(1, |shard| udp(shard, false)),
        _ => contestants::refuse("pants", &arguments),
    }
}

/// Runs this many shards, unpinned: where the process runs is for the driver to say.
fn serve(shards: usize, set_up: impl Fn(&mut Shard<'_>) -> Result<()> + Send + Sync + 'static) -> Result<()> {
    let shards = NonZeroUsize::new(shards).expect("one at least");
    let config = Config::builder().shards(Shards::Count(shards)).pin(false).listen("127.0.0.1:0").build()?;
    let running = Runtime::new(config)?.start(set_up)?;
    let addresses = [running.addresses(), running.datagram_addresses()].concat();
    contestants::announce(addresses[0].socket_address().expect("an address of the Internet"));
    running.join().map(drop)
}

/// Sends back what comes, as pants-echo does.
struct Echo;

impl Handler for Echo {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

/// An echo beside so many timers, all of which are due long after the traffic.
fn echo(shard: &mut Shard<'_>, timers: usize) -> Result<()> {
    for index in 0..timers {
        shard.defer(delay(index), |_shard| {});
    }
    let address = shard.config().listen()[0].clone();
    shard.listen(address, |_peer| Echo).map(drop)
}

/// Sends back every line.
struct LineEcho;

impl Handler for LineEcho {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.set_delimiter("\n");
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, line: &[u8]) {
        connection.write(line);
        connection.write(b"\n");
    }
}

fn lines(shard: &mut Shard<'_>) -> Result<()> {
    let address = shard.config().listen()[0].clone();
    shard.listen(address, |_peer| LineEcho).map(drop)
}

/// The connections of a shard.
type Members = RefCell<Vec<ConnectionKey>>;

/// Has all connections hear what one says.
struct Member {
    bus: Bus,
    members: Rc<Members>,
}

impl Handler for Member {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        self.members.borrow_mut().push(connection.key());
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        let data: Arc<[u8]> = data.into();
        tell(connection.context(), &self.members, &data);
        let own = self.bus.shard();
        for other in (0..self.bus.shards()).map(ShardId::new).filter(|&shard| shard != own) {
            let data = Arc::clone(&data);
            let sent = self.bus.send(other, move |shard| {
                let members = shard.state::<Members>();
                tell(shard.context(), &members, &data);
            });
            assert!(sent.is_ok(), "more is said than the lane between two shards holds");
        }
    }
}

/// Has the connections of one shard hear this.
fn tell(context: &mut Context, members: &Members, data: &Arc<[u8]>) {
    members.borrow_mut().retain(|&key| {
        let member = context.connection(key);
        member.map(|mut member| member.write_shared(data)).is_some()
    });
}

fn broadcast(shard: &mut Shard<'_>) -> Result<()> {
    let (address, bus, members) = (shard.config().listen()[0].clone(), shard.bus(), shard.state::<Members>());
    shard.listen(address, move |_peer| Member { bus: bus.clone(), members: Rc::clone(&members) }).map(drop)
}

/// Sends back every datagram.
struct DatagramEcho;

impl DatagramHandler for DatagramEcho {
    fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
        datagram.send_to(data, from);
    }
}

fn udp(shard: &mut Shard<'_>, segmentation: bool) -> Result<()> {
    let address = shard.config().listen()[0].clone();
    let options = DatagramOptions { segmentation, ..DatagramOptions::default() };
    shard.open_datagram_with(address, options, DatagramEcho).map(drop)
}
