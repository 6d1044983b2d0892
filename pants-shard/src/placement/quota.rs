//! How much of the CPUs' time the cgroups of this process leave it, from the texts of `/proc` and of the cgroups' files.

use std::path::{Path, PathBuf};

/// How many CPUs the process may keep busy: the least quota of its cgroup and of all groups above it, rounded up; `None`
/// without any.
///
/// `read` gives the text of a file, if there is one. Both versions of cgroups are understood; see cgroups(7) and the kernel's
/// `cgroup-v2.rst` and `sched-bwc.rst`.
pub(crate) fn quota(read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let memberships = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let groups = mounts.lines().filter_map(|mount| own_group(mount, &memberships)).flat_map(|(group, mount_point)| {
        // A group's own file does not tell of the limits above it, and may be missing where there are some.
        let within = group.ancestors().take_while(|above| above.starts_with(&mount_point));
        within.map(Path::to_owned).collect::<Vec<_>>()
    });
    groups.filter_map(|group| quota_v2(&group, &read).or_else(|| quota_v1(&group, &read))).min()
}

/// The directory of the process's group in this line of mountinfo, and the mount point above it; `None` if the line is of
/// another file system, or of controllers that are not the CPU's.
fn own_group(mount: &str, memberships: &str) -> Option<(PathBuf, PathBuf)> {
    let (location, file_system) = mount.split_once(" - ")?;
    let mut location = location.split(' ').skip(3);
    let (root, mount_point) = (location.next()?, PathBuf::from(location.next()?));
    let mut file_system = file_system.split(' ');
    let is_v1 = match file_system.next()? {
        "cgroup" => file_system.nth(1)?.split(',').any(|option| option == "cpu"),
        "cgroup2" => false,
        _ => return None,
    };
    let path = memberships.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = if is_v1 { controllers.split(',').any(|name| name == "cpu") } else { controllers.is_empty() };
        is_it.then_some(path)
    })?;
    let below = Path::new(path).strip_prefix(root).ok()?;
    Some((mount_point.join(below), mount_point))
}

/// `cpu.max` holds the quota, or `max`, and the period.
fn quota_v2(group: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let text = read(&group.join("cpu.max"))?;
    let (quota, period) = text.trim().split_once(' ')?;
    rounded_up(quota, period)
}

/// The quota is -1 where there is none.
fn quota_v1(group: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    rounded_up(read(&group.join("cpu.cfs_quota_us"))?.trim(), read(&group.join("cpu.cfs_period_us"))?.trim())
}

fn rounded_up(quota: &str, period: &str) -> Option<usize> {
    let (quota, period) = (quota.parse::<usize>().ok()?, period.parse::<usize>().ok()?);
    (period > 0).then(|| quota.div_ceil(period).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The quota of a process for which there are these files and no others.
    fn quota_of(files: &[(&str, &str)]) -> Option<usize> {
        quota(|path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned()))
    }

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "\
25 30 0:22 / / rw shared:1 - ext4 /dev/vda rw
31 25 0:28 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
32 25 0:29 / /sys/fs/cgroup/cpuset rw shared:10 - cgroup cgroup rw,cpuset
33 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 master:2 - cgroup cgroup rw,cpu,cpuacct
";

    #[test]
    fn the_text_of_cpu_max_is_rounded_up_to_whole_cpus() {
        for (text, cpus) in [
            ("max 100000\n", None),
            ("150000 100000\n", Some(2)),
            ("200000 100000\n", Some(2)),
            ("200001 100000\n", Some(3)),
            ("1000 100000\n", Some(1)),
            ("0 100000\n", Some(1)),
            ("50000 10000", Some(5)),
            ("100000 0\n", None),
            ("100000\n", None),
            ("-1 100000\n", None),
            ("99999999999999999999999 100000\n", None),
            ("", None),
        ] {
            let files =
                [("/proc/self/cgroup", "0::/\n"), ("/proc/self/mountinfo", V2), ("/sys/fs/cgroup/cpu.max", text)];
            assert_eq!(quota_of(&files), cpus, "{text:?}");
        }
    }

    #[test]
    fn a_limit_of_any_group_above_counts_even_where_the_own_group_has_no_file() {
        let files = [
            ("/proc/self/cgroup", "0::/web.slice/echo.service/workers\n"),
            ("/proc/self/mountinfo", V2),
            ("/sys/fs/cgroup/web.slice/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/web.slice/echo.service/cpu.max", "400000 100000\n"),
            ("/sys/fs/cgroup/web.slice/other.service/cpu.max", "100000 100000\n"),
            ("/sys/fs/cpu.max", "100000 100000\n"),
        ];
        assert_eq!(quota_of(&files), Some(2));
    }

    #[test]
    fn the_first_version_has_two_files_and_minus_one_for_none() {
        let group = "/sys/fs/cgroup/cpu,cpuacct/docker/abc";
        for (own, above, cpus) in [("-1\n", "-1\n", None), ("250000\n", "-1\n", Some(5)), ("-1\n", "60000\n", Some(2))]
        {
            let (own_quota, period) = (format!("{group}/cpu.cfs_quota_us"), format!("{group}/cpu.cfs_period_us"));
            let files = [
                ("/proc/self/cgroup", "9:memory:/docker/other\n3:cpu,cpuacct:/docker/abc\n2:cpuset:/\n0::/\n"),
                ("/proc/self/mountinfo", V1),
                (&own_quota, own),
                (&period, "50000\n"),
                ("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", above),
                ("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "50000\n"),
            ];
            assert_eq!(quota_of(&files), cpus);
        }
    }

    #[test]
    fn with_both_versions_mounted_the_one_that_has_the_limit_counts() {
        let mounts = format!("{V1}34 25 0:31 / /sys/fs/cgroup/unified rw shared:12 - cgroup2 cgroup2 rw\n");
        let files = [
            ("/proc/self/cgroup", "3:cpu,cpuacct:/a\n0::/b\n"),
            ("/proc/self/mountinfo", &mounts),
            ("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "300000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/b/cpu.cfs_quota_us", "100000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/b/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(quota_of(&files), Some(3));
    }

    #[test]
    fn a_container_sees_its_group_as_the_root_of_the_mount() {
        let mounts = V2.replace("0:26 / ", "0:26 /docker/abc ");
        let files = [
            ("/proc/self/cgroup", "0::/docker/abc/inner\n"),
            ("/proc/self/mountinfo", &mounts),
            ("/sys/fs/cgroup/cpu.max", "150000 100000\n"),
        ];
        assert_eq!(quota_of(&files), Some(2));
        let elsewhere = [("/proc/self/cgroup", "0::/docker/other\n"), files[1], files[2]];
        assert_eq!(quota_of(&elsewhere), None);
    }

    #[test]
    fn without_cgroups_there_is_no_quota() {
        assert_eq!(quota_of(&[]), None);
        assert_eq!(quota_of(&[("/proc/self/cgroup", ""), ("/proc/self/mountinfo", V2)]), None);
        assert_eq!(quota_of(&[("/proc/self/cgroup", "0::/\n"), ("/proc/self/mountinfo", "")]), None);
    }
}
