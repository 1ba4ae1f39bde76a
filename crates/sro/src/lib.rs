//! Stateful RMI operations (SRO) that never allocate and never lose a granule.
//!
//! Some commands take longer than a call, or more memory than the host can know beforehand. They answer `RMI_INCOMPLETE`, and the host continues them, gives them memory, and takes memory back until
//! they end. The memory comes from a [`Pool`] that was filled where filling is allowed:
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmi_host::{CountingLedger, Discovered, Host, SessionOptions};
//! use rmm_model::{Model, Options};
//! use sro::{Pool, PoolStorage, activate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // An RMM that wants four granules before it becomes active.
//! let mut options = Options::new(Dialect::V2_0Bet3);
//! options.rmm_activate_donates = 4;
//! let model = Model::new(options)?;
//! let mut memory = model.take_memory();
//!
//! let mut places = PoolStorage::<8>::new();
//! let pages = memory.take_front(Pool::PAGES).expect("1 GiB");
//! let mut pool = Pool::new(&mut places, pages).expect("two pages");
//! pool.add(memory.take_front(0x10_000).expect("1 GiB")).expect("eight places are free");
//!
//! let ledger = CountingLedger::new();
//! let platform = Host::new(&model, &model).with_ledger(&ledger);
//! let mut found = Discovered::probe(platform, SessionOptions::default()).map_err(|failed| failed.error)?;
//! found.configure(pool.pages().page)?;
//! let activated = activate(found, &mut pool).map_err(|failed| failed.error)?;
//! assert_eq!(activated.donated.bytes(), 0x4000);
//!
//! // From now on the pool can delegate in advance, so that later operations need fewer calls.
//! pool.prefill(&activated.rmm, 0x2000, 0x1000)?;
//! assert_eq!(pool.bytes(), (0xa000, 0x2000));
//! pool.drain(&activated.rmm, &mut |memory| println!("{memory:?} is the host's"));
//! assert_eq!(ledger.balance().outstanding(), 4);
//! # Ok(())
//! # }
//! ```
//!
//! | Module | What it holds |
//! |---|---|
//! | [`operation`] | [`Operation`]: one operation, one call a step; it can be parked and resumed |
//! | [`drive`](mod@drive) | the loop over it, with a way out when memory is short |
//! | [`pool`], [`set`] | memory for operations, in storage of a fixed size |
//! | [`donated`] | what an object was given: nothing else is ever taken back |
//! | [`rec`] | creating and destroying RECs |
//! | [`entry`] | entering them, and what they wait for between their runs |
//! | [`activate`](mod@activate) | activating the RMM |
#![no_std]
#![cfg_attr(not(test), forbid(unsafe_code))]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod activate;
pub mod donated;
pub mod drive;
pub mod entry;
mod offered;
pub mod operation;
pub mod pool;
pub mod rec;
pub mod set;
#[doc(hidden)]
pub mod sort;

pub use activate::{Activated, activate, deactivate};
pub use donated::Donated;
pub use drive::drive;
pub use entry::{Awaiting, EnterError, ExitNumber};
pub use operation::{Advance, Need, Next, Operation, Parked};
pub use pool::{Pages, Pool, PoolStorage};
pub use rec::RecObject;
pub use set::{GranuleSet, Places};
