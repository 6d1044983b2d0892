//! What to doubt in a result: whether it was the generator that was measured, or both on one core.

use crate::cpus::Cpus;
use crate::report::outcome::ShardUse;
use crate::server::ServerUse;

/// A thread that runs for this much of the time is at its limit.
pub const SATURATED: f64 = 0.95;

/// Shares that are this close are the same, on a machine that does other things too.
const CLOSE: f64 = 0.05;

/// Warnings about a result, each one sentence.
pub fn warnings(shards: &[ShardUse], server: Option<&ServerUse>) -> Vec<String> {
    bottleneck(shards, server).into_iter().chain(server.and_then(|server| shared_cores(shards, server))).collect()
}

fn bottleneck(shards: &[ShardUse], server: Option<&ServerUse>) -> Option<String> {
    let busiest = shards.iter().filter(|shard| shard.cpu_share >= SATURATED).max_by(by_share)?;
    let (shard, share) = (busiest.shard, busiest.cpu_share * 100.0);
    let what = format!("the generator was the bottleneck: shard-{shard} at {share:.0} %");
    Some(match server.map(|server| (server.busiest_share > busiest.cpu_share - CLOSE, server.busiest_share * 100.0)) {
        Some((true, server)) => format!(
            "generator and server were both at their limit, shard-{shard} at {share:.0} % and the server at {server:.0} %: \
             a faster server would not show; use more --shards"
        ),
        Some((false, server)) => format!("{what}, the server at {server:.0} %; use more --shards"),
        None => format!("{what}, unless the server was too; --server-pid shows it"),
    })
}

fn by_share(one: &&ShardUse, other: &&ShardUse) -> std::cmp::Ordering {
    one.cpu_share.total_cmp(&other.cpu_share)
}

fn shared_cores(shards: &[ShardUse], server: &ServerUse) -> Option<String> {
    let mut own = Cpus::default();
    for shard in shards {
        own.add(&shard.allowed);
    }
    let shared = own.shared_with(&server.allowed);
    (!shared.is_empty()).then(|| format!("generator and server may share CPU {shared}; keep them apart with --cpus"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(cpu: usize, share: f64) -> ShardUse {
        ShardUse {
            shard: 0,
            cpu: Some(cpu),
            allowed: [cpu].into_iter().collect(),
            cpu_share: share,
            connections: 1,
            messages: 1,
            p50_ns: 1,
            p99_ns: 1,
        }
    }

    fn server(cpu: usize, share: f64) -> ServerUse {
        ServerUse { busiest_share: share, allowed: [cpu].into_iter().collect(), ..ServerUse::default() }
    }

    #[test]
    fn a_full_generator_before_an_idle_or_unknown_server_is_doubted() {
        assert!(warnings(&[shard(1, 0.99)], Some(&server(0, 0.5)))[0].contains("shard-0 at 99 %, the server at 50 %"));
        assert!(warnings(&[shard(1, 0.99)], None)[0].contains("--server-pid"));
        assert!(warnings(&[shard(1, 0.99)], Some(&server(0, 0.95)))[0].contains("both at their limit"));
        assert!(warnings(&[shard(1, 0.94)], Some(&server(0, 0.97))).is_empty());
        assert!(warnings(&[shard(1, 0.94)], Some(&server(0, 0.5))).is_empty());
        assert!(warnings(&[shard(1, 0.94)], None).is_empty());
    }

    #[test]
    fn a_shared_core_is_doubted_whoever_was_busy() {
        let warnings = warnings(&[shard(1, 0.4), shard(2, 0.4)], Some(&server(2, 0.4)));
        assert_eq!(warnings, ["generator and server may share CPU 2; keep them apart with --cpus"]);
    }
}
