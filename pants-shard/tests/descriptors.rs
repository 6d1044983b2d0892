//! Descriptors: what listeners, their comings and goings and a handover open, they close. One test, since a process has one table.

mod support;

use std::fs;
use std::path::PathBuf;

use pants_shard::{Address, Error, Result, Runtime, Shard};

use crate::support::*;

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn begin<F>(path: PathBuf, set_up: F) -> Result<Live>
where
    F: Fn(&mut Shard<'_>) -> Result<()> + Send + Sync + 'static,
{
    let config = shards(2).admin_listen(Some(ANY_PORT.parse().unwrap())).build().unwrap();
    in_time(move || Runtime::new(config)?.handover(path).start(set_up)).map(Live::of)
}

#[test]
fn every_descriptor_is_closed_in_the_end() {
    let directory = std::env::temp_dir().join(format!("pants-descriptors-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (path, unix) = (directory.join("handover"), Address::Path(directory.join("server")));
    let both = [ANY_PORT.parse().unwrap(), unix.clone()];
    let set_up = move |shard: &mut Shard<'_>| {
        both.iter().try_for_each(|place| shard.listen(place.clone(), |_peer| Echo).map(drop))
    };
    let before = open_descriptors();
    let first = begin(path.clone(), set_up.clone()).unwrap();
    let serving = open_descriptors();
    for place in [ANY_PORT.parse().unwrap(), Address::Path(directory.join("added"))] {
        let endpoint = first.running().listen(place, |_shard| |_peer| Echo).unwrap();
        first.running().unlisten(endpoint).unwrap();
        first.running().listen(unix.clone(), |_shard| |_peer| Echo).unwrap_err();
    }
    assert_eq!(open_descriptors(), serving, "listeners have come and gone, and one has failed");
    let failing = |shard: &mut Shard<'_>| if shard.id() == ONE { Err(Error::other("not today")) } else { Ok(()) };
    assert!(begin(path.clone(), failing).is_err());
    let second = begin(path, set_up).unwrap();
    let handle = first.running().listeners();
    first.join();
    second.stop();
    drop(handle);
    assert_eq!(open_descriptors(), before);
    fs::remove_dir(&directory).expect("no file is left in it");
}
