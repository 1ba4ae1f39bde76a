//! What the programs of a Realm have told the host.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use realm_guest::layout;
use realm_sdk::abi::IpaRange;

use crate::report::Stop;

/// Most values that are kept.
const MOST_VALUES: usize = 100;

/// Values that a program told: by which virtual CPU, what they are, and the values.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub(crate) vcpu: usize,
    pub(crate) what: u64,
    pub(crate) values: [u64; 20],
}

/// All that was told.
#[derive(Debug)]
pub(crate) struct Record {
    /// The first verdict of each virtual CPU that is none of success, or its last one.
    verdicts: Vec<Option<[u64; 3]>>,
    pub(crate) values: Vec<Values>,
    /// How much was mapped for faults in RAM, in bytes, and in how many of them.
    pub(crate) mapped: (u64, u64),
    /// What the Realm has printed, at most a few lines.
    pub(crate) printed: String,
    /// Why the host ended the run.
    pub(crate) failure: Option<String>,
}

impl Record {
    pub(crate) fn new(vcpus: usize) -> Self {
        Self {
            verdicts: vec![None; vcpus],
            values: Vec::new(),
            mapped: (0, 0),
            printed: String::new(),
            failure: None,
        }
    }

    pub(crate) fn add_mapped(&mut self, range: IpaRange) {
        if !layout::ram().contains_range(&range) {
            return;
        }
        let (bytes, faults) = &mut self.mapped;
        (*bytes, *faults) = (bytes.saturating_add(range.bytes()), faults.saturating_add(1));
    }

    /// Adds values; a Realm that tells too many is not listened to.
    pub(crate) fn add_values(&mut self, values: Values) {
        if self.values.len() < MOST_VALUES {
            self.values.push(values);
        }
    }

    pub(crate) fn add_verdict(&mut self, vcpu: usize, verdict: [u64; 3]) {
        if let Some(slot) = self.verdicts.get_mut(vcpu) {
            let is_kept = slot.is_some_and(|[step, ..]| step != 0);
            if !is_kept {
                *slot = Some(verdict);
            }
        }
    }

    /// Checks that the first `vcpus` virtual CPUs have ended, and found everything as expected.
    pub(crate) fn check(&self, vcpus: u16) -> Result<(), Stop> {
        for (vcpu, verdict) in self.verdicts.iter().enumerate().take(vcpus.into()) {
            match verdict {
                Some([0, ..]) => {}
                Some([step, expected, found]) => {
                    return Err(Stop::failed(format!(
                        "virtual CPU {vcpu}: step {step}: expected {expected:#x}, found {found:#x}"
                    )));
                }
                None => return Err(Stop::failed(format!("virtual CPU {vcpu} gave no verdict"))),
            }
        }
        Ok(())
    }

    /// The values of a kind that virtual CPU 0 told first.
    pub(crate) fn values_of(&self, what: u64) -> Result<&[u64; 20], Stop> {
        let found = self.values.iter().find(|values| values.what == what && values.vcpu == 0);
        let values = found.map(|values| &values.values);
        values.ok_or_else(|| Stop::failed(format!("the Realm told no values of kind {what}")))
    }
}
