//! Planes: plane 0 runs the others. Since RSI 1.1; the drafts differ in the run page.
#![expect(unsafe_code, reason = "a plane runs code that may change any memory")]

use rmi_abi::rsi::{Command, PlaneExit, PlaneRunPage1_1, PlaneRunPage2_0, SysregAddress};

use crate::conduit::Conduit;
use crate::error::Error;
use crate::interface::{Buffer, Plain, Rsi};

mod sealed {
    pub trait Sealed {}

    impl Sealed for rmi_abi::rsi::PlaneRunPage1_1 {}
    impl Sealed for rmi_abi::rsi::PlaneRunPage2_0 {}
}

/// The run page of a plane in one of the drafts. The version word does not tell which draft an RMM
/// has: TF-RMM 0.8 has that of 1.1 ([`PlaneRunPage1_1`]), TF-RMM of July 2026 that of 2.0
/// ([`PlaneRunPage2_0`]), and both say 1.1.
#[expect(private_bounds, reason = "the trait is sealed, and buffers are a matter of the crate")]
pub trait PlaneRunPage: sealed::Sealed + Buffer {
    /// What the page says of the last exit, as far as both drafts have it.
    fn plane_exit(&self) -> PlaneExit;
}

impl PlaneRunPage for PlaneRunPage1_1 {
    fn plane_exit(&self) -> PlaneExit {
        self.exit.decode()
    }
}

impl PlaneRunPage for PlaneRunPage2_0 {
    fn plane_exit(&self) -> PlaneExit {
        self.exit.decode()
    }
}

impl<C: Conduit> Rsi<C> {
    /// Runs a plane, 1 or more, on this CPU until it exits to plane 0.
    ///
    /// `page.enter` says how, and the exit is in `page.exit`. If the plane is to continue, the
    /// caller copies registers and program counter from there.
    ///
    /// # Errors
    ///
    /// [`Error`].
    ///
    /// # Safety
    ///
    /// What the plane executes changes no memory of this program to which there are references.
    #[doc(alias = "RSI_PLANE_ENTER")]
    pub unsafe fn enter_plane<P: PlaneRunPage>(
        &self,
        plane: u64,
        page: &mut P,
    ) -> Result<PlaneExit, Error> {
        let address = self.address(Command::PlaneEnter, page)?;
        // SAFETY: the RMM reads and writes the page, which is lent; the caller answers for what the
        // plane does.
        unsafe { self.any(Command::PlaneEnter, &[plane, address]) }?;
        Ok(page.plane_exit())
    }

    /// Reads a system register of a plane, 1 or more, that does not run. Bits 127:64 are zero
    /// unless the register has them and `register` asks for 128 bits.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[doc(alias = "RSI_PLANE_SYSREG_READ")]
    pub fn plane_register(&self, plane: u64, register: SysregAddress) -> Result<u128, Error> {
        let arguments = [plane, register.0];
        let [_, low, high, ..] = self.plain(Plain::PlaneSysregRead, &arguments)?;
        Ok(u128::from(high) << 64 | u128::from(low))
    }

    /// Writes a system register of a plane, 1 or more, that does not run. Bits 127:64 are used only
    /// if `register` asks for 128 bits.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[doc(alias = "RSI_PLANE_SYSREG_WRITE")]
    pub fn set_plane_register(
        &self,
        plane: u64,
        register: SysregAddress,
        value: u128,
    ) -> Result<(), Error> {
        let [low, high] = halves(value);
        self.plain(Plain::PlaneSysregWrite, &[plane, register.0, low, high]).map(|_| ())
    }
}

/// Bits 63:0, and bits 127:64.
fn halves(value: u128) -> [u64; 2] {
    let (mut low, mut high) = ([0; 8], [0; 8]);
    for (to, from) in low.iter_mut().chain(&mut high).zip(value.to_le_bytes()) {
        *to = from;
    }
    [u64::from_le_bytes(low), u64::from_le_bytes(high)]
}
