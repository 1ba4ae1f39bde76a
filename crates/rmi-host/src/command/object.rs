//! The objects that commands operate on, apart from Realms and RECs: tokens that own the granule.
//!
//! Commands take references to them. There are no names that could be copied: one would outlive its
//! object, and then name what has its granule next.

use rmi_abi::Pa;

use crate::command::named::Named;
use crate::granules::{Delegated, InUse, Machine};

macro_rules! objects {
    ($($(#[$doc:meta])* $granule:ident, $made:literal, $released:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[must_use = "dropping it leaks the granule"]
        pub struct $granule {
            granule: InUse,
        }

        impl Named for $granule {
            fn place(&self) -> (Option<Machine>, Pa) {
                self.granule.place()
            }
        }

        impl $granule {
            #[doc = concat!("Names the object by the granule that `", $made, "` made of it.")]
            pub fn new(granule: Delegated) -> Self {
                Self { granule: granule.into_use() }
            }

            /// Address of the granule.
            #[must_use]
            pub fn pa(&self) -> Pa {
                self.granule.base()
            }

            #[doc = concat!("The granule, once `", $released, "` has released it.")]
            pub fn into_released(self) -> Delegated {
                self.granule.into_released()
            }
        }
    )*};
}
pub(super) use objects;

objects! {
    /// A physical device, represented by its granule.
    #[doc(alias = "PDEV")]
    PdevGranule, "RMI_PDEV_CREATE", "RMI_PDEV_DESTROY";
    /// A virtual device, an interface of a physical device that is assigned to a Realm, represented
    /// by its granule.
    #[doc(alias = "VDEV")]
    VdevGranule, "RMI_VDEV_CREATE", "RMI_VDEV_DESTROY";
    /// A virtual SMMU of a Realm, represented by its granule.
    #[doc(alias = "VSMMU")]
    VsmmuGranule, "RMI_VSMMU_CREATE", "RMI_VSMMU_DESTROY";
    /// Coherent memory of a device, represented by its granule.
    #[doc(alias = "CMEM")]
    CmemGranule, "RMI_CMEM_CREATE", "RMI_CMEM_DESTROY";
}
