// Links of the README to files of the project lead to their pages here.
//! [ARCHITECTURE.md]: crate::project::architecture
//! [CHANGELOG.md]: crate::project::changelog
//! [CONTRIBUTING.md]: crate::project::contributing
//! [SECURITY.md]: crate::project::security
//! [Apache License 2.0]: https://www.apache.org/licenses/LICENSE-2.0
//! [MIT]: https://opensource.org/license/mit
//!
#![doc = include_str!("../README.md")]
//!
//! # A guided tour
//!
//! Read the crates in the order in which a Realm meets them:
//!
//! 1. [`host`]: bring a [`Platform`](host::Platform) (a conduit to the RMM, access to your memory, a ledger, a quarantine) and open a session:
//!    [`open`](sro::open) finds the RMM and its dialect, configures it and activates it: a [`Session`](sro::Session), which derefs to [`Rmm`](host::Rmm). [`Session::close`](sro::Session::close) ends it. Host memory is an
//!    [`Undelegated`](host::Undelegated) token; [`delegate`](host::Rmm::delegate) makes it [`Delegated`](host::Delegated), and only
//!    [`undelegate`](host::Rmm::undelegate) makes it yours again.
//! 2. [`sro`]: commands that need memory get it from a [`Pool`](sro::Pool) that you filled. [`drive`](sro::drive()) runs such an operation to its end;
//!    [`Operation`](sro::Operation) lets you take the steps yourself.
//! 3. [`builder`]: a [`RealmConfig`](builder::RealmConfig) becomes a [`Realm`](builder::Realm), which you [`populate`](builder::Realm::populate), give RECs
//!    ([`create_rec`](builder::Realm::create_rec)) and [`activate`](builder::Realm::activate). [`tear_down`](builder::Realm::tear_down) ends it from any state.
//! 4. [`rec`]: a [`Rec`](rec::Rec) is entered and comes back with an [`Exit`](rec::Exit), from which you make the [`Answer`](rec::Answer) for the next entry; or let [`Rec::run`](rec::Rec::run)
//!    loop with your [`Handler`](rec::Handler).
//! 5. [`vgic`]: [`InterfaceState`](vgic::InterfaceState) holds the virtual CPU interface of a REC, with its interrupts, between runs.
//! 6. [`abi`]: the words of the interface, whenever you need one; [`abi::command`] is the reference of all commands.
#![no_std]
#![forbid(unsafe_code)]

#[doc(inline)]
pub use realm_builder as builder;
#[doc(inline)]
pub use rec_runtime as rec;
#[doc(inline)]
pub use rmi_abi as abi;
#[doc(inline)]
pub use rmi_host as host;
#[doc(inline)]
pub use sro;
#[doc(inline)]
pub use vgic_realm as vgic;

/// The project's pages, as far as they are in its repository beside the README.
#[cfg(doc)]
pub mod project {
    /// What the crates are, what flows between them, and the decisions behind them.
    ///
    pub mod architecture {
        #![doc = include_str!("../ARCHITECTURE.md")]
    }

    /// What has changed.
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

    /// Who is trusted with what, and how to report a vulnerability.
    ///
    pub mod security {
        #![doc = include_str!("../SECURITY.md")]
    }
}
