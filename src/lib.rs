// Maps the README's links to files of the project to their pages here.
//! [ARCHITECTURE.md]: crate::project::architecture
//! [CHANGELOG.md]: crate::project::changelog
//! [CONTRIBUTING.md]: crate::project::contributing
//! [SECURITY.md]: crate::project::security
//! [guide]: crate::guide
//! [Apache License 2.0]: https://www.apache.org/licenses/LICENSE-2.0
//! [MIT]: https://opensource.org/license/mit
//!
#![doc = include_str!("../README.md")]
//!
//! # Overview
//!
//! The crates, in the order in which they are used for a Realm:
//!
//! 1. [`host`]: provide a [`Platform`](host::Platform) (a conduit to the RMM, access to your
//!    memory, a ledger, a quarantine) and open a session: [`open`](sro::open) finds the RMM and its
//!    dialect, configures it, activates it and returns a [`Session`](sro::Session), which derefs to
//!    [`Rmm`](host::Rmm). [`Session::close`](sro::Session::close) ends it. Host memory is an
//!    [`Undelegated`](host::Undelegated) token; [`delegate`](host::Rmm::delegate) makes it
//!    [`Delegated`](host::Delegated), and only [`undelegate`](host::Rmm::undelegate) makes it host
//!    memory again.
//! 2. [`sro`]: commands that need memory take it from a [`Pool`](sro::Pool) that you have filled.
//!    [`drive`](sro::drive()) runs such an operation to its end; [`Operation`](sro::Operation) lets
//!    you perform the steps yourself.
//! 3. [`builder`]: a [`RealmConfig`](builder::RealmConfig) describes a [`Realm`](builder::Realm),
//!    which you [`populate`](builder::Realm::populate), give RECs
//!    ([`create_rec`](builder::Realm::create_rec)) and [`activate`](builder::Realm::activate).
//!    [`tear_down`](builder::Realm::tear_down) ends it from any state.
//! 4. [`rec`]: entering a [`Rec`](rec::Rec) returns an [`Exit`](rec::Exit), from which you make the
//!    [`Answer`](rec::Answer) for the next entry; or let [`Rec::run`](rec::Rec::run) loop with your
//!    [`Handler`](rec::Handler). [`RecSet`](rec::RecSet) does it for all RECs of a Realm, on
//!    threads.
//! 5. [`vgic`]: [`Gic`](vgic::Gic) is the GICv3 of a Realm, which
//!    [`RealmGic`](rec::gic::RealmGic) joins with a set. A hypervisor with a virtual GIC of its own
//!    uses [`InterfaceState`](vgic::InterfaceState) alone, which stores the virtual CPU interface
//!    of a REC, with its interrupts, between runs. [An example](#a-virtual-cpu-with-interrupts) is
//!    below.
//! 6. [`abi`]: the types and constants of the interface, for direct use; [`abi::commands`] is the
//!    reference of all commands.
//! 7. [`conduits`]: for tests and diagnosis, a [`Conduit`](host::Conduit) that counts, traces,
//!    records, replays or alters the calls of another.
//! 8. [`measurement`]: predicts the Realm Initial Measurement, for verifiers as well.
//!
//! # A virtual CPU with interrupts
//!
//! The part of a [`Handler`](rec::Handler) that a host with a virtual GIC of its own needs: it
//! switches the virtual CPU interface with the REC, and raises and lowers the REC's own interrupts.
//! [`RealmGic`](rec::gic::RealmGic) does it otherwise. Who owns the other state of the CPU is
//! listed in [a table](rec#the-cpu-across-an-entry).
//!
//! ```
//! use realm_sdk::rec::{Handler, Rec, Timers};
//! use realm_sdk::vgic::{InterfaceState, Intid, Saved, VirtualInterface};
//!
//! struct VirtualCpu<I> {
//!     /// The registers of the CPU that this code runs on.
//!     cpu: I,
//!     /// The registers of the REC.
//!     state: InterfaceState,
//! }
//!
//! impl<I: VirtualInterface> Handler for VirtualCpu<I> {
//!     fn before_entry(&mut self, _: &Rec) {
//!         // Interrupts and preemption of the host are masked from here …
//!         self.state.load(&mut self.cpu);
//!     }
//!
//!     fn entry_cancelled(&mut self, _: &Rec) {
//!         // Used or not: there may have been no entry.
//!         let _ = self.state.save(&mut self.cpu);
//!     }
//!
//!     fn after_exit(&mut self, timers: Timers, pmu_overflow: bool) {
//!         let saved = self.state.save(&mut self.cpu);
//!         // … to here.
//!         if saved == Saved::Unused {
//!             // `cpu` is not the CPU that made the call: a bug of the host, to be
//!             // reported.
//!         }
//!         let lines = [
//!             (Intid::VIRTUAL_TIMER, timers.virtual_timer.is_raised()),
//!             (Intid::PHYSICAL_TIMER, timers.physical_timer.is_raised()),
//!             (Intid::PMU, pmu_overflow),
//!         ];
//!         for (intid, is_up) in lines {
//!             // If no list register is free, the next exit reports the line again.
//!             let _ = self.state.list_registers_mut().set_level(intid, 0x80, is_up);
//!         }
//!     }
//! }
//! # use realm_sdk::rec::{Answer, Kick, RunEnd};
//! # use realm_sdk::builder::{Realm, RealmConfig, RealmStorage, RecStart};
//! # use rmm_model::{Action, Model, Options, Script};
//! # let model = Model::new(Options::new(realm_sdk::abi::Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let mut pool = realm_sdk::sro::FixedPool::<8>::new();
//! # pool.add(memory.take_front(0x2000).unwrap()).unwrap();
//! # pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
//! # let rmm = realm_sdk::sro::open(model.host(), Default::default(), &mut pool)?;
//! # let mut storage = RealmStorage::<8, 8>::new();
//! # let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool)?;
//! # let start = RecStart { runnable: true, pc: realm_sdk::abi::Ipa::new(0), gprs: [0; 8] };
//! # let object = realm.create_rec(&mut pool, &start)?;
//! # let timer = Action::Timer { kind: rmm_model::TimerKind::Virtual, ctl: 5, cval: 1 };
//! # model.set_guest(
//! #     realm.rd().pa(),
//! #     0,
//! #     Box::new(Script::new(vec![timer, Action::psci_system_off()])),
//! # );
//! # let realm = realm.activate()?;
//! # let mut rec = Rec::new(object, memory.take_front(0x1000).unwrap(), realm.geometry());
//! # let cpu = model.cpu(0);
//! # let mut vcpu = VirtualCpu { state: InterfaceState::new(cpu.vtr()), cpu };
//! # let stopped = rec.run(&rmm, Answer::resume(), &mut vcpu, &Kick::new())?;
//! # assert!(matches!(stopped, RunEnd::Left));
//! # assert!(vcpu.state.list_registers().get(Intid::VIRTUAL_TIMER).is_some());
//! # assert!(realm.tear_down(&mut pool, [rec.into_parts().0]).error.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod error;

pub use error::Error;

#[doc(inline)]
pub use realm_builder as builder;
#[doc(inline)]
pub use realm_measurement as measurement;
#[doc(inline)]
pub use rec_runtime as rec;
#[doc(inline)]
pub use rmi_abi as abi;
#[doc(inline)]
pub use rmi_conduits as conduits;
#[doc(inline)]
pub use rmi_host as host;
#[doc(inline)]
pub use sro;
#[doc(inline)]
pub use vgic_realm as vgic;

#[cfg(doc)]
pub mod guide;

/// The project's documents that are in its repository besides the README.
#[cfg(doc)]
pub mod project {
    /// The crates, the data flow between them, and the decisions behind both.
    ///
    pub mod architecture {
        #![doc = include_str!("../ARCHITECTURE.md")]
    }

    /// The changes in each version.
    ///
    pub mod changelog {
        #![doc = include_str!("../CHANGELOG.md")]
    }

    /// How to contribute.
    ///
    /// [line protocol]: crate::project::line_protocol
    ///
    pub mod contributing {
        #![doc = include_str!("../CONTRIBUTING.md")]
    }

    /// The line protocol of a model RMM process.
    ///
    pub mod line_protocol {
        #![doc = include_str!("../docs/model-protocol.md")]
    }

    /// The trust model, and how to report a vulnerability.
    ///
    pub mod security {
        #![doc = include_str!("../SECURITY.md")]
    }
}
