//! A REC (a virtual CPU) as the RMM keeps it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;

use rmi_abi::rec::Mpidr;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::{RUN_GPRS, RecEnterFlags};
use rmi_abi::{Ipa, Pa};

use crate::gic::VirtualInterface;
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

/// What kind of access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessKind {
    Read,
    Write,
    Fetch,
}

/// Fields of `SPSR_EL2`: EL1h with DAIF set; PAN; NZCV and DIT.
const PSTATE_EL1H_MASKED: u64 = 0x3c5;
const PSTATE_PAN: u64 = 1 << 22;
const PSTATE_KEPT: u64 = 0xf << 28 | 1 << 24;
/// `SCTLR_EL1` as `RSI_PLANE_SYSREG_READ` encodes it, and its SPAN.
const SCTLR_EL1: u64 = 0xc080;
const SPAN: u64 = 1 << 23;

/// An exception of a plane, as the hardware reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Syndrome {
    pub(crate) esr: u64,
    pub(crate) far: u64,
    pub(crate) hpfar: u64,
}

/// What a plane has for itself. That of the active one is in the REC's fields of the same names.
#[derive(Clone, Default)]
pub(crate) struct PlaneState {
    x: [u64; RUN_GPRS],
    pc: u64,
    pub(crate) timers: Timers,
    outcome: Outcome,
    retry: Option<Action>,
    own: OwnState,
}

/// The part that only planes need.
#[derive(Clone, Default)]
pub(crate) struct OwnState {
    pub(crate) pstate: u64,
    /// System registers, by their encodings.
    pub(crate) registers: BTreeMap<u64, u64>,
    /// The virtual CPU interface, while the plane does not run; `None` before it first ran.
    pub(crate) interface: Option<VirtualInterface>,
    /// Whether waits for an interrupt are trapped, and those for an event.
    pub(crate) traps_wfi: bool,
    pub(crate) traps_wfe: bool,
    /// Whether host calls go to plane 0.
    pub(crate) traps_host_calls: bool,
    /// The last exception.
    pub(crate) syndrome: Syndrome,
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
    /// The plane that runs.
    pub(crate) plane: usize,
    pub(crate) own: OwnState,
    /// The planes that do not run, as far as they ever ran.
    parked: BTreeMap<usize, PlaneState>,
    /// The page that plane 0 gave to run the plane that runs.
    pub(crate) plane_run: Ipa,
    /// The plane whose virtual CPU interface is the one that the host programs.
    pub(crate) gic_owner: usize,
    /// What the host programmed, while a plane runs that does not own it.
    pub(crate) host_interface: Option<VirtualInterface>,
    /// The timers for the exit record, if not those at the exit.
    pub(crate) reported: Option<[u64; 4]>,
}

impl OwnState {
    /// `PSTATE` of an exception to EL1: EL1h, masked; DIT and NZCV stay; PAN unless SCTLR.SPAN.
    fn take_exception(&mut self) {
        let sctlr = self.registers.get(&SCTLR_EL1).copied().unwrap_or(0);
        let pan = if sctlr & SPAN == 0 { PSTATE_PAN } else { 0 };
        self.pstate = self.pstate & PSTATE_KEPT | PSTATE_EL1H_MASKED | pan;
    }
}

impl PlaneState {
    pub(crate) fn own_mut(&mut self) -> &mut OwnState {
        &mut self.own
    }
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
            plane: 0,
            own: OwnState::default(),
            parked: BTreeMap::new(),
            plane_run: Ipa::new(0),
            gic_owner: 0,
            host_interface: None,
            reported: None,
        }
    }

    /// Makes another plane the one that runs.
    pub(crate) fn switch_plane(&mut self, plane: usize) {
        let mut other = self.parked.remove(&plane).unwrap_or_default();
        mem::swap(&mut self.x, &mut other.x);
        mem::swap(&mut self.pc, &mut other.pc);
        mem::swap(&mut self.timers, &mut other.timers);
        mem::swap(&mut self.outcome, &mut other.outcome);
        mem::swap(&mut self.retry, &mut other.retry);
        mem::swap(&mut self.own, &mut other.own);
        self.parked.insert(self.plane, other);
        self.plane = plane;
    }

    /// A plane that does not run.
    pub(crate) fn parked(&mut self, plane: usize) -> &mut PlaneState {
        self.parked.entry(plane).or_default()
    }

    /// The timers of plane 0 while another plane runs.
    pub(crate) fn timers_of_plane_0(&self) -> Option<&Timers> {
        self.parked.get(&0).filter(|_| self.plane != 0).map(|plane| &plane.timers)
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
        self.own.take_exception();
        self.pc = 0x200;
        self.outcome = outcome;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from TF-RMM 9a7f8ef4, which has 0x4003c5 after 0x3c5.
    #[test]
    fn an_exception_masks_and_keeps_flags() {
        let mut own = OwnState { pstate: 0x3c5, ..OwnState::default() };
        own.take_exception();
        assert_eq!(own.pstate, 0x40_03c5);
        own.pstate = 0xf1a0_0c00;
        own.registers.insert(0xc080, 1 << 23);
        own.take_exception();
        assert_eq!(own.pstate, 0xf100_03c5);
    }
}
