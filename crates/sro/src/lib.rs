//! Stateful RMI operations (SRO) that never allocate and never lose a granule.
//!
//! Some commands take longer than one call, or more memory than the host can know in advance. They
//! answer `RMI_INCOMPLETE`, and the host continues them, donates memory, and takes memory back
//! until they end. The memory comes from a [`Pool`] that was filled where allocation is allowed:
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmi_host::{CountingLedger, SessionOptions};
//! use rmm_model::{Model, Options};
//! use sro::FixedPool;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // An RMM that needs four granules before it becomes active.
//! let mut options = Options::new(Dialect::V2_0Bet3);
//! options.rmm_activate_donates = 4;
//! let model = Model::new(options)?;
//! let mut memory = model.take_memory();
//!
//! // Two granules become the pool's own pages for communication with the RMM.
//! let mut pool = FixedPool::<8>::new();
//! pool.add(memory.take_front(0x12_000).expect("1 GiB")).expect("eight slots are free");
//!
//! let ledger = CountingLedger::new();
//! let platform = model.host().with_ledger(&ledger);
//! let session = sro::open(platform, SessionOptions::default(), &mut pool)?;
//! assert_eq!(session.donated().bytes(), 0x4000);
//!
//! // From now on the pool can delegate in advance, so that later operations need fewer
//! // calls.
//! pool.prefill(&session, 0x2000, 0x1000)?;
//! assert_eq!(pool.bytes(), (0xa000, 0x2000));
//!
//! // Closing the session returns everything.
//! let closed = session.close(&mut pool)?;
//! assert!(closed.deactivated);
//! assert_eq!((pool.bytes(), ledger.balance().outstanding()), ((0x10_000, 0), 0));
//! pool.drain_host(&mut |memory| println!("{memory:?} is the host's"));
//! # Ok(())
//! # }
//! ```
//!
//! | Item, module | Contents |
//! |---|---|
//! | [`operation`] | [`Operation`]: one operation, one call per step; it can be suspended and resumed |
//! | [`drive`](mod@drive) | the loop over it, which undoes the operation when memory is short |
//! | [`pool`], [`GranuleSet`] | memory for operations, in storage of a fixed size |
//! | [`HostMemory`] | where the host memory of Realms comes from, and where it goes |
//! | [`AllocatorMemory`] | that of a thread: the host's allocator, and a pool |
//! | [`donated`] | what was donated to an object: nothing else is ever taken back |
//! | [`RecObject`] | creating and destroying RECs |
//! | [`entry`] | entering them, and what they wait for between runs |
//! | [`FineRegions`] | tracking regions that become FINE or COARSE, and the memory for that |
//! | [`open`], [`Session`] | opening a session and closing it |
#![no_std]
#![cfg_attr(not(test), forbid(unsafe_code))]

#[cfg(feature = "alloc")]
extern crate alloc;

mod allocator;
mod auxiliary;
pub mod donated;
pub mod drive;
pub mod entry;
mod memory;
mod offered;
pub mod operation;
pub mod pool;
mod ranges;
mod rec;
mod regions;
mod session;
mod set;

pub use allocator::{AllocatorMemory, HostAllocator};
pub use donated::Donated;
pub use drive::drive;
pub use entry::{Awaiting, EnterError, ExitNumber};
pub use memory::{CallbackMemory, HostMemory, free_or_quarantine};
pub use operation::{Advance, Need, Next, Operation, Parked};
pub use pool::{FixedPool, FixedSlots, Pages, Pool, PoolSlots};
#[cfg(feature = "alloc")]
pub use pool::{GrowingPool, GrowingSlots};
pub use rec::RecObject;
pub use regions::{FineRegion, FineRegions, RegionsStopped};
pub use session::{Closed, Session, open};
pub use set::{GranuleSet, Slots};
