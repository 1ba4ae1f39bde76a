//! Running virtual CPUs: enters a REC, and returns exits as owned values with typed answers.
//!
//! A Realm that reads a device and turns itself off, on the model RMM:
//!
//! ```
//! use rec_runtime::exit::{MmioLoad, PsciNotice};
//! use rec_runtime::{Answer, Flow, Handler, Kick, Rec, RunEnd};
//! # use realm_builder::{Realm, RealmConfig, RealmStorage, RecStart};
//! # use rmi_abi::{Dialect, Ipa};
//! # use rmi_host::SessionOptions;
//! # use rmm_model::{Action, Model, Options, Script};
//! # use sro::{FixedPool, Pool, open};
//!
//! /// A host with one device, which returns 42 for every read.
//! #[derive(Default)]
//! struct Board {
//!     is_off: bool,
//! }
//!
//! impl Handler for Board {
//!     fn mmio_load(&mut self, load: MmioLoad) -> Flow {
//!         Flow::Enter(load.complete(42))
//!     }
//!
//!     fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
//!         self.is_off = notice == PsciNotice::SystemOff;
//!         Flow::Leave
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let mut pool = FixedPool::<8>::new();
//! # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
//! # let rmm = sro::open(model.host(), SessionOptions::default(), &mut pool)?;
//! # let mut storage = RealmStorage::<8, 8>::new();
//! # let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool)?;
//! # let object = realm
//! #     .create_rec(&mut pool, &RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] })?;
//! # let device = Ipa::new(0x80_0900_0000);
//! # let program = vec![Action::Load { ipa: device, bytes: 4 }, Action::psci_system_off()];
//! # model.set_guest(realm.rd().pa(), 0, Box::new(Script::new(program)));
//! # let realm = realm.activate()?;
//! # let page = memory.take_front(0x1000).unwrap();
//! // There is an active Realm with a REC, and a page of host memory.
//! let mut rec = Rec::new(object, page, realm.geometry());
//! let mut board = Board::default();
//! let stopped = rec.run(&rmm, Answer::resume(), &mut board, &Kick::new())?;
//! assert!(matches!(stopped, RunEnd::Left) && board.is_off);
//! # let (object, _page) = rec.into_parts();
//! # assert!(realm.tear_down(&mut pool, [object]).error.is_none());
//! # pool.drain(&rmm, &mut |_| {});
//! # Ok(())
//! # }
//! ```
//!
//! | Item, module | Contents |
//! |---|---|
//! | [`Rec`] | entering a REC, and the outcome of a run |
//! | [`exit`] | the reasons of exits, and their answers |
//! | [`Answer`] | what the next entry tells the RMM about the last exit |
//! | [`Handler`] | the handler of the run loop; a [`Kick`] stops the loop from another thread |
//! | [`RecSet`], [`set`] | all RECs of a Realm on their threads: PSCI, kicks, pauses, statistics |
//! | [`gic`] | the virtual GIC of a Realm at the exits of its RECs |
//! | [`mmio`] | devices at unprotected IPAs: a bus, a UART |
//! | [`timer`] | the Realm's timers and its PMU, whose interrupts the host raises |
//!
//! # The CPU across an entry
//!
//! A REC runs on the CPU that enters it, with all state of that CPU that the RMM does not switch.
//! In the table, *RMM* means that the RMM keeps the Realm's value in the REC and restores the
//! host's.
//!
//! | State | RMI 1.0 | RMI 2.0 | What the host does |
//! |---|---|---|---|
//! | `ICH_LR<n>_EL2`, `ICH_HCR_EL2` (controls, `EOIcount`) | host, in the run page | **host**, on the CPU | `vgic_realm::InterfaceState`: `load` before each entry, `save` after it |
//! | `ICH_HCR_EL2.En` | RMM | **host** sets it, the RMM clears it on exit | the same; `save` reports if it was not cleared |
//! | `ICH_VMCR_EL2` | RMM; shown in the exit | **host**, on the CPU | the same |
//! | `ICH_AP0R<n>_EL2`, `ICH_AP1R<n>_EL2` | RMM | **host**, on the CPU | the same |
//! | `ICH_MISR_EL2` | shown in the exit | read on the CPU | `InterfaceState::misr` |
//! | the same registers of the host's other guests | changed by a run | changed by a run | loads them before it runs such a guest: `save` leaves the interface off and the registers as they are |
//! | `ICC_PMR_EL1` of the host | kept | kept | unmasks the interrupts that are to end a run: a masked one does not |
//! | `ICC_SRE_EL2` | RMM | RMM | nothing |
//! | PSTATE.I, .F of the host | host | host | masks both from loading to saving; a physical interrupt ends the run nevertheless ([`Exit::Irq`], [`Exit::Fiq`]) and is taken afterwards |
//! | EL1 timers (`CNTP_*`, `CNTV_*`) and their masks (`CNTHCTL_EL2`) | RMM; shown in the exit | RMM; shown in the exit | raises and lowers PPIs 30 and 27 by [`Event::lines`] after every exit ([`timer`]), and enables both at its own GIC; its EL2 timers work while a REC runs, its EL1 timers need not |
//! | counter offsets (`CNTVOFF_EL2`, `CNTPOFF_EL2`) | 0 in a Realm | RMM; the exit's compare values are without them | nothing |
//! | PMU | RMM, both worlds' counters; overflow in the exit | the same | drives PPI 23 likewise; the host's own counters do not count a Realm's run |
//! | FP, Advanced SIMD, SVE | RMM, both worlds' registers, when first used | the same | nothing; bit 16 of X0 tells the firmware that the caller's SVE registers hold no live state (SMCCC 1.3); a conduit may set it for a caller that knows this |
//! | self-hosted debug: `MDSCR_EL1`, `MDCCINT_EL1` | RMM, both worlds' | the same | nothing |
//! | breakpoint and watchpoint registers | not the host's | not the host's; in TF-RMM accesses trap, read as zero and are ignored | nothing |
//! | BRBE: `BRBCR_EL1` | hidden from Realms | RMM; hidden from Realms | nothing |
//! | AMU, SPE, TRBE, SME | hidden from Realms | hidden from Realms | nothing |
//! | other EL1 and EL0 system registers, pointer authentication keys | RMM, both worlds' | the same | nothing |
//! | other EL2 registers of the host | EL3 firmware | EL3 firmware | nothing |
//! | X0 to X17 of the caller | results, or as the conduit says | the same | nothing |
//!
//! [`Handler::before_entry`] and [`Handler::after_exit`] (or [`Handler::entry_cancelled`]) are the
//! places to switch what the host has to switch: both are called on the CPU that enters, with
//! nothing between them but the entry (and, in RMI 1.0, [`Handler::gic_entry`] and
//! [`Handler::gic_exit`], which copy the interrupts to and from the run page). A host that uses
//! Advanced SIMD or SVE itself, or debugs itself with hardware breakpoints, does nothing there: the
//! RMM gives it its registers back. Where its own registers hold nothing to be kept, it may tell
//! the firmware in its conduit. `vgic_realm` documents what has to be set up at the host's own GIC
//! (`HardwareInterface`): the maintenance interrupt and the PPIs of the timers, and how a physical
//! interrupt that ended a run is taken.
//!
//! So in 2.0 the virtual CPU interface is the only state that a host must switch itself, and a host
//! that does not lets one Realm mask, or block permanently, the interrupts of the next one on that
//! CPU. `vgic-realm` switches it; what drives the PPIs is in the [`Event`].
//!
//! Sources: DEN0137 1.0-rel0, "GICv3 virtual CPU interface", "Timers", "PMU and debug"; DEN0137
//! 2.0-bet3, `RMI_REC_ENTER`, `RmiRecRun`; DEN0028 1.3 for SVE; for what the specification does not
//! define, TF-RMM of July 2026: `runtime/core/run.c` (what it saves), `lib/gic/src/gic.c` (that it
//! only checks list registers and clears En), `runtime/core/timers.c` (masks),
//! `lib/arch/include/arch.h` (`MDCR_EL2_INIT`).
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod answer;
pub mod exit;
pub mod gic;
mod kick;
pub mod mmio;
mod rec;
mod run;
pub mod set;
pub mod timer;

pub use answer::Answer;
pub use exit::Exit;
pub use kick::Kick;
pub use rec::{Event, Rec};
pub use run::{Flow, Handler, RunEnd};
pub use set::RecSet;
pub use sro::EnterError;
pub use timer::{PpiLine, Timer, Timers};
