//! The encodings of the Arm CCA Realm Management Interface (RMI).
//!
//! This crate defines what the bits mean and nothing else: it issues no calls, owns no memory and
//! has no policy. All differences between the dialects of the interface are implemented here, so
//! that no other crate of the SDK branches on one.
//!
//! The registers of one call, made to the model RMM by hand (the crate `rmi-host` does it with
//! types):
//!
//! ```
//! use rmi_abi::feature::Features;
//! use rmi_abi::trace::{CallDisplay, ResultDisplay};
//! use rmi_abi::{Command, Dialect, ResultWord, Status};
//! use rmi_host::Conduit;
//! use rmm_model::{Model, Options};
//!
//! let dialect = Dialect::TfRmm2026_07;
//! let rmm = Model::new(Options::new(dialect))?;
//! let fid = Command::Features.require(dialect)?.fid();
//! let call = [fid.0.into(), 0, 0, 0, 0, 0, 0, 0];
//! assert_eq!(CallDisplay::new(dialect, &call).to_string(), "RMI_FEATURES(index=0)");
//! // SAFETY: the model has its own memory, and the command names none.
//! let answer = unsafe { rmm.call(call) };
//! assert_eq!(ResultWord(answer[0]).status(), Status::Success);
//! let features = Features::new(dialect, [answer[1], 0, 0, 0, 0]);
//! assert_eq!(features.max_ipa_width(), 48);
//! println!("{}", ResultDisplay::new(dialect, Command::Features, &answer));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! | Module | Contents |
//! |---|---|
//! | **Where to start** | |
//! | [`dialect`] | the dialects, and a table of all their differences |
//! | [`commands`] | every command: function identifier, registers, effects, statuses, per dialect |
//! | [`commands::index`] | all commands on one page |
//! | [`trace`] | calls and results, printed decoded |
//! | [`describe`] | layouts, enumerations and bit fields as data |
//! | **Words** | |
//! | [`address`] | physical and intermediate physical addresses, granules, ranges |
//! | [`result`](mod@result) | the result word (X0) and the status codes |
//! | [`feature`] | feature registers |
//! | [`desc`] | address range descriptors, lists of them, donation requests |
//! | [`flags`] | flag words of commands |
//! | [`esr`] | exception syndromes as a host sees them |
//! | [`psci`] | PSCI functions and return codes |
//! | **Pages** | |
//! | [`realm`], [`rec`] | what a Realm and its RECs are created from |
//! | [`run`] | the run page, by which host and RMM pass values at each entry and exit |
//! | [`rmm`], [`granule`] | configuration of the RMM, tracking of physical memory |
//! | [`device`] | device assignment: parameter pages, states, communication |
//! | [`measurement`] | what the Realm Initial Measurement is computed from |
//! | **Arithmetic** | |
//! | [`rtt`] | translation tables: levels, block sizes, start levels, walks |
//! | **The Realm's side** | |
//! | [`rsi`], [`rhi`] | calls of a Realm to the RMM, and to its host |
//!
//! # Conventions
//!
//! - A value that a dialect does not define is kept, never an error: enums have a variant that
//!   contains the number, flags keep unknown bits, and feature registers report which of their bits
//!   are unknown.
//! - Decoders are total. Encoders refuse what a dialect cannot express, and report which field that
//!   is.
//! - Wire structs contain numbers only, and their layout is compared with the specification's table
//!   at compile time.
//! - Each item has its name in the specification as an alias: searching this documentation for
//!   `RMI_RTT_CREATE`, `RmiRecExit` or `ripas_response` finds the item.
//!
//! # Example
//!
//! Creating a REC, word by word, as TF-RMM of July 2026 does it: the call, the answer that requests
//! memory, and the descriptor that offers it.
//!
//! ```
//! use rmi_abi::desc::{AddrRangeDesc, DonateRequest};
//! use rmi_abi::rec::{Mpidr, RecParams};
//! use rmi_abi::result::OpMemReq;
//! use rmi_abi::trace::{CallDisplay, ResultDisplay};
//! use rmi_abi::{Command, Dialect, GranuleSize, Pa, PaRange, ResultWord, Status};
//!
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! let dialect: Dialect = "tf-rmm-2026-07".parse()?;
//!
//! // A command that the dialect does not have is an error before any call.
//! assert!(Command::GptInfo.require(dialect).is_err());
//! let form = Command::RecCreate.require(dialect)?;
//! assert!(form.effect().moves_memory());
//!
//! // The parameter page, to be written to host memory that the RMM can read.
//! let params =
//!     RecParams {
//!         runnable: true,
//!         mpidr: Mpidr::from_index(0),
//!         pc: 0x4000_0000,
//!         gprs: [0; 8],
//!     };
//! assert_eq!(params.encode().mpidr, 0);
//!
//! // The call: RD, REC and parameter page.
//! let call = [form.fid().0.into(), 0x8800_0000, 0x8800_1000, 0x8900_0000, 0, 0, 0, 0];
//! assert_eq!(
//!     CallDisplay::new(dialect, &call).to_string(),
//!     "RMI_REC_CREATE(rd=0x88000000, rec=0x88001000, params_ptr=0x89000000)",
//! );
//!
//! // The answer: an operation was started, and requests sixteen granules.
//! let answer = [0x10d, 7, 0x40, 0, 0, 0, 0, 0];
//! assert_eq!(
//!     ResultDisplay::new(dialect, Command::RecCreate, &answer).to_string(),
//!     "RMI_INCOMPLETE(donate 16 x 4 KiB DELEGATED, can't cancel) handle=0x7",
//! );
//! let [x0, handle, x2, ..] = answer;
//! let word = ResultWord(x0);
//! assert_eq!((word.status(), word.op_mem_req()), (Status::Incomplete, OpMemReq::Donate));
//! let wanted = DonateRequest::decode(x2, dialect);
//!
//! // The offer: one descriptor in a list at 0x89001000.
//! let granule = GranuleSize::Size4KiB;
//! let bytes = wanted.bytes(granule).ok_or("too much")?;
//! let memory = PaRange::with_size(Pa::new(0x9000_0000), bytes)?;
//! let offer = AddrRangeDesc::from_range(&memory, wanted.size, wanted.state, granule);
//! let entry = offer.ok_or("not a whole number of blocks")?.encode(dialect, granule)?;
//! assert_eq!(entry, 0x9000_0040);
//! let donate =
//!     [Command::OpMemDonate.require(dialect)?.fid().0.into(), handle, 0x8900_1000, 1];
//! assert_eq!(
//!     CallDisplay::new(dialect, &donate).to_string(),
//!     "RMI_OP_MEM_DONATE(handle=0x7, list_addr=0x89001000, list_count=1)",
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! `arbitrary` implements [`Arbitrary`](https://docs.rs/arbitrary) for the inputs that fuzzers pass
//! to the decoders. No feature is enabled by default.
#![no_std]
#![forbid(unsafe_code)]

pub mod address;
#[cfg(feature = "arbitrary")]
mod arbitrary;
pub mod commands;
pub mod desc;
pub mod describe;
pub mod device;
pub mod dialect;
pub mod esr;
pub mod feature;
pub mod flags;
pub mod granule;
mod layout;
pub mod measurement;
pub mod psci;
pub mod realm;
pub mod rec;
pub mod result;
pub mod rhi;
pub mod rmm;
pub mod rsi;
pub mod rtt;
pub mod run;
#[doc(hidden)]
pub mod sort;
pub mod trace;

pub use address::{GranuleSize, Ipa, IpaRange, Pa, PaRange};
pub use commands::{Command, Fid, Unsupported};
pub use dialect::Dialect;
pub use result::{ResultWord, Status};
