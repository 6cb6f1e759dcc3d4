//! May this process have as much memory as the shared table may fill?
//!
//! What a container or a unit of systemd is limited to, which the kernel enforces by killing processes.
//! Must not fail: a limit that cannot be read is none.

use std::{fs, path::Path};

/// The lowest limit of the control groups that this process is in, in bytes, of either version.
pub(crate) fn limit() -> Option<u64> {
    limit_in(
        &fs::read_to_string("/proc/self/cgroup").ok()?,
        Path::new("/sys/fs/cgroup"),
    )
}

/// `groups` as proc_pid_cgroup(5) has it; `root` is where the file systems are mounted.
fn limit_in(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        match controllers {
            "" => lowest(root, path, "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => {
                lowest(&root.join("memory"), path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    limits.min()
}

/// The lowest of a group and those above it. Inside a container the group's own path may not be there, and
/// the top is its own.
fn lowest(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let own = mount.join(path.trim_start_matches('/'));
    let above = own.ancestors().take_while(|dir| dir.starts_with(mount));
    let limits = above.filter_map(|dir| {
        let text = fs::read_to_string(dir.join(file)).ok()?;
        text.trim().parse::<u64>().ok() // "max" is none
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        limit_in(groups, root.path())
    }

    #[test]
    fn the_lowest_limit_of_either_version_counts() {
        let two = "0::/system.slice/httpd.service\n";
        let one = "4:cpu,memory:/docker/1\n0::/\n";
        for (groups, files, limit) in [
            (two, vec![("memory.max", "max\n")], None),
            (
                two,
                vec![("system.slice/httpd.service/memory.max", "1000\n")],
                Some(1000),
            ),
            (
                two,
                vec![
                    ("system.slice/httpd.service/memory.max", "max\n"),
                    ("system.slice/memory.max", "700\n"),
                ],
                Some(700),
            ),
            (two, vec![("memory.max", "500\n")], Some(500)),
            (
                one,
                vec![("memory/docker/1/memory.limit_in_bytes", "300\n")],
                Some(300),
            ),
            (
                one,
                vec![("memory/memory.limit_in_bytes", "9223372036854771712\n")],
                Some(9_223_372_036_854_771_712),
            ),
            ("", vec![("memory.max", "500\n")], None),
        ] {
            assert_eq!(limited(groups, &files), limit, "{groups} {files:?}");
        }
    }
}
