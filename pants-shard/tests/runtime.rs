//! The runtime: its threads, their CPUs, how it starts or does not, and how it ends.

mod support;

use std::io::Read;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use pants_shard::{CloseReason, Config, Connection, Endpoint, Error, Handler, Result, Runtime, Shard, ShardId};

use crate::support::*;

/// One thread for each of these, in the order of their names: `shard-0` and so on, on the CPU that is given.
fn tasks(cpus: impl IntoIterator<Item = impl ToString>) -> Vec<Task> {
    let cpus = cpus.into_iter().enumerate();
    let mut tasks: Vec<Task> =
        cpus.map(|(index, cpus)| Task { name: format!("shard-{index}"), cpus: cpus.to_string() }).collect();
    tasks.sort();
    tasks
}

/// The CPUs of this process; `None`, with a message, if it has only one.
fn several_cpus() -> Option<Vec<usize>> {
    let cpus = own_cpu_list();
    if cpus.len() < 2 {
        println!("skipped: this process may use one CPU only");
    }
    (cpus.len() > 1).then_some(cpus)
}

#[test]
fn every_shard_is_a_named_thread_that_stays_on_its_cpu() {
    let _alone = alone();
    let Some(cpus) = several_cpus() else { return };
    let live = Live::echo(shards(cpus.len()).pin(true));
    assert_shard_tasks(&tasks(&cpus));
    live.stop();
    assert_no_shard_is_left();
}

#[test]
fn listed_cpus_are_taken_in_the_order_of_the_list() {
    let _alone = alone();
    let Some(cpus) = several_cpus() else { return };
    let _live = Live::echo(Config::builder().cpus([cpus[1], cpus[0]]));
    assert_shard_tasks(&tasks([cpus[1], cpus[0]]));
}

#[test]
fn shards_that_are_not_pinned_may_use_every_cpu_of_the_process() {
    let _alone = alone();
    let live = Live::echo(shards(2));
    assert_shard_tasks(&tasks([own_cpus(), own_cpus()]));
    assert_eq!(live.running().placement().iter().collect::<Vec<_>>(), [None, None]);
}

#[test]
fn more_shards_than_cpus_share_them_and_all_serve() {
    let _alone = alone();
    let cpus = own_cpu_list();
    let count = 2 * cpus.len() + 1;
    let live = Live::echo(shards(count).pin(true));
    assert_shard_tasks(&tasks(cpus.iter().cycle().take(count)));
    let clients = clients(live.address(), 40 * count);
    let report = live.stop();
    assert_eq!(report.shards.len(), count);
    assert!(report.shards.iter().all(|shard| shard.connections_accepted > 0), "{report:?}");
    drop(clients);
}

#[test]
fn set_up_runs_on_one_shard_after_the_other() {
    let _alone = alone();
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let _live = Live::start(shards(5), move |shard| {
        // Whoever came too early would be told of here too, in between.
        for step in ["begins", "ends"] {
            std::thread::yield_now();
            tell.lock().unwrap().send((shard.id().index(), step)).unwrap();
        }
        Ok(())
    });
    let expected = (0..5).flat_map(|index| [(index, "begins"), (index, "ends")]);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// Starts three shards of which the second fails in set-up, and expects that nothing is left of any of them.
fn fail_on_the_second_shard(fail: fn() -> Result<()>) -> Error {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let error = refusal(shards(3), move |shard| {
        let server = shard.listen(ANY_PORT, |_peer| Echo)?;
        tell.lock().unwrap().send((shard.id(), shard.context().server_address(server).unwrap())).unwrap();
        if shard.id().index() == 1 { fail() } else { Ok(()) }
    });
    assert_no_shard_is_left();
    let told: Vec<(ShardId, Endpoint)> = told.try_iter().collect();
    assert_eq!(told.iter().map(|(shard, _)| shard.index()).collect::<Vec<_>>(), [0, 1]);
    TcpListener::bind(told[0].1.socket_address().unwrap()).expect("the port is free again");
    error
}

#[test]
fn an_error_in_set_up_stops_all_and_names_the_shard() {
    let _alone = alone();
    let error = fail_on_the_second_shard(|| Err(Error::other("the table of users is empty")));
    assert_eq!(error.to_string(), "shard-1: the table of users is empty");
    assert!(matches!(error, Error::Shard { shard, .. } if shard == ShardId::new(1)));
}

#[test]
fn a_panic_in_set_up_stops_all_and_names_the_shard() {
    let _alone = alone();
    let error = fail_on_the_second_shard(|| panic!("{ON_PURPOSE}"));
    assert_eq!(error.to_string(), "shard-1: panicked: on purpose");
}

#[test]
fn run_ends_when_a_message_stops_the_runtime() {
    let _alone = alone();
    run_until(|shard| {
        shard.stop();
    });
}

#[test]
fn run_ends_when_a_message_drains_the_runtime() {
    let _alone = alone();
    run_until(|shard| {
        shard.drain();
    });
}

fn run_until(end: fn(&mut Shard<'_>)) {
    let config = shards(2).build().unwrap();
    let run = in_time(move || {
        Runtime::new(config)?.run(move |shard| {
            shard.listen(ANY_PORT, |_peer| Echo)?;
            if shard.id().index() == 0 {
                shard.bus().send(ShardId::new(1), end).expect("the lane is empty");
            }
            Ok(())
        })
    });
    run.unwrap();
    assert_no_shard_is_left();
}

#[test]
fn a_stop_in_set_up_ends_the_runtime_once_it_has_started() {
    let _alone = alone();
    let live = Live::start(shards(3), |shard| {
        shard.stop();
        Ok(())
    });
    assert_eq!(live.join().shards.len(), 3);
}

#[test]
fn the_report_has_what_each_shard_has_done() {
    let _alone = alone();
    let live = Live::echo(shards(2));
    let mut clients = clients(live.address(), 50);
    let greeted: usize = (0..clients.len()).map(|index| format!("client {index}").len()).sum();
    for client in &mut clients {
        assert_echoes(client, &[7; 1000]);
    }
    let report = live.stop();
    let sum = |count: fn(&pants_shard::Stats) -> u64| report.shards.iter().map(count).sum::<u64>() as usize;
    assert_eq!(report.shards.len(), 2);
    assert_eq!(sum(|shard| shard.connections_accepted), 50);
    assert_eq!(sum(|shard| shard.connections_closed), 50);
    assert_eq!(sum(|shard| shard.bytes_in), greeted + 50_000);
    assert_eq!(sum(|shard| shard.bytes_out), greeted + 50_000);
}

#[test]
fn a_drain_ends_quiet_connections_with_fin() {
    let _alone = alone();
    let live = Live::echo(shards(2));
    let mut clients = clients(live.address(), 20);
    live.running().stop_handle().drain();
    for client in &mut clients {
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    }
    drop(clients);
    let report = live.join();
    assert_eq!(report.shards.iter().map(|shard| shard.connections_closed).sum::<u64>(), 20);
}

/// Never closes of its own accord.
struct Stubborn(std::sync::mpsc::Sender<CloseReason>);

impl Handler for Stubborn {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }

    fn on_shutdown(&mut self, _connection: &mut Connection<'_>) {}

    fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
        self.0.send(reason).unwrap();
    }
}

fn stubborn(config: pants_shard::ConfigBuilder) -> (Live, std::sync::mpsc::Receiver<CloseReason>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let live = Live::start(config, move |shard| {
        let tell = tell.lock().unwrap().clone();
        shard.listen(ANY_PORT, move |_peer| Stubborn(tell.clone())).map(drop)
    });
    (live, told)
}

#[test]
fn a_drain_closes_at_its_deadline_what_does_not_close_by_itself() {
    let _alone = alone();
    let timeout = Duration::from_millis(200);
    let (live, told) = stubborn(shards(2).drain_timeout(timeout));
    let mut client = clients(live.address(), 1).remove(0);
    let begun = Instant::now();
    live.running().drain();
    assert_eq!(next(&told), CloseReason::Stopped);
    assert!(begun.elapsed() >= timeout, "it was closed before the deadline");
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    live.join();
}

#[test]
fn a_stop_does_not_wait_for_the_drain_before_it() {
    let _alone = alone();
    let (live, told) = stubborn(shards(2).drain_timeout(Duration::from_secs(3600)));
    let mut client = clients(live.address(), 1).remove(0);
    live.running().drain();
    assert_echoes(&mut client, b"still served");
    live.stop();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [CloseReason::Stopped]);
}
