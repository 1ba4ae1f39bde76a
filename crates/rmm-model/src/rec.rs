//! A REC (a virtual CPU) as the RMM keeps it.

use alloc::vec::Vec;

use rmi_abi::rec::Mpidr;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::{RUN_GPRS, RecEnterFlags};
use rmi_abi::{Ipa, Pa};

use crate::guest::{Action, DeviceRequest, Outcome};
use crate::timer::Timers;

/// A RIPAS change that the Realm asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RipasChange {
    /// Next IPA to change.
    pub(crate) next: Ipa,
    /// First IPA after the range.
    pub(crate) top: Ipa,
    /// The wanted value: EMPTY or RAM.
    pub(crate) value: Ripas,
    /// Whether DESTROYED may become RAM.
    pub(crate) change_destroyed: bool,
}

/// A change of permissions that the Realm asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct S2apChange {
    /// Next IPA to change.
    pub(crate) next: Ipa,
    /// First IPA after the range.
    pub(crate) top: Ipa,
    /// The wanted overlay index.
    pub(crate) index: u8,
    /// Base of the range and index of the tree, with a tree for each plane; 0 otherwise.
    pub(crate) handle: u64,
}

/// A PSCI call that waits for `RMI_PSCI_COMPLETE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PsciRequest {
    /// X0 of the call, all of it.
    pub(crate) raw: u64,
    pub(crate) target: Mpidr,
    pub(crate) entry: u64,
    pub(crate) context: u64,
}

/// A load that the host may emulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Bytes of the access: 1, 2, 4 or 8.
    pub(crate) bytes: u8,
    /// The register that takes the value, where the access came from a syndrome that names one.
    pub(crate) register: Option<u8>,
    /// Whether the value is sign-extended.
    pub(crate) sign_extend: bool,
    /// Whether the register is 64 bits wide.
    pub(crate) wide: bool,
}

impl Load {
    /// The new value of the register when the host answers `value`. The host never learns how the
    /// Realm extends it.
    pub(crate) fn extended(&self, value: u64) -> u64 {
        let unused = 64 - 8 * u32::from(self.bytes.clamp(1, 8));
        let value = value << unused;
        let value = if self.sign_extend {
            (value.cast_signed() >> unused).cast_unsigned()
        } else {
            value >> unused
        };
        // As TF-RMM: only an extended sign can reach above a 32-bit register.
        if self.wide || !self.sign_extend { value } else { value & 0xffff_ffff }
    }
}

/// What the last exit left pending; the next entry answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastExit {
    /// Nothing that an entry answers.
    Other,
    /// An access to an unprotected IPA that the host may emulate.
    Emulatable {
        /// How a load takes its value; `None` for a store.
        load: Option<Load>,
    },
    /// Another data abort at an unprotected IPA.
    Unprotected,
    /// A PSCI call whose result the host has not given yet.
    Psci(PsciRequest),
    /// A read of a system register by the host, into this general purpose register.
    SysRegRead(u8),
    /// A host call whose structure is at this IPA.
    HostCall(Ipa),
    /// A RIPAS change.
    RipasChange(RipasChange),
    /// A change of permissions.
    S2apChange(S2apChange),
    /// A request about a device.
    Device(DeviceRequest),
}

/// How far the attestation token of a REC is.
///
/// Source: TF-RMM, `enum attest_token_gen_state_t`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The Realm has not asked for one, or has got all of it.
    None,
    /// The Realm's claims are collected, encoded.
    Claimed(Vec<u8>),
    /// The part of the token that the Realm has not got yet.
    Signed(Vec<u8>),
}

/// A REC.
pub(crate) struct Rec {
    pub(crate) rd: Pa,
    pub(crate) mpidr: Mpidr,
    /// Granules donated to it.
    pub(crate) donated: Vec<Pa>,
    pub(crate) runnable: bool,
    pub(crate) running: bool,
    pub(crate) x: [u64; RUN_GPRS],
    pub(crate) pc: u64,
    pub(crate) timers: Timers,
    pub(crate) last_exit: LastExit,
    pub(crate) token: Token,
    /// The outcome of the guest's last action.
    pub(crate) outcome: Outcome,
    /// The action that an exit interrupted; it is tried again when the REC continues.
    pub(crate) retry: Option<Action>,
    /// Flags of the entry in progress.
    pub(crate) flags: RecEnterFlags,
    /// Run page of the entry in progress.
    pub(crate) run: Pa,
    /// Actions that the entry in progress may still take.
    pub(crate) budget: u32,
    /// Whether the RMM handled the last action and let the REC run on.
    pub(crate) was_handled: bool,
}

impl Rec {
    /// A REC in reset state.
    pub(crate) fn new(rd: Pa, mpidr: Mpidr, runnable: bool, pc: u64, donated: Vec<Pa>) -> Self {
        Self {
            rd,
            mpidr,
            donated,
            runnable,
            running: false,
            x: [0; RUN_GPRS],
            pc,
            timers: Timers::default(),
            last_exit: LastExit::Other,
            token: Token::None,
            outcome: Outcome::None,
            retry: None,
            flags: RecEnterFlags::empty(),
            run: Pa::new(0),
            budget: 0,
            was_handled: false,
        }
    }

    /// Restarts the REC, as `CPU_ON` does: at `entry`, with `context` in X0. As in TF-RMM, the
    /// other registers keep what they held.
    pub(crate) fn power_on(&mut self, entry: u64, context: u64) {
        self.set_x(0, context);
        self.pc = entry;
        self.last_exit = LastExit::Other;
        self.outcome = Outcome::None;
        self.retry = None;
        self.runnable = true;
    }

    /// Reads a general purpose register; X31 and above read as zero.
    pub(crate) fn x(&self, n: usize) -> u64 {
        self.x.get(n).copied().unwrap_or(0)
    }

    /// Writes a general purpose register; X31 and above do not exist.
    pub(crate) fn set_x(&mut self, n: usize, value: u64) {
        if let Some(slot) = self.x.get_mut(n) {
            *slot = value;
        }
    }

    /// Answers the Realm's SMC: X0 to X3 are written, the rest is kept.
    pub(crate) fn answer(&mut self, values: [u64; 4]) {
        for (n, value) in values.into_iter().enumerate() {
            self.set_x(n, value);
        }
        self.outcome = Outcome::Returned;
    }

    /// Moves on to the next instruction.
    pub(crate) fn step(&mut self) {
        self.pc = self.pc.wrapping_add(4);
    }

    /// Takes a synchronous exception to EL1: the vector of a Realm that never set one, for the
    /// current level with SP_ELx.
    pub(crate) fn take_exception(&mut self, outcome: Outcome) {
        self.was_handled = true;
        self.pc = 0x200;
        self.outcome = outcome;
    }
}
