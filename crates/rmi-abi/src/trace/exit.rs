//! The exit record of `RMI_REC_ENTER`, printed by its reason.

use core::fmt;

use crate::address::GranuleSize;
use crate::describe::Enumeration;
use crate::dialect::Dialect;
use crate::esr::{Esr, FaultStatus, Syndrome, Wfx, fault_address_in, fault_page};
use crate::psci::PsciFunction;
use crate::run::{ExitReason, RecExit};

/// The exit of a REC: its reason by its name in the dialect, and the fields that belong to it.
///
/// | Reason | What is printed |
/// |---|---|
/// | `SYNC` | the class of the exception; of an abort the fault status, the IPA, and the access if the host is to emulate it; of a register access the register |
/// | `PSCI` | the function, and the target of `PSCI_CPU_ON` and `PSCI_AFFINITY_INFO` |
/// | `RIPAS_CHANGE`, `S2AP_CHANGE` | the range, and the RIPAS wanted |
/// | `HOST_CALL` | the immediate |
/// | `SERROR` | the syndrome |
/// | those of devices | the virtual devices, or the virtual SMMU |
///
/// An index of a plane or a translation tree is printed unless it is 0. What the Realm stores and
/// its general purpose registers are not printed, except those of a PSCI call.
///
/// ```
/// use rmi_abi::Dialect;
/// use rmi_abi::run::RecExit;
/// use rmi_abi::trace::ExitDisplay;
/// use zerocopy::FromZeros;
///
/// let mut exit = RecExit::new_zeroed();
/// exit.esr = 0x9200_0007;
/// exit.hpfar = 0x40_0000;
/// assert_eq!(
///     ExitDisplay::new(Dialect::TfRmm2026_07, &exit).to_string(),
///     "SYNC{data abort, translation fault at level 3, ipa=0x40000000}",
/// );
/// ```
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecExit`.
#[derive(Clone, Copy)]
pub struct ExitDisplay<'a> {
    dialect: Dialect,
    granule: GranuleSize,
    exit: &'a RecExit,
}

impl<'a> ExitDisplay<'a> {
    /// Prints what the RMM of that dialect wrote into the run page.
    #[must_use]
    pub const fn new(dialect: Dialect, exit: &'a RecExit) -> Self {
        Self { dialect, granule: GranuleSize::Size4KiB, exit }
    }

    /// Prints what an RMM with granules of this size wrote, which is 4 KiB otherwise: the offset of
    /// an emulated access is that in its granule.
    #[must_use]
    pub const fn with_granule(self, granule: GranuleSize) -> Self {
        Self { granule, ..self }
    }

    fn sync(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecExit { esr, far, hpfar, .. } = *self.exit;
        match Esr(esr).decode() {
            Syndrome::DataAbort(abort) => {
                write!(f, "data abort, {}", FaultName(abort.fault))?;
                match abort.access {
                    Some(access) => {
                        let what = if access.write { "store" } else { "load" };
                        let ipa = fault_address_in(self.granule, hpfar, far);
                        write!(f, ", {}-byte {what}, ipa={ipa}", access.bytes)
                    }
                    None => write!(f, ", ipa={}", fault_page(hpfar)),
                }
            }
            Syndrome::InstructionAbort(abort) => {
                let page = fault_page(hpfar);
                write!(f, "instruction abort, {}, ipa={page}", FaultName(abort.fault))
            }
            Syndrome::SysReg(access) => {
                let what = if access.read { "read" } else { "write" };
                let r = access.register;
                write!(f, "{what} of S{}_{}_C{}_C{}_{}", r.op0, r.op1, r.crn, r.crm, r.op2)
            }
            Syndrome::Wfx(wfx) => f.write_str(match wfx {
                Wfx::Wfi => "WFI",
                Wfx::Wfe => "WFE",
                Wfx::Wfit => "WFIT",
                Wfx::Wfet => "WFET",
            }),
            _ => write!(f, "esr={esr:#x}"),
        }
    }

    fn psci(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x0, x1, ..] = self.exit.gprs;
        // A function number is 32 bits; the upper half is ignored.
        let [b0, b1, b2, b3, ..] = x0.to_le_bytes();
        let function = PsciFunction::from(u32::from_le_bytes([b0, b1, b2, b3]));
        match function.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{x0:#x}")?,
        }
        match function {
            PsciFunction::CpuOn32
            | PsciFunction::CpuOn64
            | PsciFunction::AffinityInfo32
            | PsciFunction::AffinityInfo64 => write!(f, ", target={x1:#x}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ExitDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exit = self.exit;
        let code = exit.exit_reason;
        let name = Enumeration::find("RmiRecExitReason")
            .and_then(|reasons| reasons.name_of(code.into(), self.dialect));
        match name {
            Some(name) => f.write_str(name)?,
            None => return write!(f, "{code}"),
        }
        let reason = ExitReason::decode(code, self.dialect);
        if !matches!(reason, ExitReason::Irq | ExitReason::Fiq) {
            f.write_str("{")?;
        }
        match reason {
            ExitReason::Irq | ExitReason::Fiq => return Ok(()),
            ExitReason::Sync => self.sync(f)?,
            ExitReason::Psci => self.psci(f)?,
            ExitReason::RipasChange => {
                write!(f, "{:#x} to {:#x}, ", exit.ripas_base, exit.ripas_top)?;
                let names = Enumeration::find("RmiRipas");
                let ripas = exit.ripas_value;
                match names.and_then(|names| names.name_of(ripas.into(), self.dialect)) {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "RIPAS {ripas}")?,
                }
            }
            ExitReason::HostCall => write!(f, "imm={:#x}", exit.imm)?,
            ExitReason::S2apChange => write!(f, "{:#x} to {:#x}", exit.s2ap_base, exit.s2ap_top)?,
            ExitReason::VdevRequest => write!(f, "vdev_id={:#x}", exit.vdev_id_1)?,
            ExitReason::VdevValidateMapping => write!(
                f,
                "vdev_id={:#x}, {:#x} to {:#x}, pa={:#x}",
                exit.vdev_id_1, exit.dev_mem_base, exit.dev_mem_top, exit.dev_mem_pa
            )?,
            ExitReason::VdevP2pBinding => {
                write!(f, "vdev_id={:#x}, vdev_id_2={:#x}", exit.vdev_id_1, exit.vdev_id_2)?;
            }
            ExitReason::VsmmuCommand => write!(f, "vsmmu={:#x}", exit.vsmmu)?,
            ExitReason::SError | ExitReason::Unknown(_) => write!(f, "esr={:#x}", exit.esr)?,
        }
        if exit.plane != 0 && self.dialect.is_2_0() {
            write!(f, ", plane={}", exit.plane)?;
        }
        if exit.rtt_tree != 0 && self.dialect.is_2_0() {
            write!(f, ", rtt_tree={}", exit.rtt_tree)?;
        }
        f.write_str("}")
    }
}

// It contains what the Realm stored.
impl fmt::Debug for ExitDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = ExitReason::decode(self.exit.exit_reason, self.dialect);
        f.debug_struct("ExitDisplay")
            .field("dialect", &self.dialect)
            .field("reason", &reason)
            .finish_non_exhaustive()
    }
}

/// The architecture's description of a fault status.
struct FaultName(FaultStatus);

impl fmt::Display for FaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, level) = match self.0 {
            FaultStatus::AddressSize(level) => ("address size fault", Some(level)),
            FaultStatus::Translation(level) => ("translation fault", Some(level)),
            FaultStatus::AccessFlag(level) => ("access flag fault", Some(level)),
            FaultStatus::Permission(level) => ("permission fault", Some(level)),
            FaultStatus::SynchronousExternal => ("external abort", None),
            FaultStatus::SynchronousExternalOnWalk(level) => {
                ("external abort on walk", Some(level))
            }
            FaultStatus::GranuleProtection => ("granule protection fault", None),
            FaultStatus::GranuleProtectionOnWalk(level) => {
                ("granule protection fault on walk", Some(level))
            }
            FaultStatus::Alignment => ("alignment fault", None),
            other => return write!(f, "fault status {:#x}", other.encode()),
        };
        match level {
            Some(level) => write!(f, "{name} at level {level}"),
            None => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::{String, ToString};

    use zerocopy::FromZeros;

    use super::*;

    fn text(dialect: Dialect, change: impl FnOnce(&mut RecExit)) -> String {
        let mut exit = RecExit::new_zeroed();
        change(&mut exit);
        ExitDisplay::new(dialect, &exit).to_string()
    }

    #[test]
    fn the_offset_of_an_access_is_that_in_its_granule() {
        let mut exit = RecExit::new_zeroed();
        (exit.esr, exit.hpfar, exit.far) =
            (0x9380_8047, 0x80_0900_0000 >> 8, 0xffff_ffff_ffff_bcd8);
        for (granule, ipa) in [
            (GranuleSize::Size4KiB, "0x8009000cd8"),
            (GranuleSize::Size16KiB, "0x8009003cd8"),
            (GranuleSize::Size64KiB, "0x800900bcd8"),
        ] {
            let shown = ExitDisplay::new(Dialect::V2_0Bet3, &exit).with_granule(granule);
            assert!(shown.to_string().ends_with(&std::format!("store, ipa={ipa}}}")), "{shown}");
        }
    }

    #[test]
    fn every_reason_is_printed_with_what_belongs_to_it() {
        let tf_rmm = Dialect::TfRmm2026_07;
        let store = text(tf_rmm, |exit| {
            // The stored value is the Realm's.
            exit.gprs = [0x5ec2e7; 31];
            (exit.esr, exit.hpfar, exit.far) = (0x9380_8047, 0x80_0900_0000 >> 8, 0x18);
        });
        assert_eq!(
            store,
            "SYNC{data abort, translation fault at level 3, 4-byte store, ipa=0x8009000018}"
        );
        let fetch = text(tf_rmm, |exit| {
            (exit.esr, exit.hpfar, exit.rtt_tree) = (0x8200_000f, 0x40_0000, 2);
        });
        assert_eq!(
            fetch,
            "SYNC{instruction abort, permission fault at level 3, ipa=0x40000000, rtt_tree=2}"
        );
        for (fault, name) in [(0x10, "external abort"), (0x3f, "fault status 0x3f")] {
            let text = text(tf_rmm, |exit| exit.esr = 0x9200_0000 | fault);
            assert_eq!(text, std::format!("SYNC{{data abort, {name}, ipa=0x0}}"));
        }
        assert_eq!(text(tf_rmm, |exit| exit.esr = 0x0400_0001), "SYNC{WFE}");
        assert_eq!(text(tf_rmm, |exit| exit.esr = 0x6230_0001), "SYNC{read of S3_0_C0_C0_0}");
        let psci = |dialect, x0, x1| {
            text(dialect, |exit| {
                exit.exit_reason = 3;
                (exit.gprs[0], exit.gprs[1]) = (x0, x1);
            })
        };
        assert_eq!(psci(tf_rmm, 0xff_c400_0003, 1), "PSCI{PSCI_CPU_ON, target=0x1}");
        assert_eq!(psci(Dialect::V1_0, 0x8400_0008, 1), "RMI_EXIT_PSCI{PSCI_SYSTEM_OFF}");
        assert_eq!(psci(tf_rmm, 0x8400_00ff, 1), "PSCI{0x840000ff}");
        let ripas = |value| {
            text(tf_rmm, |exit| {
                (exit.exit_reason, exit.ripas_value) = (4, value);
                (exit.ripas_base, exit.ripas_top) = (0x1000, 0x3000);
            })
        };
        assert_eq!(ripas(1), "RIPAS_CHANGE{0x1000 to 0x3000, RAM}");
        assert_eq!(ripas(9), "RIPAS_CHANGE{0x1000 to 0x3000, RIPAS 9}");
        let call = text(tf_rmm, |exit| (exit.exit_reason, exit.imm, exit.plane) = (5, 0x5d0, 1));
        assert_eq!(call, "HOST_CALL{imm=0x5d0, plane=1}");
        assert_eq!(text(tf_rmm, |exit| exit.exit_reason = 1), "IRQ");
        assert_eq!(text(tf_rmm, |exit| exit.exit_reason = 77), "77");
        let device = |exit: &mut RecExit| {
            (exit.exit_reason, exit.vdev_id_1, exit.dev_mem_base) = (8, 5, 0x1000);
            (exit.dev_mem_top, exit.dev_mem_pa) = (0x2000, 0x9000);
        };
        assert_eq!(text(tf_rmm, device), "VDEV_REQUEST{vdev_id=0x5}");
        assert_eq!(
            text(Dialect::V2_0Bet3, device),
            "VDEV_VALIDATE_MAPPING{vdev_id=0x5, 0x1000 to 0x2000, pa=0x9000}"
        );
    }

    #[test]
    fn any_record_is_printed_on_one_line() {
        for dialect in Dialect::ALL {
            for reason in 0..=u8::MAX {
                for fill in [0, 0x55, 0xff] {
                    let text = text(dialect, |exit| {
                        zerocopy::IntoBytes::as_mut_bytes(exit).fill(fill);
                        exit.exit_reason = reason;
                    });
                    assert!(!text.is_empty() && !text.contains('\n'), "{text}");
                }
            }
        }
    }
}
