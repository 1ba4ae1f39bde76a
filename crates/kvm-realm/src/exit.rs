//! Why a vCPU left KVM_RUN.
//!
//! Decoding is total: what is not known arrives as it is. Where the guest gets an answer, the one
//! that it gets without the VMM is written before the exit is returned ([`RealmVcpu::run`]), and it
//! is the refusing one.
//!
//! | Exit | Without an answer |
//! |---|---|
//! | [`Exit::MmioLoad`] | the guest reads zeros |
//! | [`Exit::Hypercall`] | X0 is -1, not supported |
//! | [`Exit::DeviceMapping`] | the mapping is rejected |
//! | [`Exit::MemoryFault`] | the same fault again, or that of the rest |
//!
//! [`RealmVcpu::run`]: crate::vcpu::RealmVcpu::run

use rmi_abi::psci::PsciFunction;
use rmi_abi::rtt::Geometry;

use crate::errno::Errno;
use crate::generation::Generation;
use crate::memory::MemoryFault;
use crate::uapi::{EXIT_MEMORY_FAULT, get_u32, get_u64, run};

/// Bytes of the run page that are looked at: its header, and the description of the exit.
pub const RUN_BYTES: usize = run::EXIT + run::EXIT_BYTES;

/// Offsets of answers in `struct kvm_run`, and exit reasons. Source: Linux,
/// `include/uapi/linux/kvm.h`.
pub(crate) const MMIO_DATA: usize = run::EXIT + 8;
pub(crate) const TIO_RESPONSE: usize = run::EXIT + 48;
pub(crate) const EXIT_UNKNOWN: u32 = 0;
const HYPERCALL: u32 = 3;
pub(crate) const MMIO: u32 = 6;
const SHUTDOWN: u32 = 8;
const FAIL_ENTRY: u32 = 9;
const INTERNAL_ERROR: u32 = 17;
const SYSTEM_EVENT: u32 = 24;
const ARM_NISV: u32 = 28;
const ARM64_TIO: u32 = 44;

/// What an exit's meaning depends on, beside the run page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The bit of an IPA that says that it is in the shared half; 0 for an ordinary VM.
    pub shared_bit: u64,
    /// Whether a run without an exit reason says that the Realm has been turned off (v5 to v10).
    pub is_off_unknown: bool,
    /// Whether exit 44 is a mapping of a device. In other kernels it is, or becomes, another exit.
    pub has_device_mapping: bool,
}

impl Context {
    /// That of the vCPUs of a VM on a kernel of this generation; `None` for the geometry of an
    /// ordinary VM.
    #[must_use]
    pub fn new(generation: Generation, geometry: Option<Geometry>) -> Self {
        let (is_realm, exits) = (geometry.is_some(), generation.facts().exits);
        Self {
            shared_bit: geometry.map_or(0, |geometry| geometry.unprotected_base().raw()),
            is_off_unknown: is_realm && exits.off == EXIT_UNKNOWN,
            has_device_mapping: is_realm && exits.device_mapping,
        }
    }
}

/// Why a vCPU left KVM_RUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// A read from a device. Answer it with [`RealmVcpu::answer_load`].
    ///
    /// [`RealmVcpu::answer_load`]: crate::vcpu::RealmVcpu::answer_load
    MmioLoad(MmioLoad),
    /// A write to a device.
    MmioStore(MmioStore),
    /// Memory has another state than is needed, or the Realm asks for another one. Answer it with
    /// [`Running::convert`], and run the vCPU again.
    ///
    /// [`Running::convert`]: crate::launch::Running::convert
    MemoryFault {
        /// The range, and what it is to become.
        fault: MemoryFault,
        /// Whether KVM_RUN returned 0, and not `EFAULT`.
        returned_zero: bool,
    },
    /// A memory fault with flags that are not known: they, the address and the length.
    UnknownMemoryFault {
        /// The flags.
        flags: u64,
        /// First address.
        gpa: u64,
        /// Length in bytes.
        bytes: u64,
    },
    /// A hypercall that is forwarded to the VMM, also one to PSCI. Answer it with
    /// [`RealmVcpu::answer_hypercall`].
    ///
    /// [`RealmVcpu::answer_hypercall`]: crate::vcpu::RealmVcpu::answer_hypercall
    Hypercall(Hypercall),
    /// The Realm maps memory of a device and wants it validated (exit 44). Answer it with
    /// [`RealmVcpu::accept_mapping`].
    ///
    /// [`RealmVcpu::accept_mapping`]: crate::vcpu::RealmVcpu::accept_mapping
    DeviceMapping(DeviceMapping),
    /// The guest turns the system off, or resets it.
    System(SystemEvent),
    /// The Realm has been turned off by another vCPU while this one was about to enter it. No vCPU
    /// runs again.
    Off,
    /// A signal, or `immediate_exit`. Run the vCPU again, if it is to go on.
    Interrupted,
    /// The RMM did not enter the REC, because another vCPU has just turned it on. Run it again. (In
    /// kernels up to v13 that is an error, `ENXIO`.)
    Again {
        /// How many times in a row this has happened, this time included. A VMM bounds it.
        times: u32,
    },
    /// An access of a device whose instruction KVM cannot decode: ESR_EL2.ISS, and the address.
    Undecoded {
        /// The syndrome.
        syndrome: u64,
        /// The address, in the lower half.
        address: u64,
    },
    /// KVM cannot go on, for instance because the RMM has exited for a reason that it does not
    /// know. In the trees of September 2026, an entry that the RMM refuses is one, too, and the VM
    /// is dead; of v15 that is not known. A Realm that is dead makes KVM_RUN fail with `EINVAL`
    /// from v12 to v14.
    InternalError {
        /// Its number.
        number: u32,
        /// The first word of its description.
        first: u64,
    },
    /// The CPU cannot enter guests, with the hardware's reason and the CPU.
    FailEntry {
        /// The reason.
        reason: u64,
        /// The CPU.
        cpu: u32,
    },
    /// Another exit.
    Unknown {
        /// Its reason.
        reason: u32,
        /// The first words of its description.
        words: [u64; 7],
    },
}

/// A read from a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioLoad {
    /// The address, in the lower half.
    pub address: u64,
    /// 1 to 8.
    pub bytes: u8,
}

/// A write to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioStore {
    /// The address, in the lower half.
    pub address: u64,
    /// 1 to 8.
    pub bytes: u8,
    /// The value. The bits above the access are zero.
    pub value: u64,
}

/// A hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hypercall {
    /// The function: X0, as KVM has it.
    pub function: u64,
    /// KVM_HYPERCALL_EXIT_SMC is bit 0, KVM_HYPERCALL_EXIT_16BIT bit 1.
    pub flags: u64,
    /// X1 to X7.
    pub arguments: [u64; 7],
}

impl Hypercall {
    /// What it asks of PSCI; `None` if it is another call. Of functions of SMC32, arguments are the
    /// lower 32 bits of the registers, as KVM has them.
    ///
    /// Source: Arm DEN0022, "Functions"; Linux, `kvm_psci_narrow_to_32bit`.
    #[must_use]
    pub fn psci(&self) -> Option<PsciCall> {
        let function = u32::try_from(self.function).ok()?;
        // Functions of SMC32 have arguments of 32 bits, whatever is above.
        let is_32_bit = function & 0x4000_0000 == 0;
        let mask = if is_32_bit { u32::MAX.into() } else { u64::MAX };
        let [x1, x2, x3, ..] = self.arguments.map(|argument| argument & mask);
        if !matches!(function, 0x8400_0000..=0x8400_001f | 0xc400_0000..=0xc400_001f) {
            return None;
        }
        Some(match PsciFunction::from(function) {
            PsciFunction::CpuSuspend32 | PsciFunction::CpuSuspend64 => PsciCall::CpuSuspend,
            PsciFunction::CpuOff => PsciCall::CpuOff,
            PsciFunction::CpuOn32 | PsciFunction::CpuOn64 => {
                PsciCall::CpuOn { target_mpidr: x1, entry: x2, context_id: x3 }
            }
            PsciFunction::AffinityInfo32 | PsciFunction::AffinityInfo64 => {
                PsciCall::AffinityInfo { target_mpidr: x1, level: x2 }
            }
            PsciFunction::SystemOff => PsciCall::SystemOff,
            PsciFunction::SystemReset => PsciCall::SystemReset,
            _ => PsciCall::Other,
        })
    }
}

/// A call to PSCI, where the VMM answers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PsciCall {
    /// The vCPU waits.
    CpuSuspend,
    /// The vCPU turns itself off.
    CpuOff,
    /// The vCPU turns another one on.
    CpuOn {
        /// The other.
        target_mpidr: u64,
        /// Where it starts.
        entry: u64,
        /// Its X0.
        context_id: u64,
    },
    /// The vCPU asks whether another one is on.
    AffinityInfo {
        /// The other.
        target_mpidr: u64,
        /// The lowest level.
        level: u64,
    },
    /// The system is turned off.
    SystemOff,
    /// The system is reset.
    SystemReset,
    /// Another function, which the RMM does not forward.
    Other,
}

impl PsciCall {
    /// The vCPU that the RMM has to be told of before the caller runs again; `None` if it waits for
    /// nothing.
    #[must_use]
    pub const fn waits_for(&self) -> Option<u64> {
        match self {
            Self::CpuOn { target_mpidr, .. } | Self::AffinityInfo { target_mpidr, .. } => {
                Some(*target_mpidr)
            }
            _ => None,
        }
    }
}

/// A mapping of memory of a device: `struct kvm_run`, exit 44.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMapping {
    /// Flags.
    pub flags: u64,
    /// What is asked for; 8 is the validation of a mapping.
    pub number: u64,
    /// The device.
    pub device: u64,
    /// First address in the guest.
    pub base: u64,
    /// End in the guest.
    pub top: u64,
    /// First physical address.
    pub physical: u64,
}

/// The guest turns the system off, or resets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemEvent {
    /// What happens.
    pub kind: SystemEventKind,
    /// The first word of its description; 0 without one.
    pub first: u64,
}

/// What happens to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SystemEventKind {
    /// It is turned off.
    Shutdown,
    /// It is reset.
    Reset,
    /// It has crashed.
    Crash,
    /// Another event.
    Unknown(u32),
}

/// A run page, as far as it is looked at.
pub type RunPage = [u8; RUN_BYTES];

/// A word of the description of the exit.
fn word(page: &RunPage, index: usize) -> u64 {
    get_u64(page, run::EXIT + 8 * index)
}

/// The first word of a system event or an internal error, which say how many they have; 0 without
/// one.
fn first_datum(page: &RunPage) -> u64 {
    if get_u32(page, run::EXIT + 4) > 0 { word(page, 1) } else { 0 }
}

impl Exit {
    /// What a run page says after KVM_RUN returned this. Registers and counts, which are not in the
    /// page, are zeros.
    ///
    /// # Errors
    ///
    /// What KVM_RUN returned, if it describes no exit.
    pub fn decode(
        returned: Result<(), Errno>,
        page: &RunPage,
        context: Context,
    ) -> Result<Self, Errno> {
        let reason = get_u32(page, run::EXIT_REASON);
        match returned {
            Err(Errno::EINTR) => return Ok(Self::Interrupted),
            Err(Errno::EAGAIN) => return Ok(Self::Again { times: 1 }),
            // With EHWPOISON the page is broken, and is to stay where it is.
            Err(Errno::EFAULT) if reason == EXIT_MEMORY_FAULT => {}
            Err(errno) => return Err(errno),
            Ok(()) => {}
        }
        let returned_zero = returned.is_ok();
        let address = word(page, 0) & !context.shared_bit;
        let words = std::array::from_fn(|index| word(page, index));
        let unknown = Self::Unknown { reason, words };
        Ok(match reason {
            EXIT_MEMORY_FAULT => {
                let [flags, gpa, bytes, ..] = words;
                match MemoryFault::new(flags, gpa, bytes) {
                    Some(fault) => Self::MemoryFault { fault, returned_zero },
                    None => Self::UnknownMemoryFault { flags, gpa, bytes },
                }
            }
            MMIO => Self::mmio(page, address).unwrap_or(unknown),
            HYPERCALL => Self::Hypercall(Hypercall {
                function: word(page, 0),
                flags: word(page, 8),
                arguments: [0; 7],
            }),
            ARM64_TIO if context.has_device_mapping => {
                let [flags, number, device, base, top, physical, _] = words;
                Self::DeviceMapping(DeviceMapping { flags, number, device, base, top, physical })
            }
            SYSTEM_EVENT => Self::System(SystemEvent {
                kind: match get_u32(page, run::EXIT) {
                    1 => SystemEventKind::Shutdown,
                    2 => SystemEventKind::Reset,
                    3 => SystemEventKind::Crash,
                    other => SystemEventKind::Unknown(other),
                },
                first: first_datum(page),
            }),
            SHUTDOWN => Self::Off,
            EXIT_UNKNOWN if context.is_off_unknown => Self::Off,
            ARM_NISV => Self::Undecoded {
                syndrome: word(page, 0),
                address: word(page, 1) & !context.shared_bit,
            },
            INTERNAL_ERROR => {
                Self::InternalError { number: get_u32(page, run::EXIT), first: first_datum(page) }
            }
            FAIL_ENTRY => {
                Self::FailEntry { reason: word(page, 0), cpu: get_u32(page, run::EXIT + 8) }
            }
            _ => unknown,
        })
    }

    /// An access to a device; `None` for a length that no access has.
    fn mmio(page: &RunPage, address: u64) -> Option<Self> {
        let bytes = u8::try_from(get_u32(page, run::EXIT + 16)).ok()?;
        let bits = u32::from(bytes).checked_mul(8).filter(|bits| (8..=64).contains(bits))?;
        let is_write = page.get(run::EXIT + 20).is_some_and(|byte| *byte != 0);
        Some(if is_write {
            let value = word(page, 1) & (u64::MAX >> (64 - bits));
            Self::MmioStore(MmioStore { address, bytes, value })
        } else {
            Self::MmioLoad(MmioLoad { address, bytes })
        })
    }

    /// Whether it says nothing about the guest: the same is to be tried again.
    #[must_use]
    pub const fn is_retry(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Again { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: u64 = 1 << 32;
    const REALM: Context =
        Context { shared_bit: SHARED, is_off_unknown: false, has_device_mapping: true };
    const OLD_REALM: Context =
        Context { shared_bit: SHARED, is_off_unknown: true, has_device_mapping: false };
    const PLAIN: Context =
        Context { shared_bit: 0, is_off_unknown: false, has_device_mapping: false };

    fn page(reason: u32, words: &[u64]) -> RunPage {
        let mut page = [0; RUN_BYTES];
        page[8..12].copy_from_slice(&reason.to_le_bytes());
        for (word, at) in words.iter().zip((32..).step_by(8)) {
            page[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        page
    }

    fn decode(reason: u32, words: &[u64]) -> Exit {
        Exit::decode(Ok(()), &page(reason, words), REALM).unwrap()
    }

    #[test]
    fn the_shared_bit_of_a_device_is_masked() {
        let store = |bytes: u8| [SHARED + 0x900_0000, u64::MAX, u64::from(bytes) | 1 << 32];
        for (bytes, value) in [(1, 0xff), (2, 0xffff), (4, 0xffff_ffff), (8, u64::MAX)] {
            let expected = Exit::MmioStore(MmioStore { address: 0x900_0000, bytes, value });
            assert_eq!(decode(6, &store(bytes)), expected);
        }
        let load = [SHARED + 8, 5, 4];
        assert_eq!(decode(6, &load), Exit::MmioLoad(MmioLoad { address: 8, bytes: 4 }));
        let plain = Exit::decode(Ok(()), &page(6, &load), PLAIN);
        assert_eq!(plain, Ok(Exit::MmioLoad(MmioLoad { address: SHARED + 8, bytes: 4 })));
        for wrong in [0, 9, 1 << 8] {
            let words = [8, 0, wrong];
            let expected = Exit::Unknown { reason: 6, words: [8, 0, wrong, 0, 0, 0, 0] };
            assert_eq!(decode(6, &words), expected);
        }
    }

    #[test]
    fn a_memory_fault_comes_with_and_without_an_error() {
        let fault = MemoryFault {
            to_private: true,
            gpa: 0x8000_0000,
            bytes: 0x2000,
            after_other_exit: false,
        };
        let words = [8, 0x8000_0000, 0x2000];
        for (returned, returned_zero) in [(Ok(()), true), (Err(Errno::EFAULT), false)] {
            let exit = Exit::decode(returned, &page(39, &words), REALM);
            assert_eq!(exit, Ok(Exit::MemoryFault { fault, returned_zero }));
        }
        let flags = Exit::UnknownMemoryFault { flags: 9, gpa: 1, bytes: 2 };
        assert_eq!(decode(39, &[9, 1, 2]), flags);
        for errno in [Errno::EFAULT, Errno::EIO, Errno::ENXIO] {
            assert_eq!(Exit::decode(Err(errno), &page(6, &words), REALM), Err(errno));
        }
        for errno in [Errno::EIO, Errno::EHWPOISON] {
            assert_eq!(Exit::decode(Err(errno), &page(39, &words), REALM), Err(errno));
        }
    }

    #[test]
    fn interruptions_are_no_errors() {
        for (errno, exit) in
            [(Errno::EINTR, Exit::Interrupted), (Errno::EAGAIN, Exit::Again { times: 1 })]
        {
            assert_eq!(Exit::decode(Err(errno), &page(6, &[]), REALM), Ok(exit));
            assert!(exit.is_retry());
        }
        assert!(!Exit::Off.is_retry());
    }

    #[test]
    fn a_realm_that_is_off_is_reported_in_two_ways() {
        for context in [REALM, OLD_REALM] {
            assert_eq!(Exit::decode(Ok(()), &page(8, &[]), context), Ok(Exit::Off));
        }
        assert_eq!(Exit::decode(Ok(()), &page(0, &[]), OLD_REALM), Ok(Exit::Off));
        assert_eq!(decode(0, &[3]), Exit::Unknown { reason: 0, words: [3, 0, 0, 0, 0, 0, 0] });
    }

    #[test]
    fn events_errors_and_others_are_decoded() {
        let event = |kind, first| Exit::System(SystemEvent { kind, first });
        assert_eq!(decode(24, &[1, 7]), event(SystemEventKind::Shutdown, 0));
        assert_eq!(decode(24, &[2 | 1 << 32, 7]), event(SystemEventKind::Reset, 7));
        assert_eq!(decode(24, &[3, 7]), event(SystemEventKind::Crash, 0));
        assert_eq!(decode(24, &[9 | 99 << 32, 7]), event(SystemEventKind::Unknown(9), 7));
        assert_eq!(decode(17, &[4, 5]), Exit::InternalError { number: 4, first: 0 });
        assert_eq!(decode(17, &[4 | 1 << 32, 5]), Exit::InternalError { number: 4, first: 5 });
        assert_eq!(decode(9, &[6, 2]), Exit::FailEntry { reason: 6, cpu: 2 });
        let undecoded = Exit::Undecoded { syndrome: 6, address: 0x40 };
        assert_eq!(decode(28, &[6, SHARED + 0x40]), undecoded);
        let mapping = DeviceMapping {
            flags: 1,
            number: 8,
            device: 3,
            base: SHARED + 4,
            top: SHARED + 5,
            physical: 6,
        };
        assert_eq!(
            decode(44, &[1, 8, 3, SHARED + 4, SHARED + 5, 6, 0]),
            Exit::DeviceMapping(mapping)
        );
        let other = Exit::decode(Ok(()), &page(44, &[1, 8]), OLD_REALM);
        assert_eq!(other, Ok(Exit::Unknown { reason: 44, words: [1, 8, 0, 0, 0, 0, 0] }));
        let call = Hypercall { function: 0xc500_004b, flags: 3, arguments: [0; 7] };
        let words = [0xc500_004b, 9, 9, 9, 9, 9, 9, 9, 3];
        assert_eq!(decode(3, &words), Exit::Hypercall(call));
        assert_eq!(
            decode(200, &[1, 2, 3, 4, 5, 6, 7, 8]),
            Exit::Unknown { reason: 200, words: [1, 2, 3, 4, 5, 6, 7] }
        );
    }

    #[test]
    fn any_page_decodes() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut draw = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let reasons = [0, 3, 6, 8, 9, 17, 24, 28, 39, 44, 77];
        let errnos = [Errno::EINTR, Errno::EAGAIN, Errno::EFAULT, Errno::EHWPOISON, Errno::EIO];
        for _ in 0..20_000 {
            let mut words = [0; 9];
            words.fill_with(|| draw() >> (draw() % 64));
            let reason = reasons[usize::try_from(draw() % 11).unwrap()];
            let errno = errnos.get(usize::try_from(draw() % 10).unwrap()).copied();
            let returned = errno.map_or(Ok(()), Err);
            let context = if draw() % 2 == 0 { REALM } else { OLD_REALM };
            match Exit::decode(returned, &page(reason, &words), context) {
                Err(error) => assert_eq!(Some(error), errno),
                Ok(Exit::MmioLoad(load)) => {
                    assert!(load.address & SHARED == 0 && (1..=8).contains(&load.bytes));
                }
                Ok(Exit::MmioStore(store)) => {
                    assert!(store.address & SHARED == 0);
                    assert!(store.bytes == 8 || store.value < 1 << (8 * store.bytes));
                }
                Ok(Exit::MemoryFault { returned_zero, .. }) => {
                    assert_eq!((reason, returned_zero), (39, errno.is_none()));
                }
                Ok(exit) if exit.is_retry() => {
                    assert!(matches!(errno, Some(Errno::EINTR | Errno::EAGAIN)));
                }
                Ok(exit) => assert!(errno.is_none() || reason == 39, "{exit:?}"),
            }
        }
    }

    #[test]
    fn arguments_of_smc32_have_32_bits() {
        let arguments = [u64::MAX << 32 | 1, u64::MAX << 32 | 2, u64::MAX << 32 | 3, 0, 0, 0, 0];
        let psci = |function| Hypercall { function, flags: 0, arguments }.psci();
        let on = |target_mpidr, entry, context_id| {
            Some(PsciCall::CpuOn { target_mpidr, entry, context_id })
        };
        assert_eq!(psci(0x8400_0003), on(1, 2, 3));
        assert_eq!(psci(0xc400_0003), on(arguments[0], arguments[1], arguments[2]));
        let narrow = PsciCall::AffinityInfo { target_mpidr: 1, level: 2 };
        assert_eq!(psci(0x8400_0004), Some(narrow));
    }

    #[test]
    fn psci_waits_for_the_other_vcpu() {
        let call = |function| Hypercall { function, flags: 0, arguments: [1, 2, 3, 0, 0, 0, 0] };
        let on = PsciCall::CpuOn { target_mpidr: 1, entry: 2, context_id: 3 };
        let info = PsciCall::AffinityInfo { target_mpidr: 1, level: 2 };
        for (function, expected, waits_for) in [
            (0x8400_0003, Some(on), Some(1)),
            (0xc400_0003, Some(on), Some(1)),
            (0xc400_0004, Some(info), Some(1)),
            (0x8400_0002, Some(PsciCall::CpuOff), None),
            (0xc400_0001, Some(PsciCall::CpuSuspend), None),
            (0x8400_0008, Some(PsciCall::SystemOff), None),
            (0x8400_0009, Some(PsciCall::SystemReset), None),
            (0x8400_001f, Some(PsciCall::Other), None),
            (0x8400_0020, None, None),
            (0xc400_0020, None, None),
            (0xc500_004b, None, None),
        ] {
            assert_eq!(call(function).psci(), expected, "{function:#x}");
            assert_eq!(expected.and_then(|psci| psci.waits_for()), waits_for, "{function:#x}");
        }
    }
}
