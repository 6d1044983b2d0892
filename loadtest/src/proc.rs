//! What the kernel's files in /proc say (proc_pid_stat(5), proc_pid_status(5)): the readers of their texts, which are pure.

use std::time::Duration;

use crate::cpus::Cpus;

/// What `/proc/PID/task/TID/stat` says of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadStat {
    /// Its name.
    pub name: String,
    /// How long it has run, in user mode and in the kernel, in the kernel's clock ticks.
    pub ticks: u64,
    /// The CPU on which it ran last.
    pub cpu: usize,
}

/// Reads a thread's `stat`; `None` if it is not one.
pub fn parse_stat(text: &str) -> Option<ThreadStat> {
    // The name is in parentheses, and may itself hold any of them.
    let (_, rest) = text.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    // Field 3, the state, is the first one here.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)?.checked_add(field(15)?)?;
    Some(ThreadStat { name: name.to_owned(), ticks, cpu: usize::try_from(field(39)?).ok()? })
}

/// Reads how long a thread has run from its `schedstat`; `None` if it is not one.
///
/// It counts in nanoseconds, where `stat` counts in ticks of mostly 10 ms. A kernel without `CONFIG_SCHED_INFO` has none.
pub fn parse_schedstat(text: &str) -> Option<Duration> {
    let mut fields = text.split_ascii_whitespace();
    let time = fields.next()?.parse().ok()?;
    fields.next()?;
    Some(Duration::from_nanos(time))
}

/// Reads from a thread's or a process's `status` which CPUs it may run on.
pub fn parse_allowed(text: &str) -> Option<Cpus> {
    text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.parse().ok()
}

/// Reads the first CPU's model from `/proc/cpuinfo`.
pub fn parse_cpu_model(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_thread_s_stat_is_read_whatever_its_name() {
        let numbers: Vec<String> = (4..=52).map(|field| (field * 10).to_string()).collect();
        for name in ["shard-0", "a b", "a) S (b", ""] {
            let stat = parse_stat(&format!("12 ({name}) S {}\n", numbers.join(" "))).unwrap();
            assert_eq!(stat, ThreadStat { name: name.to_owned(), ticks: 290, cpu: 390 });
        }
        assert_eq!(parse_stat("12 (short) S 1 2 3"), None);
    }

    #[test]
    fn the_files_of_this_very_thread_are_understood() {
        let read = |file| std::fs::read_to_string(format!("/proc/thread-self/{file}")).unwrap();
        assert!(parse_stat(&read("stat")).is_some());
        assert!(!parse_allowed(&read("status")).unwrap().is_empty());
        if let Ok(text) = std::fs::read_to_string("/proc/thread-self/schedstat") {
            // It may say 0 of a thread that has not yet lived for a tick.
            assert!(parse_schedstat(&text).is_some());
        }
    }

    #[test]
    fn single_lines_are_found() {
        assert_eq!(parse_schedstat("123 45 6\n"), Some(Duration::from_nanos(123)));
        assert_eq!(parse_allowed("Name:\tx\nCpus_allowed_list:\t0-1,4\n").unwrap().to_string(), "0-1,4");
        let model = parse_cpu_model("processor\t: 0\nmodel name\t: A CPU: the first\nmodel name\t: B\n");
        assert_eq!(model.as_deref(), Some("A CPU: the first"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC*|[0-9() \n:SR-]{0,300}|Cpus_allowed_list:[0-9,-]{0,20}") {
            let _ = (parse_stat(&text), parse_schedstat(&text), parse_allowed(&text), parse_cpu_model(&text));
        }
    }
}
