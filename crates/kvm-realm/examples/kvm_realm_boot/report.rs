//! What is printed at the end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use kvm_realm::Generation;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest has turned the system off, or reset it.
    Off,
    Reset,
    /// The user has left.
    Quit,
    /// Something else, by this vCPU.
    Stopped(u64, String),
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// `None` for an ordinary VM.
    pub(crate) generation: Option<Generation>,
    /// The measurement that the Realm should have.
    pub(crate) rim: Option<Vec<u8>>,
    /// Since the start: until the VM is made, until it is populated, and until its end.
    pub(crate) created: Duration,
    pub(crate) populated: Duration,
    pub(crate) ended: Duration,
    pub(crate) end: End,
    /// How many exits there were of each kind.
    pub(crate) exits: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Whether the guest has ended by itself.
    pub(crate) fn is_orderly(&self) -> bool {
        self.end == End::Off
    }

    /// One line for each fact.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match self.generation {
            Some(generation) => lines.push(format!("realm: {generation}")),
            None => lines.push("ordinary VM".to_string()),
        }
        if let Some(rim) = &self.rim {
            let digits = rim.iter().fold(String::new(), |mut digits, byte| {
                // Writing to a string does not fail.
                let _ = write!(digits, "{byte:02x}");
                digits
            });
            lines.push(format!("predicted RIM: {digits}"));
        }
        lines.push(format!(
            "created after {:.3} s, populated after {:.3} s, ended after {:.3} s",
            self.created.as_secs_f64(),
            self.populated.as_secs_f64(),
            self.ended.as_secs_f64()
        ));
        let exits: Vec<_> =
            self.exits.iter().map(|(name, count)| format!("{name} {count}")).collect();
        lines.push(format!("exits: {}", exits.join(", ")));
        lines.push(match &self.end {
            End::Off => "the guest has turned the system off".to_string(),
            End::Reset => "the guest has reset the system".to_string(),
            End::Quit => "the user has ended the VM".to_string(),
            End::Stopped(vcpu, why) => format!("vCPU {vcpu} stopped: {why}"),
        });
        lines
    }
}
