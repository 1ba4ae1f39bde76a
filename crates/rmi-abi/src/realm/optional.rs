//! The parameters of a Realm that not every dialect has.

use core::fmt;

use super::RealmParams;
use crate::address::Pa;
use crate::dialect::{Dialect, DialectSet};

use DialectSet as D;

macro_rules! optional {
    ($($variant:ident = $field:ident, $set:expr, |$params:ident| $is_set:expr;)+) => {
        /// A parameter of a Realm that not every dialect has, displayed as the name of its field in
        /// [`RealmParams`].
        ///
        /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRealmParams`, `RmiRealmFlags0` and
        /// `RmiRealmFlags1`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum OptionalParameter {
            $(
                #[doc = concat!("[`RealmParams::", stringify!($field), "`].")]
                $variant,
            )+
        }

        impl OptionalParameter {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The field's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($field),)+
                }
            }

            /// The dialects that have it.
            #[must_use]
            pub const fn dialects(self) -> DialectSet {
                match self {
                    $(Self::$variant => $set,)+
                }
            }

            /// Whether these parameters need a dialect that has it: its value is not the one that
            /// it has where it does not exist.
            #[must_use]
            pub fn is_set(self, params: &RealmParams) -> bool {
                match self {
                    $(Self::$variant => {
                        let $params = params;
                        $is_set
                    })+
                }
            }
        }
    };
}

optional! {
    Vmid = vmid, D::V1_0, |params| params.vmid != 0;
    NumAuxPlanes = num_aux_planes, D::EVERY_2_0, |params| params.num_aux_planes != 0;
    TreePerPlane = tree_per_plane, D::EVERY_2_0, |params| params.tree_per_plane;
    S2apIndirect = s2ap_indirect, D::EVERY_2_0, |params| params.s2ap_indirect;
    Ats = ats, D::BET0, |params| params.ats;
    AtsPlane = ats_plane, D::EVERY_2_0, |params| params.ats_plane != 0;
    AuxRttBase = aux_rtt_base, D::EVERY_2_0, |params| params.aux_rtt_base != [Pa::new(0); 3];
    MaxNumVdevs = max_num_vdevs, D::BET3, |params| params.max_num_vdevs != 0;
    DeviceAssignment = device_assignment, D::EVERY_2_0, |params| params.device_assignment;
    LiveActivation = live_activation, D::EVERY_2_0, |params| params.live_activation;
    PrivateMec = private_mec, D::EVERY_2_0, |params| params.private_mec;
}

impl OptionalParameter {
    /// Whether `dialect` has it.
    #[must_use]
    pub const fn exists_in(self, dialect: Dialect) -> bool {
        self.dialects().contains(dialect)
    }
}

impl fmt::Display for OptionalParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
