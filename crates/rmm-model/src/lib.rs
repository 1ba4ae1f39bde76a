//! A strict, deterministic, in-process model of a Realm Management Monitor (RMM).
//!
//! The model is a machine: DRAM, physical CPUs, and an RMM that a host reaches by calls. It keeps a
//! state for every granule, refuses what an RMM refuses, poisons memory that is delegated, measures
//! Realms, and runs their programs ([`Guest`]) against real translation tables. The reference is
//! TF-RMM, never the model: `tests/recordings` has answers of TF-RMM.
//!
//! | Part | Contents |
//! |---|---|
//! | [`Model`], [`Cpu`] | the machine: [`Conduit`](rmi_host::Conduit) for calls, [`HostAccess`](rmi_host::HostAccess) for the host's view of memory |
//! | [`Memory`] | its memory: on the heap ([`SparseMemory`]), or that of the machine that the program runs on ([`PhysicalMemory`]) |
//! | [`Options`] | which RMM it models: dialect, features, how much one call does, how often it yields, is busy or blocked |
//! | [`Guest`], [`Action`], [`Script`] | what a virtual CPU of a Realm does |
//! | [`AsyncGuest`], `ThreadGuest` (feature `std`) | programs that are functions: `cpu.load(ipa, 4)` |
//! | [`attestation`] | the keys and the form of the Realm's attestation token |
//! | [`Census`], [`GranuleState`] | the states of granules, for tests |
//! | [`protocol`] | the line protocol of the model in a process, for hosts in any language |
//!
//! # Example
//!
//! A host activates the RMM and delegates a granule, which it cannot read afterwards.
//!
//! ```
//! use rmi_abi::{Command, Dialect, Pa};
//! use rmi_host::{Conduit, HostAccess};
//! use rmm_model::{GranuleState, Model, Options};
//!
//! let dialect = Dialect::TfRmm2026_07;
//! let rmm = Model::new(Options::new(dialect))?;
//! let call = |command: Command, x1: u64, x2: u64| {
//!     let fid = command.fid(dialect).map_or(0, |fid| fid.0.into());
//!     // SAFETY: the model has its own memory, and reaches none of this program.
//!     unsafe { rmm.call([fid, x1, x2, 0, 0, 0, 0, 0]) }
//! };
//!
//! assert_eq!(call(Command::RmmActivate, 0, 0)[0], 0);
//! let granule = 0x8000_0000;
//! let [status, out_top, ..] =
//!     call(Command::GranuleRangeDelegate, granule, granule + 0x1000);
//! assert_eq!((status, out_top), (0, granule + 0x1000));
//!
//! assert_eq!(rmm.granule_state(Pa::new(granule)), Some(GranuleState::Delegated));
//! // SAFETY: as above.
//! assert!(unsafe { rmm.read(Pa::new(granule), &mut [0; 8]) }.is_err());
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```
//!
//! # An RMM on the metal
//!
//! The model can be the RMM of the machine that it runs on, at EL3 or EL2: programs of Realms are
//! then still functions of the model, but hosts call it by SMC. What it needs from the program
//! around it:
//!
//! | What | How |
//! |---|---|
//! | a heap | a global allocator |
//! | memory | [`PhysicalMemory`], [`Model::with_memory`]; [`Options::dram`] is what the host may use, without the program and its heap |
//! | exceptions | the handler of an SMC passes X0 to X17 and the number of the CPU to [`Model::handle_on`], and returns what it returns; all other registers stay |
//! | the GIC | [`RealCpu`]: `ICH_*_EL2` and `ISR_EL1`; [`Options::with_vtr`] |
//! | time | [`Model::set_counter`] with `CNTPCT_EL0` |
//! | programs | [`Model::set_default_guest`], by the personalization value of the Realm |
//! | PSCI | is not the RMM's: those calls do not go to the model |
//!
//! Nothing stops a host there from using memory that it has delegated. `examples/model-el3` in the
//! project's sources is such a program, for a machine that QEMU emulates.
//!
//! # What is modelled
//!
//! All dialects, with 4 KiB granules: the commands of the RMM itself, of granules, Realms, RECs,
//! translation tables and, in 2.0, stateful operations; all 23 commands of 1.0. Of the Realm's
//! calls, PSCI, and RSI 1.0, 1.1 or 2.0 ([`Options::rsi`]) for a Realm that has no devices:
//! `RSI_RDEV_*` and `RSI_VDEV_*` answer with `RSI_ERROR_STATE`.
//!
//! An RMM of 1.0 has the GIC's state in the run page: it loads the list registers from there, and
//! leaves what the Realm did in the virtual CPU interface of the CPU, which is off.
//!
//! The attestation token of a Realm has its measurements, its personalization value and the
//! challenge of `RSI_ATTESTATION_TOKEN_INIT`, all as they are at that call, and is signed with a
//! test key ([`attestation`]).
//!
//! Each physical CPU ([`Cpu`]) has a virtual CPU interface as in hardware (Arm IHI 0069): list
//! registers, `ICH_HCR_EL2`, `ICH_VMCR_EL2` and active priorities, which the host loads and saves.
//! The RMM checks the list registers and turns the interface off on exit; what a Realm's program
//! sets (`ICC_*_EL1`) stays for the next REC or host that uses the CPU. Interrupts are signalled by
//! priority mask, group enables and active priorities; maintenance interrupts, and those that
//! [`Cpu::interrupt`] sends, end a run.
//!
//! Time is a counter that stands still unless the host moves it ([`Model::advance`]) or gives it a
//! source ([`Model::set_clock`]). Programs read it and set their EL1 timers, which fire by
//! themselves and end runs as on TF-RMM: the RMM exits when an output goes high, masks the
//! interrupt while it stays high, and notices that it has gone low when it next has something to
//! do. Waits that are not trapped last until an interrupt or their deadline, at most for
//! [`Options::wait_polls`].
//!
//! Planes, where the feature register 3 of the [`Options`] offers them: Realms with a tree for each
//! plane or one for all; the auxiliary trees' tables and mappings, by entry (TF-RMM) and by range
//! (2.0-bet3); permissions, from `RSI_MEM_SET_PERM_*` to `RMI_RTT_SET_S2AP`. Plane 0 runs the
//! others ([`Action::plane_enter`]), whose programs [`Model::set_plane_guest`] gives. They exit to
//! it and to the host as on TF-RMM; each has its own registers, timers and, unless it owns the
//! host's, its own virtual CPU interface. As in the specification, the tree of plane 0 is the first
//! auxiliary one (each plane has the tree after its number, and the last plane the primary one), so
//! it faults there, and the exit says so in `rtt_tree`; the addresses of structures that it passes
//! to the RMM are translated by the primary tree.
//!
//! # What the specifications leave open
//!
//! The sources for auxiliary trees in the betas are their register tables, and the text of
//! 2.0-bet0; where they say nothing, the model does as TF-RMM does:
//!
//! * `RMI_RTT_AUX_PROT_MAP` and `RMI_RTT_AUX_UNPROT_MAP` of a Realm that is neither new nor active
//!   fail with `RMI_ERROR_REALM`; unmapping works in any state.
//! * A range is mapped or unmapped as far as its entries fit. The first one that does not is an
//!   error, a later one ends the call. An auxiliary tree that ends above the primary one's entry is
//!   `RMI_ERROR_RTT_AUX`. With `block`, the last entry may reach beyond the range; with
//!   `invalid_pri`, what the primary tree does not map is skipped. No call unmaps part of a block.
//! * Unmapping leaves an EMPTY entry with the same permissions. Destroying a table leaves a
//!   DESTROYED entry, into which nothing can be mapped.
//! * Host memory is shown by whole root entries. While one is shown, no table of the primary tree
//!   below it can be folded or destroyed.
//! * `RMI_RTT_SET_S2AP` stops at the first entry that is larger than the rest of the range, with an
//!   error; what it changed before stays changed. X2 is 0 on success.
//! * RSI 2.0 has no version number yet: an RMM that has it says that it is 1.1, as TF-RMM does.
//! * A physical interrupt that is pending when a token has been signed ends that call of
//!   `RSI_ATTESTATION_TOKEN_CONTINUE` with no bytes.
//! * `rtt_tree` of an exit counts as if there were a tree for each plane, even where planes share
//!   one.
//!
//! # What is not modelled
//!
//! * Devices (`PDEV`, `VDEV`, `PSMMU`, `VSMMU`, `DPT`, device mappings). The features say so, and
//!   the commands answer as on an RMM that lacks the feature; a program can cause their exits
//!   nevertheless ([`Action::Device`]). So do those of planes (`AUX` trees,
//!   `RTT_SET_S2AP`), unless the options offer them.
//! * What planes may trap besides waits, host calls and other calls: SIMD and debug registers.
//!   Virtual machine identifiers never run out.
//! * Granule sizes other than 4 KiB. Tracking regions are FINE and of 1 GiB, and granule protection
//!   tables built by the firmware, unless [`Options`] say otherwise.
//! * SVE and PMU state. Stage 1 of the Realm: its addresses are IPAs.
//!
//! # Where TF-RMM differs
//!
//! Two million lines of random calls, sent to both, found no other difference than these;
//! `tests/recordings` holds what they found before.
//!
//! * The model poisons memory that is delegated and zeroes what comes back; TF-RMM leaves the old
//!   content in delegated memory, and writes to memory that a `RMI_RTT_DATA_MAP` or
//!   `RMI_RTT_DATA_MAP_INIT` then refuses.
//! * Of `sve_vl` of a Realm's parameters TF-RMM measures 32 bits, the model 8.
//! * TF-RMM uses bit 32 of the output address of mapped host memory as its own mark: an unmap
//!   in the same table clears it, and the RMM may crash afterwards. The model does not do that.
//! * An interrupt that arrives during an unmap: TF-RMM, if built to check for one, stops half way,
//!   and entries that are not yet cleaned answer `RMI_BUSY`. The model yields before it starts
//!   ([`Options::yield_every`]), and has no such entries.
//! * Where the primary tree maps a block, TF-RMM shows its first page at every page of an auxiliary
//!   tree; the model shows the page itself.
//! * Each `RMI_RTT_AUX_MAP_UNPROTECTED` of a root table's entry counts in TF-RMM, and one unmapping
//!   takes back one count, so a Realm that was shown an entry twice cannot be destroyed. The model
//!   counts once.
//! * When a plane that owns the GIC exits, TF-RMM loads what it saved when another plane last ran.
//!   In the model the interface stays as the plane left it.
//! * The identity of a Realm in its token is random in TF-RMM. In the model, machines that get the
//!   same calls make the same tokens. The platform's claims are the model's own.
//! * The GIC's description in `RsiRealmConfig` is that of the model's machine.
//!
//! In 1.0 the model does as TF-RMM v0.8.0 where that differs from the text, except that v0.8.0
//! answers some commands and calls of drafts of 1.1, for devices and planes, although it says that
//! it has 1.0: `RMI_RTT_AUX_*`, `RSI_RDEV_*`, `RSI_MEM_*` and others. In the model they are
//! unknown.
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod answer;
pub mod attestation;
mod clock;
mod cpu;
mod gic;
mod granule;
mod guest;
mod measurement;
mod memory;
mod model;
mod monitor;
mod options;
mod per_granule;
mod planes;
pub mod protocol;
mod realm;
mod rec;
mod regions;
mod rsi;
mod rtt;
mod session;
mod syndrome;
mod timer;
mod unsupported;

pub use gic::accepts_run_page;
pub use granule::{Census, GranuleState};
pub use guest::{
    Action, AsyncGuest, AsyncVcpu, DefaultGuest, DeviceRequest, Exception, ForgedExit, Guest,
    GuestCpu, GuestIdentity, Outcome, Script, SysReg, TimerKind,
};
#[cfg(feature = "std")]
pub use guest::{ThreadGuest, ThreadVcpu};
pub use memory::{Memory, MemoryAccess, PhysicalMemory, SparseMemory};
pub use model::{CallingCpu, Cpu, Model, RealCpu};
pub use options::{
    FirstTracking, GranulesPerCall, Options, OptionsError, RegionOptions, TablesPerCall,
};
pub use session::{open, open_with};
