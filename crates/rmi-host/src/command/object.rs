//! The objects that commands operate on, apart from Realms and RECs: a token that owns the granule,
//! and a name that owns nothing.

use rmi_abi::Pa;

use crate::command::named::Named;
use crate::granules::{Delegated, InUse, Machine};

macro_rules! objects {
    ($($(#[$doc:meta])* $granule:ident, $(#[$name_doc:meta])* $name:ident, $made:literal, $released:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[must_use = "dropping it leaks the granule"]
        pub struct $granule {
            granule: InUse,
        }

        $(#[$name_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name {
            pa: Pa,
            machine: Option<Machine>,
        }

        impl Named for $granule {
            fn place(&self) -> (Option<Machine>, Pa) {
                self.granule.place()
            }
        }

        impl Named for $name {
            fn place(&self) -> (Option<Machine>, Pa) {
                (self.machine, self.pa)
            }
        }

        impl $granule {
            #[doc = concat!("Names the object by the granule that `", $made, "` made of it.")]
            pub fn new(granule: Delegated) -> Self {
                Self { granule: granule.into_use() }
            }

            /// The object's name.
            #[must_use]
            pub fn name(&self) -> $name {
                $name { pa: self.pa(), machine: self.granule.place().0 }
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

        impl $name {
            /// Address of the object's granule.
            #[must_use]
            pub const fn pa(self) -> Pa {
                self.pa
            }
        }
    )*};
}
pub(super) use objects;

objects! {
    /// A physical device, represented by its granule.
    #[doc(alias = "PDEV")]
    PdevGranule,
    /// The name of a physical device, by which other commands refer to it. It owns nothing.
    PdevName, "RMI_PDEV_CREATE", "RMI_PDEV_DESTROY";
    /// A virtual device, an interface of a physical device that is assigned to a Realm, represented
    /// by its granule.
    #[doc(alias = "VDEV")]
    VdevGranule,
    /// The name of a virtual device, by which other commands refer to it. It owns nothing.
    VdevName, "RMI_VDEV_CREATE", "RMI_VDEV_DESTROY";
    /// A virtual SMMU of a Realm, represented by its granule.
    #[doc(alias = "VSMMU")]
    VsmmuGranule,
    /// The name of a virtual SMMU, by which other commands refer to it. It owns nothing.
    VsmmuName, "RMI_VSMMU_CREATE", "RMI_VSMMU_DESTROY";
    /// Coherent memory of a device, represented by its granule.
    #[doc(alias = "CMEM")]
    CmemGranule,
    /// The name of coherent memory, by which other commands refer to it. It owns nothing.
    CmemName, "RMI_CMEM_CREATE", "RMI_CMEM_DESTROY";
}
