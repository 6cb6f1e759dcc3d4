//! May the workers of the web server that runs write where they have to?
//!
//! Logs are opened by the parent and rotated by workers, and forms are kept by them: both make files. Judged by
//! owner and mode, for the user that a worker runs as now. Must not try it out: that would leave files behind.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

use portcullis_runtime::Running;
use serde_json::Value;

use super::{
    check::{Finding, every},
    files,
    patient::Patient,
};

const READ: u32 = 0o4;
const WRITE: u32 = 0o2;
/// On a folder: to get at what is in it.
const SEARCH: u32 = 0o1;
/// Where the kernel keeps an access control list.
const ACL: &str = "system.posix_acl_access";

/// Whom a process runs as.
#[derive(Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    groups: Vec<u32>,
}

/// Whether each folder can be written to by the workers.
pub(crate) fn write_access(patient: &mut Patient) -> Finding {
    let Some(folders) = files::written(patient) else {
        return Finding::skipped("the configuration is not known");
    };
    let Ok(hosts) = Running::all(patient.conf()) else {
        return Finding::not_needed(
            "no web server runs with the instance that this user may look into",
        );
    };
    let pids = hosts.iter().flat_map(|host| {
        let status = host.status();
        let workers = status["host"]["workers"].as_array().cloned();
        workers.unwrap_or_default()
    });
    let mut users: Vec<User> = Vec::new();
    for user in pids.filter_map(|pid| user(&pid)) {
        if !users.contains(&user) {
            users.push(user);
        }
    }
    if users.is_empty() {
        return Finding::skipped("no worker runs that this user may look into");
    }
    let conf = patient.conf();
    let looks = users.iter().flat_map(|user| {
        let folders = folders.iter().map(|(folder, _)| one(user, folder));
        folders.chain([reads(user, conf)])
    });
    every(looks.collect())
}

/// Of proc_pid_status(5): the effective user, group and further groups.
fn user(pid: &Value) -> Option<User> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    parsed(&text)
}

fn parsed(status: &str) -> Option<User> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let numbers = line.split_whitespace().map(str::parse);
        numbers.collect::<Result<Vec<u32>, _>>().ok()
    };
    let mut groups = field("Groups:").unwrap_or_default();
    groups.push(*field("Gid:")?.get(1)?);
    Some(User {
        uid: *field("Uid:")?.get(1)?,
        groups,
    })
}

fn one(user: &User, folder: &Path) -> Finding {
    let (uid, shown) = (user.uid, folder.display());
    match barred(user, folder, WRITE | SEARCH) {
        Ok(None) => Finding::ok(format!("workers (user {uid}) may write to {shown}")),
        Ok(Some(place)) => Finding::not_ok(
            format!("workers run as user {uid}, who may not write to {shown}: see {place}"),
            format!("chown {uid} {shown} and chmod u+rwx, and u+x or o+x for the folders above"),
        ),
        Err(why) => Finding::skipped(format!("{shown}: {why}")),
    }
}

/// Not needed: without it a change of the file counts with the next reload of the server.
fn reads(user: &User, conf: &Path) -> Finding {
    let may = matches!(barred(user, conf, READ), Ok(None));
    Finding::ok(match may {
        true => "workers notice when agent.conf changes",
        false => {
            "workers may not read agent.conf: its changes count when the web server is reloaded"
        }
    })
}

/// What keeps a user from this; `None`: nothing.
fn barred(user: &User, path: &Path, wanted: u32) -> Result<Option<String>, String> {
    let about = |path: &Path| fs::metadata(path).map_err(|e| e.to_string());
    let told = |path: &Path, about: &Metadata| {
        format!(
            "{}, mode {:o}, owner {}, group {}",
            path.display(),
            about.mode() & 0o7777,
            about.uid(),
            about.gid()
        )
    };
    let itself = about(path)?;
    for above in path
        .ancestors()
        .skip(1)
        .filter(|p| !p.as_os_str().is_empty())
    {
        let about = about(above)?;
        if !may(user, &about, SEARCH) && !has_acl(above) {
            return Ok(Some(told(above, &about)));
        }
    }
    let bad = !may(user, &itself, wanted) && !has_acl(path);
    Ok(bad.then(|| told(path, &itself)))
}

fn may(user: &User, about: &Metadata, wanted: u32) -> bool {
    let shift = match () {
        () if user.uid == 0 => return true,
        () if user.uid == about.uid() => 6,
        () if user.groups.contains(&about.gid()) => 3,
        () => 0,
    };
    about.mode() >> shift & wanted == wanted
}

/// Lists are not read: where one is, nothing is said against it.
fn has_acl(path: &Path) -> bool {
    rustix::fs::getxattr(path, ACL, &mut [0_u8; 0]).is_ok_and(|length| length > 0)
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_worker_is_whom_the_kernel_says() {
        let status = "Name:\tnginx\nUid:\t0\t33\t33\t33\nGid:\t0\t34\t34\t34\nGroups:\t7 8 \n";
        let user = parsed(status).unwrap();
        assert_eq!(
            user,
            User {
                uid: 33,
                groups: vec![7, 8, 34]
            }
        );
        assert_eq!(parsed("Name:\tx\n"), None);
        let own = user_of_this_process();
        assert_eq!(own.uid, rustix::process::geteuid().as_raw());
    }

    fn user_of_this_process() -> User {
        user(&Value::from(std::process::id())).unwrap()
    }

    #[test]
    fn owner_group_and_folders_above_count() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("logs");
        fs::create_dir(&inner).unwrap();
        let about = fs::metadata(&inner).unwrap();
        let mode =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        // Whoever runs the tests may be root, so nobody is asked who is.
        let owner = User {
            uid: about.uid().max(1),
            groups: vec![],
        };
        let stranger = User {
            uid: 4_000_000,
            groups: vec![about.gid()],
        };
        let bars = |user: &User| barred(user, &inner, WRITE | SEARCH).unwrap();
        mode(folder.path(), 0o755);
        mode(&inner, 0o750);
        if about.uid() != 0 {
            assert_eq!(bars(&owner), None);
        }
        assert!(bars(&stranger).is_some_and(|place| place.contains("logs, mode 750")));
        mode(&inner, 0o770);
        assert_eq!(bars(&stranger), None);
        mode(folder.path(), 0o700);
        assert!(bars(&stranger).is_some_and(|place| place.contains("mode 700")));
        assert!(barred(&stranger, &folder.path().join("none"), WRITE).is_err());
    }
}
