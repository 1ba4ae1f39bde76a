//! What a Realm asks for: changes of the RIPAS and of permissions.

use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::command::S2apProgress;
use rmi_host::{Platform, RecName};
use sro::HostMemory;

use crate::lifecycle::realm::{Active, Realm};
use crate::memory::s2ap::S2apStopped;
use crate::memory::stopped::Stopped;

/// # What the Realm asks for
impl<P: Platform> Realm<'_, P, Active> {
    /// Applies a RIPAS change that a REC asked for, from where the request stands towards the end
    /// of `range`, which may end before the request does, with at most `calls` calls to the RMM
    /// that change entries there. Returns the address up to which it is applied: before the end
    /// when the budget is spent. The REC may be answered with a part, or with nothing (its Realm
    /// asks again for the rest), or the call can be repeated from there.
    ///
    /// The Realm chooses the range: possibly all of its protected half, which is one call for each
    /// leaf table with an RMM like TF-RMM.
    ///
    /// Where another thread works on a part of the range, this waits as long as the retry budget
    /// ([`RetryBudget`](rmi_host::RetryBudget)) allows, and then has applied nothing: it returns
    /// the start of the range, and no error. No call was made.
    ///
    /// Entries that reach across the ends of the range are split first, with granules from the
    /// pool: that is at most one table for each level and end, in each tree, which `calls` does not
    /// count. Memory stays mapped, also where the RIPAS becomes EMPTY: [`Realm::reclaim`] unmaps
    /// it. In auxiliary trees it is hidden, as the RMM requires for memory that becomes EMPTY;
    /// where it becomes RAM, [`Realm::set_ripas_to`] avoids that.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_RIPAS.
    ///
    /// # Errors
    ///
    /// [`Stopped`], with the progress made: everything below `reached` has changed, and the REC may
    /// be answered with this address.
    ///
    /// A change to RAM for which the Realm did not set RSI_CHANGE_DESTROYED stops at the first
    /// entry of which the RIPAS is DESTROYED, because the host has unmapped memory that the Realm
    /// did not give up: `reached` is its base, and `error` a refusal with
    /// [`ErrorRtt`](rmi_abi::Status::ErrorRtt). Repeating it stops there again. If `reached` is
    /// above the start of the request, the request may be accepted up to there, and the Realm asks
    /// again from there. If nothing was applied, it should be rejected: a handler that accepts
    /// without progress gets the same request again, forever if the Realm never stops asking.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn set_ripas(
        &self,
        memory: &mut dyn HostMemory,
        rec: RecName,
        range: IpaRange,
        calls: u32,
    ) -> Result<Ipa, Stopped> {
        self.core.set_ripas(memory, rec, range, calls)
    }

    /// As [`Realm::set_ripas`], with the value that the REC asked for. The RMM knows it, too; the
    /// host needs it only to leave what auxiliary trees show unchanged where memory becomes RAM.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_RIPAS.
    ///
    /// # Errors
    ///
    /// As [`Realm::set_ripas`].
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn set_ripas_to(
        &self,
        memory: &mut dyn HostMemory,
        rec: RecName,
        range: IpaRange,
        ripas: Ripas,
        calls: u32,
    ) -> Result<Ipa, Stopped> {
        self.core.set_ripas_to(memory, rec, range, ripas, calls)
    }

    /// Applies a change of permissions that a REC asked for, from where the request stands towards
    /// the end of `range`, which may end before the request does, with at most `calls` calls to the
    /// RMM that change entries there. Returns the address up to which the permissions are changed,
    /// and in which tree: before the end when the budget is spent. The REC may be answered with a
    /// part (its Realm asks again for the rest), or the call can be repeated from there. The Realm
    /// chooses the range: possibly all of its protected half.
    ///
    /// Entries that reach across the ends of the range are split first, with granules from the
    /// pool: that is at most one table for each level and end, in each tree, which `calls` does not
    /// count.
    ///
    /// Where another thread works on a part of the range, this waits as long as the retry budget
    /// ([`RetryBudget`](rmi_host::RetryBudget)) allows, and then has changed nothing: it returns
    /// the start of the range, and no error. No call was made.
    ///
    /// With a tree for each plane, the Realm asks for one tree after the other, and only the RMM
    /// knows which one it is; so the ends are split in all of them.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_S2AP.
    ///
    /// # Errors
    ///
    /// [`S2apStopped`], with the progress made.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn set_s2ap(
        &self,
        memory: &mut dyn HostMemory,
        rec: RecName,
        range: IpaRange,
        calls: u32,
    ) -> Result<S2apProgress, S2apStopped> {
        self.core.set_s2ap(memory, rec, range, calls)
    }
}
