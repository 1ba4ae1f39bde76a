//! The host's part in a running Realm: devices, interrupts, and the requests of its virtual CPUs.

use realm_sdk::abi::rec::Mpidr;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::abi::run::{GicEntry, GicExit};
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{Active, Realm};
use realm_sdk::host::Platform;
use realm_sdk::rec::exit::{
    Fault, HostCall, MmioLoad, MmioStore, PsciCall, PsciNotice, PsciRequestKind, RipasChange, Wait,
};
use realm_sdk::rec::gic::RecInterface;
use realm_sdk::rec::{Answer, Flow, Handler, Rec, Timers};
use realm_sdk::sro::FixedPool;
use realm_sdk::vgic::{InterfaceState, Intid, Saved, VirtualInterface};
use rmm_model::Cpu;

use crate::console::{self, Console};
use crate::guest::{REPORT, THANKS};
use crate::output::{complain, say};

/// The handler of all virtual CPUs, which run in turns.
pub(crate) struct Vcpus<'r, P: Platform> {
    pub(crate) realm: &'r Realm<'r, P, Active>,
    pub(crate) pool: &'r mut FixedPool<128>,
    pub(crate) console: Console,
    pub(crate) uart: IpaRange,
    pub(crate) recs: &'r [Rec],
    /// The virtual CPU interface of the CPU that they run on, or of the run page.
    pub(crate) registers: RecInterface<Cpu<'r>>,
    /// The REC whose turn it is, and its virtual CPU interface.
    pub(crate) current: Mpidr,
    pub(crate) interface: InterfaceState,
    /// RECs that are on.
    pub(crate) on: Vec<Mpidr>,
    /// The measurement that the Realm reports.
    pub(crate) reported: Option<[u8; 64]>,
    pub(crate) system_off: bool,
}

impl<P: Platform> Vcpus<'_, P> {
    fn tell(&self, text: &str) {
        say!("      cpu {} | {text}", self.current.index());
    }

    fn register(&self, ipa: Ipa) -> Option<u64> {
        self.uart.contains(ipa).then(|| ipa.raw() - self.uart.base().raw())
    }
}

impl<P: Platform> Handler for Vcpus<'_, P> {
    fn before_entry(&mut self, _: &Rec) {
        self.interface.load(&mut self.registers);
    }

    fn gic_entry(&mut self, gic: &mut GicEntry) {
        if let Some(page) = self.registers.run_page() {
            (gic.hcr, gic.lrs) = page.enter();
        }
    }

    fn gic_exit(&mut self, gic: &GicExit) {
        if let Some(page) = self.registers.run_page() {
            page.exit(gic.hcr, gic.lrs, gic.misr, gic.vmcr);
        }
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        // It does not matter whether it was used: there may have been no entry.
        let _ = self.interface.save(&mut self.registers);
    }

    fn after_exit(&mut self, timers: Timers, _: bool) {
        if self.interface.save(&mut self.registers) == Saved::Unused {
            complain!("the REC ran without its virtual CPU interface");
        }
        for (intid, timer) in [
            (Intid::VIRTUAL_TIMER, timers.virtual_timer),
            (Intid::PHYSICAL_TIMER, timers.physical_timer),
        ] {
            // Two timers cannot fill 16 list registers.
            let registers = self.interface.list_registers_mut();
            if let Err(full) = registers.set_level(intid, 0x80, timer.is_raised()) {
                complain!("{full}");
            }
        }
    }

    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        Flow::Enter(match self.register(load.ipa()) {
            Some(offset) => load.complete(self.console.read(offset)),
            None => load.abort(),
        })
    }

    fn mmio_store(&mut self, store: MmioStore) -> Flow {
        Flow::Enter(match self.register(store.ipa()) {
            Some(offset) => {
                self.console.write(offset, store.value());
                store.complete()
            }
            None => store.abort(),
        })
    }

    fn fault(&mut self, fault: Fault) -> Flow {
        self.tell(&format!(
            "fault at IPA {}: all its memory is mapped, so this is the end",
            fault.page()
        ));
        Flow::Leave
    }

    fn interrupt(&mut self) -> Flow {
        self.tell("interrupt: a timer's line changed, or the host's turn");
        Flow::Enter(Answer::resume())
    }

    fn wait(&mut self, wait: Wait) -> Flow {
        self.tell(&match wait.deadline() {
            Some(ticks) => format!("waits for an interrupt until {ticks}"),
            None => "waits for an interrupt".to_owned(),
        });
        Flow::Stop(Answer::resume())
    }

    fn ripas_change(&mut self, rec: &Rec, change: RipasChange) -> Flow {
        let what = if change.ripas() == Ripas::Ram { "RAM" } else { "empty" };
        self.tell(&format!("wants {} to be {what}", change.range()));
        // The Realm asks again for the part that takes more calls.
        const CALLS: u32 = 4096;
        match self.realm.set_ripas(self.pool, rec.name(), change.range(), CALLS) {
            Ok(_) => Flow::Enter(change.accept()),
            Err(stopped) => {
                complain!("RIPAS change stopped at {}: {}", stopped.reached, stopped.error);
                change.reject().map_or(Flow::Leave, Flow::Enter)
            }
        }
    }

    fn psci_request(&mut self, _: &Rec, call: PsciCall<'_>) -> Flow {
        let (kind, target) = (call.kind(), call.target());
        self.tell(&format!("PSCI {kind:?} for cpu {}", target.index()));
        let Some(other) = self.recs.iter().find(|rec| rec.mpidr() == target) else {
            return Flow::Leave;
        };
        match call.accept(other) {
            Ok(answer) => {
                if kind == PsciRequestKind::CpuOn {
                    self.on.push(target);
                }
                Flow::Enter(answer)
            }
            Err(failed) => {
                complain!("{failed}");
                Flow::Leave
            }
        }
    }

    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        self.tell(&format!("PSCI {notice:?}"));
        match notice {
            PsciNotice::CpuSuspend => return Flow::Stop(Answer::resume()),
            PsciNotice::CpuOff => self.on.retain(|mpidr| *mpidr != self.current),
            _ => {
                self.on.clear();
                self.system_off = true;
            }
        }
        Flow::Leave
    }

    fn host_call(&mut self, call: HostCall) -> Flow {
        self.tell(&format!("host call {:#x}", call.imm()));
        if call.imm() != REPORT {
            return Flow::Enter(call.not_supported());
        }
        let mut rim = [0; 64];
        for (bytes, word) in rim.chunks_mut(8).zip(call.gprs()) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        self.reported = Some(rim);
        let mut gprs = [0; 31];
        gprs[0] = THANKS;
        Flow::Enter(call.complete(gprs))
    }
}

/// The UART's window, in a Realm whose unprotected half begins at `unprotected`.
pub(crate) fn uart(unprotected: Ipa) -> IpaRange {
    let base = unprotected.checked_add(0x0900_0000).unwrap_or(unprotected);
    IpaRange::with_size(base, console::WINDOW).unwrap_or(IpaRange::empty(base))
}
