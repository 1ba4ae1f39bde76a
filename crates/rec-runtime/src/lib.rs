//! A virtual CPU's life: enter a REC, own its exits, give typed answers.
//!
//! A Realm that asks a device something and turns itself off, on the model RMM:
//!
//! ```
//! use rec_runtime::exit::{MmioLoad, PsciNotice};
//! use rec_runtime::{Answer, Flow, Handler, Kick, Rec, Stopped};
//! use rmi_host::Platform;
//! # use realm_builder::{Realm, RealmConfig, RealmStorage, RecStart};
//! # use rmi_abi::{Dialect, Ipa};
//! # use rmi_host::{Discovered, Host, SessionOptions};
//! # use rmm_model::{Action, Model, Options, Script};
//! # use sro::{Pool, PoolStorage, activate};
//!
//! /// A host with one device, which says 42 to everybody.
//! #[derive(Default)]
//! struct Board {
//!     is_off: bool,
//! }
//!
//! impl<P: Platform> Handler<P> for Board {
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
//! # let mut places = PoolStorage::<8>::new();
//! # let mut pool = Pool::new(&mut places, memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
//! # let found = Discovered::probe(Host::new(&model, &model), SessionOptions::default()).map_err(|f| f.error)?;
//! # let rmm = activate(found, &mut pool).map_err(|failed| failed.error)?.rmm;
//! # let mut storage = RealmStorage::<8, 8>::new();
//! # let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool)?;
//! # let object = realm.create_rec(&mut pool, &RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] })?;
//! # let device = Ipa::new(0x80_0900_0000);
//! # let program = vec![Action::Load { ipa: device, bytes: 4 }, Action::psci_system_off()];
//! # model.set_guest(realm.rd().pa(), 0, Box::new(Script::new(program)));
//! # let realm = realm.activate().map_err(|failed| failed.error)?;
//! # let page = memory.take_front(0x1000).unwrap();
//! // An active Realm, a REC of it, and a page of host memory are there.
//! let mut rec = Rec::new(object, page, realm.geometry());
//! let mut board = Board::default();
//! let stopped = rec.run(&rmm, Answer::resume(), &mut board, &Kick::new()).map_err(|failed| failed.error)?;
//! assert!(matches!(stopped, Stopped::Left) && board.is_off);
//! # let (object, _page) = rec.into_parts();
//! # realm.tear_down([object], &mut pool, &mut |_| {});
//! # pool.drain(&rmm, &mut |_| {});
//! # Ok(())
//! # }
//! ```
//!
//! | Module | What it holds |
//! |---|---|
//! | [`rec`] | [`Rec`]: entering, and what came of it |
//! | [`exit`] | why a REC came back, and what may be said to it |
//! | [`run`] | a run loop with a handler, and a way to stop it from elsewhere |
//! | [`timer`] | the Realm's timers, whose interrupts the host raises |
#![no_std]
#![forbid(unsafe_code)]

mod answer;
pub mod exit;
pub mod rec;
pub mod run;
pub mod timer;

pub use answer::Answer;
pub use exit::Exit;
pub use rec::{EnterError, Event, Rec};
pub use run::{Flow, Handler, Kick, Stopped};
pub use timer::{Timer, Timers};
