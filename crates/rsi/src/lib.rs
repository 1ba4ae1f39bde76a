//! The Realm Services Interface (RSI) of Arm CCA: what software in a Realm asks of the RMM.
//!
//! This is the Realm's side of the interface, for kernels, firmware and bare-metal programs. The
//! host's side is in `realm-sdk`; nothing of it is linked here.
//!
//! # From start-up to a token
//!
//! A program reads its configuration, shares a page with the host, extends a measurement, and
//! fetches an attestation token. The conduit is the SMC instruction (`smc::SmcConduit`, feature
//! `smc`); here it is a CPU of the model RMM.
//!
//! ```
//! # mod model { include!("../tests/on_model/model.rs"); }
//! # use model::run_on_model;
//! use rmi_abi::rsi::RealmConfigPage;
//! use rmi_abi::{Ipa, IpaRange};
//! use rsi::{Conduit, Granule, Measurement, Rsi};
//!
//! fn program(conduit: impl Conduit) -> Result<(), Box<dyn std::error::Error>> {
//!     let rsi = Rsi::open(conduit)?;
//!     println!("RSI {}", rsi.version());
//!
//!     // The Realm's address space: the upper half is shared with the host.
//!     let config = rsi.realm_config(&mut RealmConfigPage::zeroed())?;
//!     let page = IpaRange::with_size(Ipa::new(0x4000_9000), 0x1000)?;
//!     // SAFETY: nothing is in this page.
//!     let shared = unsafe { rsi.share(&config.space, page) }?;
//!     assert_eq!(shared.base().raw(), 0x4000_9000 | config.space.shared_bit());
//!     // … and private again.
//!     // SAFETY: nothing uses the page.
//!     unsafe { rsi.unshare(page) }?;
//!
//!     // What the program loads is measured, and a verifier finds it in the token.
//!     rsi.extend_measurement(Measurement::Extensible0, b"what was loaded")?;
//!     let challenge = [0x5a; 64]; // chosen by the verifier
//!     let mut token = rsi.attestation_token(&challenge)?;
//!     let mut bytes = vec![0; 16384];
//!     let part = token.read(&mut Granule::zeroed(), &mut bytes)?;
//!     assert!(part.is_complete);
//!     println!("a token of {} bytes", part.bytes);
//!     Ok(())
//! }
//!
//! run_on_model(|cpu| program(cpu));
//! ```
//!
//! # Addresses and buffers
//!
//! The RMM knows memory by intermediate physical addresses (IPAs). A [`Conduit`] tells the IPA of
//! an object of the program, so that what is lent for a call is an ordinary reference: a
//! [`Granule`], a page for the configuration, a block for a host call. Their types have the
//! alignment that the RMM asks for. Ranges of memory whose state changes are named by IPA, and
//! functions that take memory away are `unsafe`.
//!
//! # What fails
//!
//! [`Error`] has the command and the return code. Changes of memory can be partial;
//! [`RipasStopped`] and [`PermissionStopped`] say how far they came, and [`TokenStopped`] how much
//! of a token there is. Nothing panics, whatever the RMM answers, and every loop has a bound.
//!
//! # Versions
//!
//! RSI 1.0 is final; of 1.1 and 2.0 there are drafts, which TF-RMM implements. An RMM at the level
//! of the 2.0 betas says that it has 1.1. What a version does not have is
//! [`Error::NotSupported`], or zero in the configuration. The drafts differ in the run page of
//! planes, whose type the caller chooses ([`PlaneRunPage`]). Commands for assigned devices are not
//! here.
//!
//! # Features
//!
//! `smc`: the SMC instruction as a conduit, on aarch64. No feature is enabled by default.
#![no_std]

mod conduit;
mod config;
mod error;
mod granule;
mod host_call;
mod interface;
mod measurement;
mod permission;
mod plane;
mod psci;
pub mod rhi;
mod ripas;
mod shared;
#[cfg(all(feature = "smc", target_arch = "aarch64"))]
pub mod smc;
mod token;

pub use conduit::{Conduit, Registers};
pub use config::{IpaSpace, RealmConfig};
pub use error::{Error, OpenError};
pub use granule::Granule;
pub use interface::Rsi;
pub use measurement::Measurement;
pub use permission::{PermissionCookie, PermissionStep, PermissionStopped};
pub use plane::PlaneRunPage;
pub use psci::{CpuPower, Psci, PsciError};
pub use rhi::Rhi;
pub use ripas::{RipasRun, RipasStep, RipasStopped, WhyStopped};
pub use shared::{OutOfRange, SharedMemory};
pub use token::{AttestationToken, TokenPart, TokenStopped};
