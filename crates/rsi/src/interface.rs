//! The interface: its version, and the calls that all other modules make.
//!
//! What names no memory, and what names a buffer that is lent for the call, is safe to call here;
//! all else is `unsafe`.
#![expect(unsafe_code, reason = "the call of a conduit is an unsafe method")]

use core::ptr;

use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::rsi::{
    Command, FeatureRegister0, HostCallBlock, PlaneRunPage1_1, PlaneRunPage2_0, RealmConfigPage,
    ReturnCode,
};

use crate::conduit::{Conduit, Registers};
use crate::error::{Error, OpenError};
use crate::granule::Granule;

/// The Realm Services Interface of the RMM that this program runs under.
///
/// It is made once and used by all CPUs: it has no state beside the version. All methods may be
/// called with interrupts on or off, and take no lock.
#[derive(Clone, Copy, Debug)]
pub struct Rsi<C> {
    conduit: C,
    version: InterfaceVersion,
}

/// Commands whose registers name no memory that the RMM writes or takes away.
#[derive(Clone, Copy)]
pub(crate) enum Plain {
    Version,
    Features,
    MeasurementRead,
    MeasurementExtend,
    TokenInit,
    IpaStateGet,
    MemGetPermValue,
    MemSetPermValue,
    MemSetPermIndex,
    PlaneSysregRead,
    PlaneSysregWrite,
}

impl Plain {
    const fn command(self) -> Command {
        match self {
            Self::Version => Command::Version,
            Self::Features => Command::Features,
            Self::MeasurementRead => Command::MeasurementRead,
            Self::MeasurementExtend => Command::MeasurementExtend,
            Self::TokenInit => Command::AttestationTokenInit,
            Self::IpaStateGet => Command::IpaStateGet,
            Self::MemGetPermValue => Command::MemGetPermValue,
            Self::MemSetPermValue => Command::MemSetPermValue,
            Self::MemSetPermIndex => Command::MemSetPermIndex,
            Self::PlaneSysregRead => Command::PlaneSysregRead,
            Self::PlaneSysregWrite => Command::PlaneSysregWrite,
        }
    }
}

/// A type of which one object lies in one granule, and for which any content is valid.
pub(crate) trait Buffer {
    /// The alignment that the RMM asks for, at least the size of the object.
    const ALIGNMENT: u64;
}

macro_rules! buffers {
    ($($type:ty),*) => {$(
        const _: () = assert!(
            align_of::<$type>() == size_of::<$type>() && size_of::<$type>() <= 0x1000
        );

        impl Buffer for $type {
            const ALIGNMENT: u64 = align_of::<$type>() as u64;
        }
    )*};
}

buffers!(Granule, RealmConfigPage, HostCallBlock, PlaneRunPage1_1, PlaneRunPage2_0);

impl<C: Conduit> Rsi<C> {
    /// The versions of the interface that this crate speaks, newest first.
    ///
    /// An RMM at the level of the 2.0 betas says that it has 1.1: the version word of 2.0 is not
    /// decided.
    pub const VERSIONS: [InterfaceVersion; 2] =
        [InterfaceVersion::new(1, 1), InterfaceVersion::new(1, 0)];

    /// Agrees with the RMM on the newest version that both have, by at most two calls.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; [`OpenError::NotARealm`] where nothing answers `RSI_VERSION`.
    #[doc(alias = "RSI_VERSION")]
    pub fn open(conduit: C) -> Result<Self, OpenError> {
        let mut rsi = Self { conduit, version: InterfaceVersion::new(0, 0) };
        let mut named = (rsi.version, rsi.version);
        for wanted in Self::VERSIONS {
            // The versions are valid in every case.
            let [x0, lower, higher, ..] = rsi.registers(Plain::Version, &[wanted.0]);
            named = (InterfaceVersion(lower), InterfaceVersion(higher));
            match ReturnCode::from(x0) {
                ReturnCode::Success if named.0 == wanted => {
                    rsi.version = wanted;
                    return Ok(rsi);
                }
                ReturnCode::Success => {
                    return Err(Error::BadReply { command: Command::Version, value: lower }.into());
                }
                ReturnCode::ErrorInput => {}
                ReturnCode::NOT_SUPPORTED => return Err(OpenError::NotARealm),
                status => return Err(Error::Refused { command: Command::Version, status }.into()),
            }
        }
        Err(OpenError::Version { lower: named.0, higher: named.1 })
    }

    /// The version that both sides speak.
    #[must_use]
    pub const fn version(&self) -> InterfaceVersion {
        self.version
    }

    /// The conduit.
    #[must_use]
    pub const fn conduit(&self) -> &C {
        &self.conduit
    }

    /// Reads feature register 0, which is zero in 1.0.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[doc(alias = "RSI_FEATURES")]
    pub fn features(&self) -> Result<FeatureRegister0, Error> {
        self.feature_register(0).map(FeatureRegister0::from_bits_retain)
    }

    /// Reads any feature register; those that do not exist are zero.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[doc(alias = "RSI_FEATURES")]
    pub fn feature_register(&self, index: u64) -> Result<u64, Error> {
        let [_, value, ..] = self.plain(Plain::Features, &[index])?;
        Ok(value)
    }

    /// Makes a call that names no memory, and returns all registers.
    fn registers(&self, command: Plain, arguments: &[u64]) -> Registers {
        // SAFETY: the registers of these commands name no memory that the RMM writes or takes away.
        unsafe { self.conduit.call(arrange(command.command(), arguments)) }
    }

    /// Makes a call that names no memory; all registers after success.
    pub(crate) fn plain(&self, command: Plain, arguments: &[u64]) -> Result<Registers, Error> {
        success(command.command(), self.registers(command, arguments))
    }

    /// Makes any call; all registers after success.
    ///
    /// # Safety
    ///
    /// That of [`Conduit::call`].
    pub(crate) unsafe fn any(
        &self,
        command: Command,
        arguments: &[u64],
    ) -> Result<Registers, Error> {
        // SAFETY: the caller's promise is passed on unchanged.
        success(command, unsafe { self.conduit.call(arrange(command, arguments)) })
    }

    /// The IPA of a buffer, for one of the calls.
    pub(crate) fn address<B: Buffer>(
        &self,
        command: Command,
        buffer: &mut B,
    ) -> Result<u64, Error> {
        let ipa = self.conduit.ipa(ptr::from_mut(buffer).cast());
        match ipa.filter(|ipa| ipa.is_aligned(B::ALIGNMENT)) {
            Some(ipa) => Ok(ipa.raw()),
            None => Err(Error::Buffer { command }),
        }
    }

    /// `RSI_REALM_CONFIG`
    pub(crate) fn fill_config(&self, page: &mut RealmConfigPage) -> Result<(), Error> {
        let address = self.address(Command::RealmConfig, page)?;
        // SAFETY: the RMM writes to the page, which is lent for the call.
        unsafe { self.any(Command::RealmConfig, &[address]) }.map(|_| ())
    }

    /// `RSI_HOST_CALL`
    pub(crate) fn exchange(&self, block: &mut HostCallBlock) -> Result<(), Error> {
        let address = self.address(Command::HostCall, block)?;
        // SAFETY: the RMM reads and writes the block, which is lent for the call. What a host does
        // it may do without the call, too: it has no access to private memory.
        unsafe { self.any(Command::HostCall, &[address]) }.map(|_| ())
    }

    /// `RSI_ATTESTATION_TOKEN_CONTINUE` into the first `size` bytes of a granule: X0 to X17.
    pub(crate) fn continue_token(
        &self,
        granule: &mut Granule,
        size: u64,
    ) -> Result<Registers, Error> {
        let command = Command::AttestationTokenContinue;
        let address = self.address(command, granule)?;
        // SAFETY: the RMM writes to the granule only, which is lent for the call.
        Ok(unsafe { self.conduit.call(arrange(command, &[address, 0, size])) })
    }
}

/// The registers of a call; arguments from X1 on.
fn arrange(command: Command, arguments: &[u64]) -> Registers {
    let mut registers = [0; 18];
    let [x0, rest @ ..] = &mut registers;
    *x0 = command.form().fid().0.into();
    for (to, from) in rest.iter_mut().zip(arguments) {
        *to = *from;
    }
    registers
}

/// The registers, if X0 says that the call succeeded.
pub(crate) fn success(command: Command, registers: Registers) -> Result<Registers, Error> {
    let [x0, ..] = registers;
    match ReturnCode::from(x0) {
        ReturnCode::Success => Ok(registers),
        ReturnCode::NOT_SUPPORTED => Err(Error::NotSupported { command }),
        status => Err(Error::Refused { command, status }),
    }
}
