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
    /// How long those of its process's children have run that have ended and were waited for, in the same ticks.
    pub children_ticks: u64,
    /// The CPU on which it ran last.
    pub cpu: usize,
}

/// What `/proc/PID/status`, or that of a thread, says. What is missing is 0, or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Memory of the process that is resident, in bytes.
    pub resident: u64,
    /// The most that it ever was, in bytes.
    pub peak: u64,
    /// Memory of the process that is in swap space, in bytes.
    pub swapped: u64,
    /// The process that traces the thread (ptrace(2)); 0 if there is none.
    pub tracer: u64,
    /// The CPUs that the thread may run on.
    pub allowed: Cpus,
    /// The signals that the process ignores: the lowest bit is signal 1.
    pub ignored: u64,
    /// How often the thread gave its CPU up, to wait.
    pub voluntary: u64,
    /// How often its CPU was taken from it.
    pub involuntary: u64,
}

/// How long the machine's CPUs have been at something, all together, in the kernel's clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// At anything, and at nothing.
    pub total: u64,
    /// Taken by the hypervisor for somebody else.
    pub steal: u64,
}

/// A limit of a process; `None` where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds now.
    pub soft: Option<u64>,
    /// What the process may raise it to.
    pub hard: Option<u64>,
}

/// Reads the `stat` of a thread or a process; `None` if it is not one.
pub fn parse_stat(text: &str) -> Option<ThreadStat> {
    // The name is in parentheses, and may itself hold any of them.
    let (_, rest) = text.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    // Field 3, the state, is the first one here.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)?.checked_add(field(15)?)?;
    let children_ticks = field(16)?.checked_add(field(17)?)?;
    Some(ThreadStat { name: name.to_owned(), ticks, children_ticks, cpu: usize::try_from(field(39)?).ok()? })
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

/// Reads how long a thread has waited for a CPU, while others ran there, from its `schedstat`; `None` if it is not one.
pub fn parse_waited(text: &str) -> Option<Duration> {
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// Reads the `status` of a thread or a process; `None` if it is not one.
pub fn parse_status(text: &str) -> Option<Status> {
    let mut status = Status::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let number = || value.split_ascii_whitespace().next()?.parse::<u64>().ok();
        let bytes = || number().unwrap_or(0).saturating_mul(1024);
        match key {
            "VmRSS" => status.resident = bytes(),
            "VmHWM" => status.peak = bytes(),
            "VmSwap" => status.swapped = bytes(),
            "SigIgn" => status.ignored = u64::from_str_radix(value.trim(), 16).ok()?,
            "TracerPid" => status.tracer = number()?,
            "Cpus_allowed_list" => status.allowed = value.parse().ok()?,
            "voluntary_ctxt_switches" => status.voluntary = number()?,
            "nonvoluntary_ctxt_switches" => status.involuntary = number()?,
            _ => {}
        }
    }
    text.starts_with("Name:").then_some(status)
}

/// Reads how many descriptors a process may have from its `limits`.
pub fn parse_descriptor_limit(text: &str) -> Option<Limit> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut values = line.split_ascii_whitespace().map(|value| match value {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    });
    Some(Limit { soft: values.next()??, hard: values.next()?? })
}

/// Reads the numbers of a thread's `children`. A kernel without `CONFIG_PROC_CHILDREN` has no such file.
pub fn parse_children(text: &str) -> impl Iterator<Item = u32> {
    text.split_ascii_whitespace().filter_map(|number| number.parse().ok())
}

/// Reads the times of all CPUs together from `/proc/stat` (proc_stat(5)).
pub fn parse_cpu_times(text: &str) -> Option<CpuTimes> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // From user to steal; what follows, of guests, is in the first two already.
    let times: Vec<u64> = line.split_ascii_whitespace().take(8).map_while(|time| time.parse().ok()).collect();
    Some(CpuTimes { total: times.iter().fold(0, |sum, time| sum.saturating_add(*time)), steal: *times.get(7)? })
}

/// Reads from `/proc/vmstat` how many pages were brought in from swap space, or put there.
pub fn parse_swaps(text: &str) -> Option<u64> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
    value("pswpin ")?.checked_add(value("pswpout ")?)
}

/// Reads how many threads wanted to run, on average over the last 1, 5 and 15 minutes, from `/proc/loadavg`.
pub fn parse_load_average(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split_ascii_whitespace().map_while(|field| field.parse().ok());
    Some([fields.next()?, fields.next()?, fields.next()?])
}

/// Reads the first and the last port of `/proc/sys/net/ipv4/ip_local_port_range` (ip(7)).
pub fn parse_port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.trim().split_once(char::is_whitespace)?;
    Some((first.parse().ok()?, last.trim().parse().ok()?))
}

/// Reads the first CPU's model from `/proc/cpuinfo`.
pub fn parse_cpu_model(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim().to_owned())
}

/// Whether `/proc/cpuinfo` says that there is a hypervisor below. (It is the CPU that says so, on x86.)
pub fn parse_is_guest(text: &str) -> bool {
    let flags = text.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_ascii_whitespace().any(|flag| flag == "hypervisor"))
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
            let expected = ThreadStat { name: name.to_owned(), ticks: 290, children_ticks: 330, cpu: 390 };
            assert_eq!(stat, expected);
        }
        assert_eq!(parse_stat("12 (short) S 1 2 3"), None);
    }

    #[test]
    fn the_files_of_this_very_thread_are_understood() {
        let read = |file| std::fs::read_to_string(format!("/proc/thread-self/{file}")).unwrap();
        assert!(parse_stat(&read("stat")).is_some());
        let status = parse_status(&read("status")).unwrap();
        assert!(!status.allowed.is_empty() && status.resident > 0 && status.peak >= status.resident, "{status:?}");
        let limit = parse_descriptor_limit(&std::fs::read_to_string("/proc/self/limits").unwrap()).unwrap();
        assert!(limit.soft.is_none_or(|soft| soft > 0) && limit.hard.is_none_or(|hard| Some(hard) >= limit.soft));
        if let Ok(text) = std::fs::read_to_string("/proc/thread-self/schedstat") {
            // It may say 0 of a thread that has not yet lived for a tick.
            assert!(parse_schedstat(&text).is_some());
        }
    }

    #[test]
    fn single_lines_are_found() {
        assert_eq!(parse_schedstat("123 45 6\n"), Some(Duration::from_nanos(123)));
        assert_eq!((parse_waited("123 45 6\n"), parse_waited("123\n")), (Some(Duration::from_nanos(45)), None));
        assert_eq!(parse_children("12 34 \n").collect::<Vec<_>>(), [12, 34]);
        assert_eq!(parse_load_average("0.48 0.46 1.07 1/93 29288\n"), Some([0.48, 0.46, 1.07]));
        assert_eq!(parse_port_range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(parse_swaps("pgpgin 1\npswpin 2\npswpout 3\n"), Some(5));
        let model = parse_cpu_model("processor\t: 0\nmodel name\t: A CPU: the first\nmodel name\t: B\n");
        assert_eq!(model.as_deref(), Some("A CPU: the first"));
    }

    #[test]
    fn a_status_of_a_thread_of_the_kernel_has_no_memory() {
        let text = "Name:\tx: y\nVmHWM:\t  20 kB\nVmRSS:\t  10 kB\nVmSwap:\t 1 kB\nCpus_allowed_list:\t0-1,4\nSigIgn:\t0000000000001001\n\
                    voluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n";
        let status = parse_status(text).unwrap();
        assert_eq!((status.resident, status.peak, status.swapped), (10_240, 20_480, 1_024));
        assert_eq!((status.voluntary, status.involuntary, status.allowed.to_string()), (5, 6, "0-1,4".to_owned()));
        assert_eq!((status.tracer, status.ignored), (0, 0x1001));
        assert_eq!(parse_status("Name:\tkthreadd\n"), Some(Status::default()));
        assert_eq!(parse_status(""), None);
    }

    #[test]
    fn stolen_time_is_part_of_all_time_and_that_of_guests_is_not_counted_twice() {
        let times = parse_cpu_times("cpu  1 2 3 4 5 6 7 8 100 200\ncpu0 9 9 9 9 9 9 9 9 9 9\n");
        assert_eq!(times, Some(CpuTimes { total: 36, steal: 8 }));
        assert_eq!(parse_cpu_times("cpu  1 2 3 4\n"), None, "a kernel before 2.6.11 does not know");
        assert!(parse_cpu_times(&std::fs::read_to_string("/proc/stat").unwrap()).unwrap().total > 0);
    }

    #[test]
    fn a_descriptor_limit_may_be_none() {
        let limit = |values: &str| parse_descriptor_limit(&format!("Limit  Soft\nMax open files   {values}  files\n"));
        assert_eq!(limit("1024 unlimited"), Some(Limit { soft: Some(1_024), hard: None }));
        assert_eq!(limit(""), None);
    }

    #[test]
    fn a_guest_is_known_by_a_word_and_not_by_a_part_of_one() {
        assert!(parse_is_guest("model name\t: x\nflags\t\t: fpu hypervisor lahf\n"));
        assert!(!parse_is_guest("flags\t\t: fpu nohypervisor\n"));
        assert!(!parse_is_guest("model name\t: hypervisor\n"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(
            text in "\\PC*|[0-9() \n:SR-]{0,300}|Cpus_allowed_list:[0-9,-]{0,20}|cpu  [0-9 ]{0,60}|Max open files[ 0-9]{0,30}"
        ) {
            let _ = (parse_stat(&text), parse_schedstat(&text), parse_status(&text), parse_cpu_model(&text));
            let _ = (parse_descriptor_limit(&text), parse_cpu_times(&text), parse_swaps(&text), parse_load_average(&text));
            let _ = (parse_port_range(&text), parse_children(&text).count(), parse_is_guest(&text));
        }
    }
}
