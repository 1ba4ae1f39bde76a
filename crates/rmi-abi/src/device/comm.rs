//! Communication between the RMM and a device, through the host.

use num_enum::{FromPrimitive, IntoPrimitive};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::dialect::DialectSet;
use crate::layout::layout;

use DialectSet as D;

/// What the host reports with `RMI_PDEV_COMMUNICATE` and `RMI_VDEV_COMMUNICATE`.
///
/// Source: DEN0137 2.0-bet3, `RmiDevCommStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiDevCommStatus")]
#[non_exhaustive]
pub enum DevCommStatus {
    /// Nothing: the first call.
    #[doc(alias = "NONE")]
    None = 0,
    /// The device has answered.
    #[doc(alias = "RESPONSE")]
    Response = 1,
    /// The device has not answered.
    #[doc(alias = "ERROR")]
    Error = 2,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// Which object of a device the host is to cache.
///
/// Source: DEN0137 2.0-bet3, `RmiDevCommObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiDevCommObject")]
#[non_exhaustive]
pub enum DevCommObject {
    /// Version, capabilities and algorithms; 2.0-bet0 calls it negotiation.
    #[doc(alias = "VCA")]
    #[doc(alias = "NEGOTIATION")]
    Vca = 0,
    /// The certificate chain; 2.0-bet0 calls it identity.
    #[doc(alias = "CERTIFICATE")]
    #[doc(alias = "IDENTITY")]
    Certificate = 1,
    /// The measurements.
    #[doc(alias = "MEASUREMENTS")]
    Measurements = 2,
    /// The interface report.
    #[doc(alias = "INTERFACE_REPORT")]
    InterfaceReport = 3,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// How a request is to be sent.
///
/// Source: DEN0137 2.0-bet3, `RmiDevCommProtocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiDevCommProtocol")]
#[non_exhaustive]
pub enum DevCommProtocol {
    /// As plain SPDM.
    #[doc(alias = "SPDM")]
    Spdm = 0,
    /// As secured SPDM.
    #[doc(alias = "SECURE_SPDM")]
    SecureSpdm = 1,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

bitflags::bitflags! {
    /// What the host has to do next.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiDevCommExitFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiDevCommExitFlags")]
    pub struct DevCommExitFlags: u64 {
        /// Cache a part of the request.
        #[doc(alias = "req_cache")]
        const REQ_CACHE = 1 << 0;
        /// Cache a part of the response.
        #[doc(alias = "rsp_cache")]
        const RSP_CACHE = 1 << 1;
        /// Send the request.
        #[doc(alias = "req_send")]
        const REQ_SEND = 1 << 2;
        /// Wait for a response.
        #[doc(alias = "rsp_wait")]
        const RSP_WAIT = 1 << 3;
        /// Restart the response buffer at its beginning.
        #[doc(alias = "rsp_reset")]
        const RSP_RESET = 1 << 4;
        /// More exchanges will follow.
        #[doc(alias = "multi")]
        const MULTI = 1 << 5;
        /// Continue with the other device of the stream.
        #[doc(alias = "stream_wait")]
        const STREAM_WAIT = 1 << 6;
        const _ = !0;
    }
}

layout! {
    /// The host's half of the communication page, 256 bytes, at offset 0 of it.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiDevCommEnter`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiDevCommEnter")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct DevCommEnter {
        pub status: u8,
        _sbz0: [u8; 7],
        pub req_addr: u64,
        pub rsp_addr: u64,
        pub rsp_len: u64,
        _sbz1: [u8; 0x100 - 0x020],
    }

    DialectSet = "RmiDevCommEnter", 0x100 bytes, aligned to 8, in D::EVERY_2_0, unsure in D::NONE;
    0x000, 1, status, D::EVERY_2_0, "[`DevCommStatus`]";
    0x008, 8, req_addr, D::EVERY_2_0, "PA of the request buffer";
    0x010, 8, rsp_addr, D::EVERY_2_0, "PA of the response buffer";
    0x018, 8, rsp_len, D::EVERY_2_0, "bytes of the response";
}

layout! {
    /// The RMM's half of the communication page, 256 bytes, at offset 0x800 of it.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiDevCommExit`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiDevCommExit")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct DevCommExit {
        pub flags: u64,
        pub req_cache_offset: u64,
        pub req_cache_len: u64,
        pub rsp_cache_offset: u64,
        pub rsp_cache_len: u64,
        pub object_id: u8,
        _unread0: [u8; 7],
        pub protocol: u8,
        _unread1: [u8; 7],
        pub req_delay: u64,
        pub req_len: u64,
        pub rsp_timeout: u64,
        _unread2: [u8; 0x100 - 0x050],
    }

    DialectSet = "RmiDevCommExit", 0x100 bytes, aligned to 8, in D::EVERY_2_0, unsure in D::NONE;
    0x000, 8, flags, D::EVERY_2_0, "[`DevCommExitFlags`]";
    0x008, 8, req_cache_offset, D::EVERY_2_0, "bytes into the request";
    0x010, 8, req_cache_len, D::EVERY_2_0, "bytes";
    0x018, 8, rsp_cache_offset, D::EVERY_2_0, "bytes into the response";
    0x020, 8, rsp_cache_len, D::EVERY_2_0, "bytes";
    0x028, 1, object_id, D::EVERY_2_0, "[`DevCommObject`]";
    0x030, 1, protocol, D::EVERY_2_0, "[`DevCommProtocol`]";
    0x038, 8, req_delay, D::EVERY_2_0,
        "microseconds to wait before sending; TF-RMM writes one byte";
    0x040, 8, req_len, D::EVERY_2_0, "bytes of the request";
    0x048, 8, rsp_timeout, D::EVERY_2_0,
        "microseconds (2.0-bet0 text) or milliseconds (TF-RMM) to wait for a response";
}

layout! {
    /// The communication page, 4 KiB, shared by host and RMM.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiDevCommData`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiDevCommData")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct DevCommDataPage {
        pub enter: DevCommEnter,
        _sbz0: [u8; 0x800 - 0x100],
        pub exit: DevCommExit,
        _sbz1: [u8; 0x1000 - 0x900],
    }

    DialectSet = "RmiDevCommData", 0x1000 bytes, aligned to 0x1000,
    in D::EVERY_2_0, unsure in D::NONE;
    0x000, 256, enter, D::EVERY_2_0, "the host's half";
    0x800, 256, exit, D::EVERY_2_0, "the RMM's half";
}
