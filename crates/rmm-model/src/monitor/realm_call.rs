//! The Realm's calls: RSI and PSCI.

use core::mem::offset_of;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::esr::ExceptionClass;
use rmi_abi::psci::{PsciFunction, PsciReturnCode};
use rmi_abi::realm::HashAlgorithm;
use rmi_abi::rec::Mpidr;
use rmi_abi::rsi::Version;
use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::run::{ExitReason, RUN_GPRS, RecExit};
use rmi_abi::{Fid, Ipa, IpaRange, Pa};
use zerocopy::IntoBytes;

use super::Monitor;
use super::access::Translation;
use super::enter::{Exit, exit};
use crate::guest::{Action, Outcome};
use crate::realm::RealmState;
use crate::rec::{LastExit, PsciRequest, RipasChange, Syndrome};
use crate::rtt::Entry;
use crate::unsupported::{answers_as_tf_rmm, keeps_registers_above_measurement};
use crate::{gic, rsi, syndrome};

/// What follows a call: an exit, or values of X0 to X3.
pub(super) enum Reply {
    Values([u64; 4]),
    Exit(Exit),
    /// The page that the call names is not mapped: the REC exits, and the call is made again later.
    Again(Exit),
    /// Another plane runs. Plane 0 gets the values when it runs again.
    Switched,
}

/// A call that returns only a status.
pub(super) fn status(x0: u64) -> Reply {
    Reply::Values([x0, 0, 0, 0])
}

fn psci_status(code: PsciReturnCode) -> Reply {
    status(code.to_register())
}

/// A page-aligned, non-empty range of IPAs.
fn range(base: u64, top: u64) -> Option<IpaRange> {
    IpaRange::new(Ipa::new(base), Ipa::new(top)).ok().filter(|range| !range.is_empty())
}

impl Monitor {
    /// An SMC of the Realm.
    pub(super) fn realm_call(
        &mut self,
        address: Pa,
        cpu: u32,
        x: &[u64; 18],
        action: Action,
    ) -> Option<Exit> {
        let rec = self.recs.get_mut(&address)?;
        for (n, value) in x.iter().enumerate() {
            rec.set_x(n, *value);
        }
        let rd = rec.rd;
        let [function, ..] = *x;
        let is_host_call = u64::from(Fid::from_register(function).0) == rsi::HOST_CALL;
        if rec.plane != 0 && (!is_host_call || rec.own.traps_host_calls) {
            let esr = syndrome::class(ExceptionClass::Smc64) | syndrome::LENGTH;
            let syndrome = Syndrome { esr, ..Syndrome::default() };
            return self.plane_exception(address, cpu, syndrome, action);
        }
        match self.reply(address, cpu, rd, x)? {
            Reply::Again(exit) => {
                self.recs.get_mut(&address)?.retry = Some(action);
                Some(exit)
            }
            Reply::Values(values) => {
                let rec = self.recs.get_mut(&address)?;
                rec.answer(values);
                rec.was_handled = true;
                rec.step();
                None
            }
            Reply::Switched => {
                self.recs.get_mut(&address)?.was_handled = true;
                None
            }
            Reply::Exit(exit) => {
                let rec = self.recs.get_mut(&address)?;
                rec.outcome = Outcome::Returned;
                rec.step();
                Some(exit)
            }
        }
    }

    fn reply(&mut self, address: Pa, cpu: u32, rd: Pa, x: &[u64; 18]) -> Option<Reply> {
        let [x0, a, b, c, d, ..] = *x;
        // The function is W0. As TF-RMM, the SVE hint is ignored, except for PSCI.
        let function = Fid::from_register(x0);
        Some(match u64::from(function.without_sve_hint().0) {
            rsi::SMCCC_VERSION => status(0x1_0002),
            rsi::VERSION => self.rsi_version(a),
            rsi::FEATURES => status(rsi::SUCCESS),
            rsi::MEASUREMENT_READ => self.measurement_read(address, rd, a)?,
            rsi::MEASUREMENT_EXTEND => self.measurement_extend(rd, x)?,
            rsi::REALM_CONFIG => self.realm_config(rd, Ipa::new(a))?,
            rsi::IPA_STATE_GET => self.ipa_state_get(rd, a, b)?,
            rsi::IPA_STATE_SET => self.ipa_state_set(address, rd, [a, b, c, d])?,
            rsi::HOST_CALL => self.host_call(address, rd, Ipa::new(a))?,
            rsi::ATTESTATION_TOKEN_INIT => self.token_init(address, rd, x)?,
            rsi::ATTESTATION_TOKEN_CONTINUE => self.token_continue(address, cpu, rd, [a, b, c])?,
            rsi::MEM_GET_PERM_VALUE if self.has_planes() => self.mem_get_perm_value(rd, a, b)?,
            rsi::MEM_SET_PERM_INDEX if self.has_planes() => {
                self.mem_set_perm_index(address, rd, [a, b, c, d])?
            }
            rsi::MEM_SET_PERM_VALUE if self.has_planes() => {
                self.mem_set_perm_value(rd, [a, b, c])?
            }
            rsi::PLANE_ENTER if self.runs_planes() => self.plane_enter(address, cpu, rd, [a, b])?,
            rsi::PLANE_SYSREG_READ if self.runs_planes() => {
                self.plane_sysreg_read(address, rd, [a, b])?
            }
            rsi::PLANE_SYSREG_WRITE if self.runs_planes() => {
                self.plane_sysreg_write(address, rd, [a, b, c])?
            }
            // The Realm has no devices.
            _ if rsi::is_of_devices(function.without_sve_hint(), self.options.rsi) => {
                status(rsi::ERROR_STATE)
            }
            _ => self.psci(address, rd, PsciFunction::from(function.0), x)?,
        })
    }

    /// `RSI_VERSION`: to a version that it does not have, the RMM answers with the next lower one,
    /// if there is one, and the newest. TF-RMM answers with the newest one twice, which is the
    /// same: it has all versions up to that one.
    fn rsi_version(&self, wanted: u64) -> Reply {
        let known = rsi::known_versions(self.options.rsi);
        let newest = known.last().copied().unwrap_or(0);
        let lower = known.iter().rev().find(|version| **version <= wanted).copied();
        let x0 = if lower == Some(wanted) { rsi::SUCCESS } else { rsi::ERROR_INPUT };
        Reply::Values([x0, lower.unwrap_or(newest), newest, 0])
    }

    fn measurement_read(&mut self, address: Pa, rd: Pa, index: u64) -> Option<Reply> {
        let measurements = &self.realms.get(&rd)?.measurements;
        let value = usize::try_from(index).ok().and_then(|index| measurements.get(index));
        let Some(value) = value else { return Some(status(rsi::ERROR_INPUT)) };
        let digest = measurements.digest_bytes() / 8;
        let keeps = keeps_registers_above_measurement(self.options.dialect);
        let rec = self.recs.get_mut(&address)?;
        let mut low = [rsi::SUCCESS, 0, 0, 0];
        for (n, word) in value.as_chunks().0.iter().enumerate() {
            // What lies above the digest is zero; but as TF-RMM of July 2026, X5 to X7 keep what
            // they held.
            if keeps && n >= digest && n < 7 {
                continue;
            }
            let word = u64::from_le_bytes(*word);
            rec.set_x(n + 1, word);
            if let Some(low) = low.get_mut(n + 1) {
                *low = word;
            }
        }
        Some(Reply::Values(low))
    }

    fn measurement_extend(&mut self, rd: Pa, x: &[u64; 18]) -> Option<Reply> {
        let [_, index, size, value @ ..] = *x;
        let mut bytes = [0; 64];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(value) {
            *to = word.to_le_bytes();
        }
        let realm = self.realms.get_mut(&rd)?;
        let value = usize::try_from(size).ok().and_then(|size| bytes.get(..size));
        let extended = match (usize::try_from(index), value) {
            (Ok(index), Some(value)) => realm.measurements.extend(index, value),
            _ => false,
        };
        Some(status(if extended { rsi::SUCCESS } else { rsi::ERROR_INPUT }))
    }

    /// Where a buffer of the Realm is in memory, or what follows a call that names it.
    pub(super) fn buffer(&self, rd: Pa, ipa: Ipa, alignment: u64) -> Result<Pa, Reply> {
        if !ipa.is_aligned(alignment) || !self.is_protected(rd, ipa) {
            return Err(status(rsi::ERROR_INPUT));
        }
        match self.translate_structure(rd, ipa) {
            Translation::Memory(pa) => Ok(pa),
            Translation::Abort | Translation::ToPlane0 { .. } => Err(status(rsi::ERROR_INPUT)),
            Translation::Fault { level, permission } => {
                let status = syndrome::fault_status(level, permission);
                let esr = syndrome::class(ExceptionClass::DataAbort) | status;
                Err(Reply::Again(self.sync_exit(esr, 0, syndrome::hpfar_of_structure(ipa))))
            }
        }
    }

    /// Writes the fields of `RsiRealmConfig`. As TF-RMM, the bytes between them keep what they
    /// held, and SHA-384 is reported as SHA-512; the specification has zeros between them.
    fn realm_config(&mut self, rd: Pa, page: Ipa) -> Option<Reply> {
        let at = match self.buffer(rd, page, MIN_GRANULE) {
            Ok(at) => at,
            Err(reply) => return Some(reply),
        };
        let realm = self.realms.get(&rd)?;
        let is_tf_rmm = answers_as_tf_rmm(self.options.dialect);
        let width = u64::from(realm.tree.geometry().ipa_width());
        let hash = match realm.hash {
            HashAlgorithm::Sha384 if is_tf_rmm => HashAlgorithm::Sha512,
            hash => hash,
        };
        let rpv = realm.rpv;
        let planes = u64::from(realm.planes.auxiliary());
        let ats_plane = realm.planes.ats_plane;
        if !is_tf_rmm {
            self.memory.fill(at, MIN_GRANULE, 0);
        }
        let mut write = |offset, bytes: &[u8]| self.memory.write(Pa::new(at.raw() + offset), bytes);
        write(0x000, &width.to_le_bytes());
        write(0x008, &[hash.into()]);
        let is_2_0 = self.options.dialect.is_2_0();
        // TF-RMM v0.8.0 writes the first two fields of RSI 1.1 even if it does not offer that.
        if !is_2_0 || self.options.rsi > Version::V1_0 {
            write(0x010, &planes.to_le_bytes());
            write(0x018, &gic::Vtr::new(&self.options).value().to_le_bytes());
        }
        if is_2_0 && self.options.rsi > Version::V1_0 {
            write(0x020, &ats_plane.to_le_bytes());
        }
        write(0x200, &rpv);
        Some(status(rsi::SUCCESS))
    }

    /// The RIPAS of a protected IPA, and the end of the entry that has it.
    pub(super) fn ripas(&self, rd: Pa, ipa: Ipa) -> Option<(Ripas, u64)> {
        let found = self.realms.get(&rd)?.tree.walk(ipa, Level::L3)?;
        match found.entry {
            Entry::Void { ripas, .. } | Entry::Data { ripas, .. } => Some((ripas, found.top())),
            _ => None,
        }
    }

    fn ipa_state_get(&mut self, rd: Pa, base: u64, top: u64) -> Option<Reply> {
        let Some(range) = self.protected_range(rd, base, top) else {
            return Some(status(rsi::ERROR_INPUT));
        };
        // As TF-RMM, the answer ends with the table.
        let table =
            |monitor: &Self, ipa| Some(monitor.realms.get(&rd)?.tree.walk(ipa, Level::L3)?.table);
        let expected = table(self, range.base());
        let (first, mut reached) = self.ripas(rd, range.base())?;
        while reached < top && table(self, Ipa::new(reached)) == expected {
            match self.ripas(rd, Ipa::new(reached)) {
                Some((ripas, next)) if ripas == first => reached = next,
                _ => break,
            }
        }
        Some(Reply::Values([rsi::SUCCESS, reached.min(top), u64::from(u8::from(first)), 0]))
    }

    pub(super) fn protected_range(&self, rd: Pa, base: u64, top: u64) -> Option<IpaRange> {
        let geometry = self.realms.get(&rd)?.tree.geometry();
        range(base, top).filter(|range| geometry.range_is_protected(range))
    }

    fn ipa_state_set(&mut self, address: Pa, rd: Pa, arguments: [u64; 4]) -> Option<Reply> {
        let [base, top, ripas, flags] = arguments;
        // The specification defines a byte of X3 and a bit of X4; TF-RMM compares W3 and W4.
        let is_tf_rmm = answers_as_tf_rmm(self.options.dialect);
        let (ripas, flags) = match is_tf_rmm {
            true => (ripas & 0xffff_ffff, flags & 0xffff_ffff),
            false => (ripas & 0xff, flags & 1),
        };
        let value = match ripas {
            0 => Ripas::Empty,
            1 => Ripas::Ram,
            _ => return Some(status(rsi::ERROR_INPUT)),
        };
        let range = self.protected_range(rd, base, top);
        let Some(range) = range else { return Some(status(rsi::ERROR_INPUT)) };
        let mut left = exit(ExitReason::RipasChange, self.options.dialect);
        left.ripas_base = base;
        left.ripas_top = top;
        left.ripas_value = value.into();
        self.recs.get_mut(&address)?.last_exit = LastExit::RipasChange(RipasChange {
            next: range.base(),
            top: range.top(),
            value,
            change_destroyed: flags == 1,
        });
        Some(Reply::Exit(left))
    }

    fn host_call(&mut self, address: Pa, rd: Pa, structure: Ipa) -> Option<Reply> {
        let at = match self.buffer(rd, structure, rsi::HOST_CALL_BYTES) {
            Ok(at) => at,
            Err(reply) => return Some(reply),
        };
        let mut left = exit(ExitReason::HostCall, self.options.dialect);
        left.plane = self.recs.get(&address)?.plane as u64;
        let mut imm = [0; 4];
        self.memory.read(at, &mut imm);
        let [low, high, ..] = imm;
        left.imm = u16::from_le_bytes([low, high]);
        if !self.options.dialect.is_2_0() {
            // As TF-RMM v0.8.0, in which the field has 32 bits.
            let field = offset_of!(RecExit, imm);
            for (to, byte) in left.as_mut_bytes().iter_mut().skip(field).zip(imm) {
                *to = byte;
            }
        }
        let mut gprs = [0; 8 * RUN_GPRS];
        self.memory.read(Pa::new(at.raw() + rsi::HOST_CALL_GPRS), &mut gprs);
        for (to, word) in left.gprs.iter_mut().zip(gprs.as_chunks().0) {
            *to = u64::from_le_bytes(*word);
        }
        self.recs.get_mut(&address)?.last_exit = LastExit::HostCall(structure);
        Some(Reply::Exit(left))
    }

    fn psci(
        &mut self,
        address: Pa,
        rd: Pa,
        function: PsciFunction,
        x: &[u64; 18],
    ) -> Option<Reply> {
        let [raw, a, b, c, ..] = *x;
        let notify = |monitor: &Self| {
            let mut left = exit(ExitReason::Psci, monitor.options.dialect);
            let [first, ..] = &mut left.gprs;
            *first = raw;
            left
        };
        Some(match function {
            PsciFunction::Version => status(0x1_0001),
            PsciFunction::Features => {
                // As TF-RMM, PSCI_VERSION is not among them.
                let known = match PsciFunction::from_register(a) {
                    PsciFunction::Version => false,
                    PsciFunction::Unknown(other) => u64::from(other) == rsi::SMCCC_VERSION,
                    _ => true,
                };
                psci_status(if known {
                    PsciReturnCode::Success
                } else {
                    PsciReturnCode::NotSupported
                })
            }
            PsciFunction::CpuSuspend32 | PsciFunction::CpuSuspend64 => {
                // The result for a suspended CPU is in its registers when it runs again.
                self.recs.get_mut(&address)?.answer([0; 4]);
                Reply::Exit(notify(self))
            }
            PsciFunction::CpuOff => {
                let rec = self.recs.get_mut(&address)?;
                rec.answer([0; 4]);
                rec.runnable = false;
                Reply::Exit(notify(self))
            }
            PsciFunction::SystemOff | PsciFunction::SystemReset => {
                self.realms.get_mut(&rd)?.state = RealmState::SystemOff;
                Reply::Exit(notify(self))
            }
            PsciFunction::CpuOn32 | PsciFunction::CpuOn64 => {
                if !self.is_protected(rd, Ipa::new(b)) {
                    return Some(psci_status(PsciReturnCode::InvalidAddress));
                }
                let Some(target) = self.known_mpidr(rd, a) else {
                    return Some(psci_status(PsciReturnCode::InvalidParameters));
                };
                let rec = self.recs.get_mut(&address)?;
                if target == rec.mpidr {
                    return Some(psci_status(PsciReturnCode::AlreadyOn));
                }
                let request = PsciRequest { raw, target, entry: b, context: c };
                rec.last_exit = LastExit::Psci(request);
                Reply::Exit(with_target(notify(self), a))
            }
            PsciFunction::AffinityInfo32 | PsciFunction::AffinityInfo64 => {
                let target = self.known_mpidr(rd, a).filter(|_| b == 0);
                let Some(target) = target else {
                    return Some(psci_status(PsciReturnCode::InvalidParameters));
                };
                if target == self.recs.get(&address)?.mpidr {
                    return Some(psci_status(PsciReturnCode::Success));
                }
                if !self.options.dialect.affinity_info_exits() {
                    let is_on =
                        self.recs.values().any(|r| r.rd == rd && r.mpidr == target && r.runnable);
                    return Some(status(u64::from(!is_on)));
                }
                let request = PsciRequest { raw, target, entry: 0, context: 0 };
                self.recs.get_mut(&address)?.last_exit = LastExit::Psci(request);
                Reply::Exit(with_target(notify(self), a))
            }
            _ => status(rsi::NOT_SUPPORTED),
        })
    }

    /// The MPIDR of a PSCI call, if a REC was created with it. As TF-RMM, only the affinity fields
    /// are compared, and of the lowest field four bits.
    fn known_mpidr(&self, rd: Pa, psci: u64) -> Option<Mpidr> {
        let created = self.realms.get(&rd)?.recs_created;
        Some(Mpidr::from_psci(psci)).filter(|mpidr| mpidr.index() < created)
    }
}

/// The PSCI exit of a call that names a CPU.
fn with_target(mut exit: Exit, mpidr: u64) -> Exit {
    let [_, target, ..] = &mut exit.gprs;
    *target = mpidr;
    exit
}
