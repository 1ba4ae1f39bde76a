//! The Realm's configuration.

use rmi_abi::realm::HashAlgorithm;
use rmi_abi::rsi::{Command, RealmConfigPage};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, IpaRange};

use crate::conduit::Conduit;
use crate::error::Error;
use crate::interface::Rsi;

/// What a Realm is told about itself.
///
/// Source: DEN0137 1.0-rel0, `RsiRealmConfig`; RSI 1.1 draft for the fields that 1.0 does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "RsiRealmConfig")]
#[non_exhaustive]
pub struct RealmConfig {
    /// The size of the IPA space: addresses in its upper half are shared with the host.
    pub space: IpaSpace,
    /// The hash algorithm of the measurements. TF-RMM (July 2026) reports SHA-384 as SHA-512.
    #[doc(alias = "hash_algo")]
    pub hash_algorithm: HashAlgorithm,
    /// Planes beside plane 0; 0 in 1.0.
    #[doc(alias = "num_aux_planes")]
    pub aux_planes: u64,
    /// `ICH_VTR_EL2`; 0 in 1.0.
    pub gicv3_vtr: u32,
    /// The plane that translates for devices; 0 in 1.0.
    pub ats_plane: u64,
    /// The Realm Personalization Value.
    #[doc(alias = "rpv")]
    pub personalization_value: [u8; 64],
}

impl RealmConfig {
    /// The configuration in a page that an RMM filled.
    ///
    /// # Errors
    ///
    /// [`Error::BadReply`] with the width of the IPA space, if that is not 32 to 52 bits.
    pub fn decode(page: &RealmConfigPage) -> Result<Self, Error> {
        let width = page.ipa_width;
        let space = u8::try_from(width).ok().and_then(IpaSpace::new);
        let Some(space) = space else {
            return Err(Error::BadReply { command: Command::RealmConfig, value: width });
        };
        Ok(Self {
            space,
            hash_algorithm: page.hash_algo.into(),
            aux_planes: page.num_aux_planes,
            gicv3_vtr: page.gicv3_vtr,
            ats_plane: page.ats_plane,
            personalization_value: page.rpv,
        })
    }
}

/// The IPA space of a Realm: the lower half is protected, and each address in it has an alias in
/// the upper half, which is shared with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpaSpace(Geometry);

impl IpaSpace {
    /// The space with so many bits, 32 to 52.
    #[must_use]
    pub const fn new(width: u8) -> Option<Self> {
        match Geometry::new(width) {
            Ok(geometry) => Some(Self(geometry)),
            Err(_) => None,
        }
    }

    /// Its width in bits.
    #[must_use]
    #[doc(alias = "ipa_width")]
    pub const fn width(&self) -> u8 {
        self.0.ipa_width()
    }

    /// The bit that is set in shared addresses: the top bit of an IPA.
    #[must_use]
    #[doc(alias = "PROT_NS_SHARED")]
    pub const fn shared_bit(&self) -> u64 {
        self.0.unprotected_base().raw()
    }

    /// Whether an address is in the protected half.
    #[must_use]
    pub const fn is_protected(&self, ipa: Ipa) -> bool {
        self.0.is_protected(ipa)
    }

    /// Whether a range is in the protected half.
    #[must_use]
    pub fn range_is_protected(&self, range: &IpaRange) -> bool {
        self.0.range_is_protected(range)
    }

    /// The shared alias of a protected address; `None` for any other.
    #[must_use]
    pub const fn shared(&self, ipa: Ipa) -> Option<Ipa> {
        self.0.unprotected_alias(ipa)
    }

    /// The shared alias of a protected range; `None` for any other.
    #[must_use]
    pub fn shared_range(&self, range: &IpaRange) -> Option<IpaRange> {
        let base = self.shared(range.base()).filter(|_| self.range_is_protected(range))?;
        IpaRange::with_size(base, range.bytes()).ok()
    }

    /// The protected address of which this is the shared alias; `None` for any other.
    #[must_use]
    pub const fn private(&self, shared: Ipa) -> Option<Ipa> {
        match self.0.is_unprotected(shared) {
            true => Some(Ipa::new(shared.raw() & !self.shared_bit())),
            false => None,
        }
    }
}

impl<C: Conduit> Rsi<C> {
    /// Reads the configuration by way of a page, which need not contain anything.
    ///
    /// Fields that the version does not have are zero: the page is cleared first, because an RMM
    /// need not write what lies between the fields.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[doc(alias = "RSI_REALM_CONFIG")]
    pub fn realm_config(&self, page: &mut RealmConfigPage) -> Result<RealmConfig, Error> {
        *page = RealmConfigPage::zeroed();
        self.fill_config(page)?;
        RealmConfig::decode(page)
    }
}
