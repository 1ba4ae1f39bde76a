//! Calls to the host.

use rmi_abi::rsi::HostCallBlock;

use crate::conduit::Conduit;
use crate::error::Error;
use crate::interface::Rsi;

impl<C: Conduit> Rsi<C> {
    /// Calls the host: it gets the immediate and the registers of the block, and may change the
    /// registers.
    ///
    /// The immediate 0 is for the Realm Host Interface ([`Rhi`](crate::Rhi)). The host sees what is
    /// in the block, and what it answers is not trusted.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[doc(alias = "RSI_HOST_CALL")]
    pub fn host_call(&self, block: &mut HostCallBlock) -> Result<(), Error> {
        self.exchange(block)
    }
}
