//! Pants, where the work is not what one of its own programs does.

#![forbid(unsafe_code)]

use std::num::NonZeroUsize;

use clap::Parser;
use contestants::{Arguments, Work};
use pants_shard::{Config, Datagram, DatagramHandler, DatagramOptions, Endpoint, Result, Runtime, Shard, Shards};

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match (arguments.work, arguments.variant.as_deref()) {
        (Work::Udp, None) => serve(1, |shard| udp(shard, true)),
        (Work::Udp, Some("no-segmentation")) => serve(1, |shard| udp(shard, false)),
        _ => contestants::refuse("pants", &arguments),
    }
}

/// Runs this many shards, unpinned: where the process runs is for the driver to say.
fn serve(shards: usize, set_up: impl Fn(&mut Shard<'_>) -> Result<()> + Send + Sync + 'static) -> Result<()> {
    let shards = NonZeroUsize::new(shards).expect("one at least");
    let config = Config::builder().shards(Shards::Count(shards)).pin(false).listen("127.0.0.1:0").build()?;
    Runtime::new(config)?.run(set_up)
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
    let key = shard.open_datagram_with(address, options, DatagramEcho)?;
    let channel = shard.context().datagram(key).expect("it is open");
    contestants::announce(channel.local_address().socket_address().expect("a UDP address"));
    Ok(())
}
