//! Requests about virtual devices: which one an identifier names, mapping its memory, binding two.

use rmi_abi::run::RecEnterFlags;
use rmi_abi::{Command, Ipa, IpaRange, Pa, PaRange};
use rmi_host::command::VdevGranule;
use rmi_host::{Error, Failed, Platform, Rmm, Subject};
use sro::Awaiting;

use crate::answer::{Answer, Ticket};
use crate::rec::Rec;
use crate::timer::InterruptLines;

/// The RMM asks which virtual device has an identifier, because the Realm made a call about it (2.0
/// before bet3).
///
/// The host looks the identifier up among the devices of the Realm, and names the device to the
/// RMM. If it names none, the Realm's call fails with `RSI_ERROR_INPUT`.
///
/// Source: DEN0137 2.0-bet1, RMI_VDEV_COMPLETE; TF-RMM (July 2026), `complete_vdev_id_mapping`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "name the device or reject the request; the REC cannot be entered before"]
#[doc(alias = "VDEV_REQUEST")]
pub struct VdevRequest {
    pub(crate) ticket: Ticket,
    pub(crate) vdev_id: u64,
    pub(crate) lines: InterruptLines,
}

impl VdevRequest {
    /// The identifier of the device, as the Realm names it: untrusted.
    #[must_use]
    pub const fn vdev_id(&self) -> u64 {
        self.vdev_id
    }

    /// Names the device: `RMI_VDEV_COMPLETE`. `rec` is the REC that made the request.
    ///
    /// The next entry may exit again before the REC runs: with an [`Exit::Fault`] where the Realm's
    /// buffer is not mapped, or with an [`Exit::VdevMapping`].
    ///
    /// Source: DEN0137 2.0-bet1, RMI_VDEV_COMPLETE.
    ///
    /// # Errors
    ///
    /// The request is returned when the RMM refuses:
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when the device has another identifier or
    /// belongs to another Realm, [`ErrorDevice`](rmi_abi::Status::ErrorDevice) while it
    /// communicates: then it can be tried again. With [`Error::Argument`], before any call, unless
    /// `rec` waits for the answer to this request.
    ///
    /// [`Exit::Fault`]: super::Exit::Fault
    /// [`Exit::VdevMapping`]: super::Exit::VdevMapping
    pub fn accept<P: Platform>(
        self,
        rmm: &Rmm<P>,
        rec: &Rec,
        vdev: &VdevGranule,
    ) -> Result<Answer, Failed<Self>> {
        // The number of an exit is never used twice, so this is the REC that made the request.
        if rec.awaiting() != Awaiting::Answer(self.ticket.exit) {
            let what = "the REC does not wait for the answer to this request";
            let subject = Subject::Pa(rec.name().pa());
            return Err(Failed::new(self, Error::argument(Command::VdevComplete, what, subject)));
        }
        match rmm.commands().vdev_complete(rec.name(), vdev) {
            Ok(()) => Ok(self.completed()),
            Err(error) => Err(Failed::new(self, error)),
        }
    }

    /// Marks the request as completed by other means, so that the REC may be entered.
    pub const fn completed(self) -> Answer {
        Answer::before_running(self.ticket, self.lines)
    }

    /// Names no device: the Realm's call fails.
    pub const fn reject(self) -> Answer {
        Answer::plain(self.ticket)
    }
}

/// The Realm asks to map memory of a device into a range of its address space (2.0), which it knows
/// from the device's own report.
///
/// Between the exit and the next entry the host maps and validates as much of it as it chooses,
/// from the start. What the Realm then sees as the result of its `RSI_VDEV_VALIDATE_MAPPING`
/// (`next` is where the validated part ends):
///
/// | Validated | The answer | X1 | X2 | What it means to the Realm |
/// |---|---|---|---|---|
/// | all | either | the end | as answered | done |
/// | a part, or nothing | `accept` | `next` | ACCEPT | it asks again from `next` |
/// | a part, or nothing | `reject` | `next` | REJECT | the rest is refused |
///
/// Everything here is the Realm's claim. The host checks that the range is protected, that the
/// physical addresses are the device's, and that the device is the Realm's.
///
/// Source: DEN0137 2.0-bet3, "REC exit due to device memory mapping"; TF-RMM (July 2026),
/// `complete_dev_mem_mapping`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "accept or reject the mapping; the REC cannot be entered before"]
#[doc(alias = "VDEV_VALIDATE_MAPPING")]
#[doc(alias = "DEV_MEM_MAP")]
pub struct VdevMapping {
    pub(crate) ticket: Ticket,
    pub(crate) vdev_id: u64,
    pub(crate) range: IpaRange,
    pub(crate) pa: Pa,
}

impl VdevMapping {
    /// The identifier of the device, as the Realm names it: untrusted.
    #[must_use]
    pub const fn vdev_id(&self) -> u64 {
        self.vdev_id
    }

    /// The range of the Realm's addresses. Empty, so that nothing can be mapped, if what the RMM
    /// reported is not a range.
    #[must_use]
    pub const fn range(&self) -> IpaRange {
        self.range
    }

    /// The device memory that the Realm expects at the base of [`VdevMapping::range`].
    #[must_use]
    pub const fn pa(&self) -> Pa {
        self.pa
    }

    /// The device memory that the Realm expects in all of [`VdevMapping::range`]; `None` if that is
    /// no range of physical memory.
    #[must_use]
    pub fn memory(&self) -> Option<PaRange> {
        PaRange::with_size(self.pa, self.range.bytes()).ok()
    }

    /// Answers with what was validated: all, a part or nothing. The Realm may ask for the rest
    /// again.
    pub const fn accept(self) -> Answer {
        Answer::plain(self.ticket)
    }

    /// Refuses what was not validated; what was validated stays so.
    pub const fn reject(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::DEV_MEM_REJECT)
    }

    pub(crate) fn new(ticket: Ticket, vdev_id: u64, (base, top): (u64, u64), pa: u64) -> Self {
        let range = IpaRange::new_or_empty(Ipa::new(base), Ipa::new(top));
        Self { ticket, vdev_id, range, pa: Pa::new(pa) }
    }
}

/// The Realm asks to bind two of its virtual devices for peer to peer traffic (2.0-bet0; TF-RMM of
/// July 2026 has a code for it that it never reports).
///
/// The host binds them
/// ([`vdev_p2p_bind`](rmi_host::Channel::vdev_p2p_bind)) or does not. The conditions under which
/// the Realm's call succeeds are not public.
///
/// Source: DEN0137 2.0-bet0, RMI_VDEV_P2P_BIND.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "bind the devices or reject the request; the REC cannot be entered before"]
#[doc(alias = "VDEV_P2P_BINDING")]
pub struct P2pBinding {
    pub(crate) ticket: Ticket,
    pub(crate) vdev_ids: [u64; 2],
}

impl P2pBinding {
    /// The identifiers of the two devices, as the Realm names them: untrusted.
    #[must_use]
    pub const fn vdev_ids(&self) -> [u64; 2] {
        self.vdev_ids
    }

    /// Marks the devices as bound.
    pub const fn completed(self) -> Answer {
        Answer::plain(self.ticket)
    }

    /// Binds nothing.
    pub const fn reject(self) -> Answer {
        Answer::plain(self.ticket)
    }
}
