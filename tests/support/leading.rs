//! Who leads the workers of a server, and what they know together: read in their shared memory, which the
//! server's parent keeps open for tools.

use std::{
    fs::{self, File},
    os::fd::AsFd,
};

use portcullis_shm::{InstanceId, LeaseHolder, Mapping};

use crate::site::Site;

/// A server's shared memory.
pub struct Shared(Mapping);

/// Numbers that only a leader changes, or whoever learnt something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Of the leader.
    pub term: u64,
    /// Policy epoch and revocation counter.
    pub counters: (u64, u64),
    /// Versions of the profile and of the agent's session.
    pub versions: (u64, Option<u64>),
}

impl Shared {
    /// That of a running site, whose first instance is looked at.
    ///
    /// # Panics
    /// When the parent has none.
    #[must_use]
    pub fn of(site: &Site) -> Shared {
        let fds = format!("/proc/{}/fd", site.server.pid());
        let fds = fs::read_dir(fds).expect("the parent's files");
        let ours = fds.filter_map(Result::ok).find(|fd| {
            fs::read_link(fd.path())
                .is_ok_and(|to| to.to_string_lossy().contains("memfd:portcullis"))
        });
        let file = File::options()
            .read(true)
            .write(true)
            .open(ours.expect("a mapping").path())
            .expect("the mapping's file");
        Shared(Mapping::adopt(file.as_fd()).expect("a mapping of this version"))
    }

    /// Who holds the lease, and that process.
    #[must_use]
    pub fn leader(&self) -> Option<(u32, LeaseHolder)> {
        let holder = self.0.instance_at(InstanceId::FIRST).lease_holder()?;
        Some((self.0.workers().pid_at(holder.worker)?, holder))
    }

    /// The numbers now.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let state = self.0.instance_at(InstanceId::FIRST);
        Numbers {
            term: state.lease_holder().map_or(0, |holder| holder.term),
            counters: (state.epoch(), state.revocations()),
            versions: (state.profile_version(), state.agent_session_generation()),
        }
    }
}
