//! The calls that the fake kernel got, and those that it makes fail.

use std::collections::BTreeMap;

use crate::Errno;

/// A call that the kernel got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// Its name: `KVM_CREATE_VM`; `open`, `fallocate` and `madvise` for those that are no ioctls;
    /// `ioctl` for one that not all kernels have.
    pub name: &'static str,
    /// The number that a generation chooses: a capability, a machine type, a feature, a request.
    pub number: Option<u64>,
    /// Why it failed.
    pub error: Option<Errno>,
}

/// The calls so far, and what is to fail.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) log: Vec<CallRecord>,
    fails: BTreeMap<usize, Errno>,
}

impl Calls {
    /// Makes the call with this number, counted from 0, fail.
    pub(super) fn fail(&mut self, call: usize, errno: Errno) {
        self.fails.insert(call, errno);
    }

    /// Records a call.
    ///
    /// # Errors
    ///
    /// That which was ordered for it.
    pub(super) fn begin(&mut self, name: &'static str, number: Option<u64>) -> Result<(), Errno> {
        let error = self.fails.remove(&self.log.len());
        self.log.push(CallRecord { name, number, error });
        error.map_or(Ok(()), Err)
    }

    /// Records how the call with this number ended.
    pub(super) fn end(&mut self, call: usize, error: Option<Errno>) {
        if let Some(record) = self.log.get_mut(call) {
            record.error = error;
        }
    }
}
