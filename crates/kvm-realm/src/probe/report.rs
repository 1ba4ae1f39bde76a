//! What a probe found, as text and as JSON.

use std::fmt;

use crate::errno::Errno;
use crate::generation::Generation;
use crate::vm::MIN_IPA_WIDTH;

/// One thing that a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The limit of the IPA width of any VM, in bits; zero if the kernel has only 40.
    IpaLimit {
        /// The width.
        bits: u32,
    },
    /// The host's pages have another length than 4 KiB.
    HostPages {
        /// Their length in bytes.
        bytes: usize,
    },
    /// The module `kvm` has a parameter with the number of the capability.
    Parameter {
        /// Its name.
        name: &'static str,
        /// The number; `None` if it is none.
        number: Option<u32>,
    },
    /// The highest number of those that Linux gives, from 240 on, that the kernel knows.
    Highest {
        /// The number; `None` if it knows none.
        capability: Option<u32>,
    },
    /// What the kernel answers to the number of a generation's capability.
    Number {
        /// The generation.
        generation: Generation,
        /// The number.
        capability: u32,
        /// The answer; zero if the kernel does not know it.
        value: u32,
    },
    /// Whether the kernel creates a VM of the type of Realms.
    Type {
        /// The type, with the IPA width.
        machine_type: u64,
        /// Its answer; `None` if it does.
        errno: Option<Errno>,
    },
    /// What such a VM has of a generation.
    Vm {
        /// The generation.
        generation: Generation,
        /// Whether it has the generation's capability.
        has_capability: bool,
        /// Whether private memory is what the generation's memory model has.
        has_private: bool,
    },
    /// The kernel lacks what every generation needs.
    Missing {
        /// The capability.
        name: &'static str,
    },
}

impl Finding {
    /// A word for the kind of finding.
    const fn kind(&self) -> &'static str {
        match self {
            Self::IpaLimit { .. } => "ipa-limit",
            Self::HostPages { .. } => "host-pages",
            Self::Parameter { .. } => "parameter",
            Self::Highest { .. } => "highest",
            Self::Number { .. } => "number",
            Self::Type { .. } => "type",
            Self::Vm { .. } => "vm",
            Self::Missing { .. } => "missing",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IpaLimit { bits: 0 } => f.write_str("VMs have 40 bits of IPA space"),
            Self::IpaLimit { bits } => write!(f, "VMs have up to {bits} bits of IPA space"),
            Self::HostPages { bytes } => {
                let kib = bytes / 1024;
                write!(f, "the host has pages of {kib} KiB, and only those of 4 KiB can be used")
            }
            Self::Parameter { name, number: Some(number) } => {
                write!(f, "the parameter {name} of the module tells capability {number}")
            }
            Self::Parameter { name, number: None } => {
                write!(f, "the parameter {name} of the module is no number of a capability")
            }
            Self::Highest { capability: Some(capability) } => {
                write!(f, "capability {capability} is the highest that is known below 300")
            }
            Self::Highest { capability: None } => {
                f.write_str("no capability from 240 to 299 is known")
            }
            Self::Number { generation, capability, value: 0 } => {
                write!(f, "capability {capability} ({generation}) is not known")
            }
            Self::Number { generation, capability, value } => {
                write!(f, "capability {capability} ({generation}, or something else) is {value}")
            }
            Self::Type { machine_type, errno: None } => {
                write!(f, "a VM of type {machine_type:#x} can be created")
            }
            Self::Type { machine_type, errno: Some(errno) } => {
                write!(f, "a VM of type {machine_type:#x} is refused: {errno}")
            }
            Self::Vm { generation, has_capability: false, .. } => {
                write!(f, "it is not {generation}: the VM does not have its capability")
            }
            Self::Vm { generation, has_private: false, .. } => {
                write!(f, "it is not {generation}: the VM does not have its private memory")?;
                match generation.facts().memfd_attributes_capability {
                    // The module's parameter turns it off.
                    Some(_) => f.write_str(", or the host boots with gmem_in_place_conversion=0"),
                    None => Ok(()),
                }
            }
            Self::Vm { generation, .. } => {
                write!(f, "it is {generation}: the VM has its capability and its private memory")
            }
            Self::Missing { name } => write!(f, "the VM does not have {name}"),
        }
    }
}

/// What a kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It has this generation.
    Found(Generation),
    /// The VMM says that it has this generation.
    Forced(Generation),
    /// It has VMs of the type of Realms, and none of the known generations fits.
    Unknown,
    /// The same, and its module tells this number for the capability.
    UnknownNumber(u32),
    /// It has no such VMs: KVM has no Realms, or found no RMM.
    NoRealms,
    /// It refuses to create such VMs for another reason.
    Refused(Errno),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(generation) => write!(f, "realms of generation {generation}"),
            Self::Forced(generation) => write!(f, "generation {generation}, as it was told"),
            Self::Unknown => f.write_str("realms of a generation that is not known"),
            Self::UnknownNumber(number) => {
                write!(f, "realms of a generation that is not known, with capability {number}")
            }
            Self::NoRealms => f.write_str(
                "no realms: the kernel has none, or found no RMM; its log tells of the RMM",
            ),
            Self::Refused(Errno::EPERM) => {
                f.write_str("no realms: the kernel answers EPERM; its log tells of the RMM")
            }
            Self::Refused(errno) => write!(f, "no realms: the kernel answers {errno}"),
        }
    }
}

/// What a probe found, and what follows from it.
///
/// It prints as a preflight report: the verdict, then each finding on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    verdict: Verdict,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) const fn new(verdict: Verdict, findings: Vec<Finding>) -> Self {
        Self { verdict, findings }
    }

    /// What the kernel is.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The reasons, in the order in which the kernel was asked.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The generation, if one can be used: it was found, and nothing that it needs is missing; or
    /// it was forced.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        match self.verdict {
            Verdict::Found(generation) if !self.is_incomplete() => Some(generation),
            Verdict::Forced(generation) => Some(generation),
            _ => None,
        }
    }

    /// Whether a VM of the generation's type was created.
    fn has_type(&self, generation: Generation) -> bool {
        let created =
            Finding::Type { machine_type: generation.machine_type(MIN_IPA_WIDTH), errno: None };
        self.findings.contains(&created)
    }

    fn is_incomplete(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| matches!(finding, Finding::Missing { .. } | Finding::HostPages { .. }))
    }

    /// The same report of a kernel that has this generation, whatever was found.
    ///
    /// Most generations that are not the kernel's are refused by its calls, at the latest by
    /// population; nothing of it is unsafe. Three have the same types and structures, so that their
    /// launches are not refused:
    ///
    /// - taken for v15, a kernel of 2026-09 or da-v7 runs the Realm until it shares memory, and
    ///   then asks for that until
    ///   [`ConvertError::Repeated`](crate::memory::ConvertError::Repeated);
    /// - taken for 2026-09, one of v15 runs it, and one of da-v7 as well, but without the ioctl
    ///   that makes memory without content RAM.
    #[must_use]
    pub fn forced(self, generation: Generation) -> Self {
        Self { verdict: Verdict::Forced(generation), ..self }
    }

    /// The status with which a program that checks a host ends: 0 if a generation can be used, 1
    /// without Realms, or without VMs of the type of a generation that is forced, 2 if there are
    /// Realms that cannot be used.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match (self.generation(), self.verdict) {
            (Some(generation), Verdict::Forced(_)) if !self.has_type(generation) => 1,
            (Some(_), _) => 0,
            (None, Verdict::NoRealms | Verdict::Refused(_)) => 1,
            (None, _) => 2,
        }
    }

    /// The report as a JSON object on one line:
    ///
    /// | Key | Value |
    /// |---|---|
    /// | `usable` | whether a generation can be used |
    /// | `generation` | its name, or null |
    /// | `verdict` | text |
    /// | `findings` | a list of objects with `kind` and `text` |
    #[must_use]
    pub fn to_json(&self) -> String {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|finding| {
                let (kind, text) = (finding.kind(), json(&finding.to_string()));
                format!("{{\"kind\":\"{kind}\",\"text\":{text}}}")
            })
            .collect();
        let generation = self.generation();
        let name = generation.map_or("null".to_owned(), |generation| json(generation.name()));
        format!(
            "{{\"usable\":{},\"generation\":{name},\"verdict\":{},\"findings\":[{}]}}",
            generation.is_some(),
            json(&self.verdict.to_string()),
            findings.join(",")
        )
    }
}

/// A string of JSON.
fn json(text: &str) -> String {
    let mut string = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => string.extend(['\\', character]),
            ..' ' => string += &format!("\\u{:04x}", u32::from(character)),
            _ => string.push(character),
        }
    }
    string + "\""
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usable = if self.generation().is_some() { "usable" } else { "not usable" };
        writeln!(f, "{usable}: {}", self.verdict)?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "  - {finding}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_json_are_escaped() {
        assert_eq!(json("a \"b\" \\ \n é"), "\"a \\\"b\\\" \\\\ \\u000a é\"");
    }
}
