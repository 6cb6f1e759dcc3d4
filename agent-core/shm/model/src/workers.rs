//! Processes, played.

/// One process of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(pub u32);

impl WorkerId {
    pub(crate) fn index(&self) -> u32 {
        self.0
    }

    pub(crate) fn owner(&self) -> u64 {
        u64::from(self.0) + 1
    }
}

/// In a model nobody asks the system: what a lease says has to do.
pub(crate) fn lives(_owner: u64) -> bool {
    true
}
