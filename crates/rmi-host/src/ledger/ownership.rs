//! Who owns which range, and whether the records agree.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Command, Pa, PaRange};

use super::{LedgerEvent, QuarantineReason};

/// The owner of a range that is not plain host memory, and what is known about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holding {
    /// The RMM's: in no object, or part of an object that was created without donations (RD, table,
    /// DATA).
    Delegated,
    /// The RMM's, inside the object or operation that a command started.
    Donated {
        /// The command.
        command: Command,
    },
    /// The RMM's, in quarantine for another attempt to return it.
    Quarantined {
        /// The reason.
        reason: QuarantineReason,
    },
    /// The RMM's, without a token: it is not returned.
    Leaked,
    /// The host's, without a token.
    Untracked,
    /// The host's, without a token, and a Realm that it was shared with may still access it.
    Exposed,
}

impl Holding {
    /// Whether the host must not touch such memory.
    #[must_use]
    pub const fn is_rmm_owned(&self) -> bool {
        !matches!(self, Self::Untracked | Self::Exposed)
    }

    /// Whether nothing may use such memory: it is the RMM's, or a Realm may write to it.
    #[must_use]
    pub const fn is_in_use(&self) -> bool {
        !matches!(self, Self::Untracked)
    }
}

/// The memory that one command was given, and what happened to it, in granules of 4 KiB.
///
/// Memory is donated to the commands that create objects and reclaimed from those that destroy
/// them; it is recorded for the command that it was donated to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Donations {
    /// Donated since the start.
    pub donated: u64,
    /// Taken back by `RMI_OP_MEM_RECLAIM`.
    pub reclaimed: u64,
    /// Taken back otherwise: returned, quarantined or leaked without having been reclaimed.
    pub recovered: u64,
}

impl Donations {
    /// Granules that the command's objects and operations have now.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.donated.saturating_sub(self.reclaimed).saturating_sub(self.recovered)
    }

    /// Whether exactly what was donated has been reclaimed.
    #[must_use]
    pub const fn is_even(&self) -> bool {
        self.donated == self.reclaimed
    }
}

/// An event that cannot be true if those before it are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The event.
    pub event: LedgerEvent,
    /// The part of its range for which the records differ.
    pub range: PaRange,
    /// The holding recorded before; `None` for host memory.
    pub found: Option<Holding>,
}

/// Why the records do not balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Imbalance {
    /// An event contradicts those before it.
    #[non_exhaustive]
    Contradicted {
        /// The first.
        first: Contradiction,
        /// The number of such events.
        count: u64,
    },
    /// Delegated less returned is not what the map holds, in granules of 4 KiB.
    #[non_exhaustive]
    Total {
        /// Delegated less returned.
        expected: u64,
        /// In the map.
        found: u64,
    },
    /// What a command was given less what came back is not what the map holds for it, in granules
    /// of 4 KiB.
    #[non_exhaustive]
    Donated {
        /// The command.
        command: Command,
        /// Donated less reclaimed and recovered.
        expected: u64,
        /// In the map.
        found: u64,
    },
    /// Operations were dropped unfinished: what they hold is lost.
    #[non_exhaustive]
    Dropped {
        /// The number of operations.
        operations: u64,
    },
    /// The records agree, and this range, the first such, is not the host's.
    #[non_exhaustive]
    Held {
        /// The range.
        range: PaRange,
        /// Its holding.
        holding: Holding,
    },
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradicted { first: Contradiction { event, range, found }, count } => {
                write!(
                    f,
                    "{count} events contradict the ledger, first {event:?} of {range}, which was "
                )?;
                match found {
                    Some(holding) => write!(f, "{holding}"),
                    None => f.write_str("the host's"),
                }
            }
            Self::Total { expected, found } => {
                write!(f, "{expected} granules should be the RMM's, the map holds {found}")
            }
            Self::Donated { command, expected, found } => {
                write!(
                    f,
                    "{command} should hold {expected} donated granules, the map holds {found}"
                )
            }
            Self::Dropped { operations } => {
                write!(f, "{operations} operations were dropped unfinished")
            }
            Self::Held { range, holding } => write!(f, "{range} is still {holding}"),
        }
    }
}

impl core::error::Error for Imbalance {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    top: Pa,
    holding: Holding,
}

/// The owner of every range that is not plain host memory, derived from [`LedgerEvent`]s. Adjacent
/// memory with the same holding is one range.
///
/// An event is always accepted, because it comes from the code that made the call; one that
/// contradicts the records is kept, and the records then never balance again.
///
/// Its text, by [`Display`](fmt::Display) and [`FromStr`](core::str::FromStr), is described in
/// [`super`](crate::ledger#the-text-of-a-map).
///
/// The next kernel reads which memory it must not touch:
///
/// ```
/// use rmi_abi::Pa;
/// use rmi_host::ledger::{Holding, Ownership};
///
/// let text = "\
/// rmi-ownership 1
/// 0x80000000 0x80010000 delegated
/// 0x80010000 0x80020000 donated RMI_REC_CREATE
/// end 2
/// ";
/// let map: Ownership = text.parse()?;
/// assert_eq!(map.rmm_owned_bytes(), 0x20_000);
/// assert_eq!(map.holding(Pa::new(0x8000_4000)), Some(Holding::Delegated));
/// assert_eq!(map.holding(Pa::new(0x8002_0000)), None); // the host's
/// assert_eq!(map.to_string(), text);
///
/// // A truncated text is not a map.
/// let cut = text.trim_end_matches("end 2\n").parse::<Ownership>();
/// assert!(cut.is_err());
/// # Ok::<(), rmi_host::ledger::OwnershipError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    extents: BTreeMap<Pa, Extent>,
    donations: BTreeMap<Command, Donations>,
    delegated: u64,
    returned: u64,
    dropped: u64,
    contradictions: Option<(Contradiction, u64)>,
}

impl Ownership {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            extents: BTreeMap::new(),
            donations: BTreeMap::new(),
            delegated: 0,
            returned: 0,
            dropped: 0,
            contradictions: None,
        }
    }

    /// Adds a range, not empty and not in the map yet, that was held before the first event.
    pub(super) fn begin_with(&mut self, range: PaRange, holding: Holding) {
        let granules = granules(range);
        if holding.is_rmm_owned() {
            self.delegated = self.delegated.saturating_add(granules);
        }
        if let Holding::Donated { command } = holding {
            let donations = self.donations.entry(command).or_default();
            donations.donated = donations.donated.saturating_add(granules);
        }
        self.set(range, Some(holding));
    }

    /// Every range in the map, by address.
    pub fn ranges(&self) -> impl Iterator<Item = (PaRange, Holding)> {
        self.extents
            .iter()
            .filter_map(|(base, extent)| Some((range(*base, extent.top)?, extent.holding)))
    }

    /// The holding of an address; `None` for plain host memory.
    #[must_use]
    pub fn holding(&self, at: Pa) -> Option<Holding> {
        let (_, extent) = self.extents.range(..=at).next_back()?;
        (at < extent.top).then_some(extent.holding)
    }

    /// Memory that the host must not touch, in bytes.
    #[must_use]
    pub fn rmm_owned_bytes(&self) -> u64 {
        self.bytes_where(|holding| holding.is_rmm_owned())
    }

    /// Memory whose holding `choose` accepts, in bytes.
    pub fn bytes_where(&self, choose: impl Fn(Holding) -> bool) -> u64 {
        let chosen = self.ranges().filter(|(_, holding)| choose(*holding));
        chosen.map(|(range, _)| range.bytes()).sum()
    }

    /// The memory that each command was given and what happened to it, for commands that were given
    /// any.
    pub fn donations(&self) -> impl Iterator<Item = (Command, Donations)> {
        self.donations.iter().map(|(command, donations)| (*command, *donations))
    }

    /// Checks that the records agree with each other: no event contradicted an earlier one, what
    /// was delegated and not returned is in the map, and so is what each command was given and did
    /// not give back.
    ///
    /// True at any time if the host and the SDK follow the rules, whatever the RMM does.
    ///
    /// # Errors
    ///
    /// The first [`Imbalance`] found.
    pub fn check(&self) -> Result<(), Imbalance> {
        if let Some((first, count)) = self.contradictions {
            return Err(Imbalance::Contradicted { first, count });
        }
        let expected = self.delegated.saturating_sub(self.returned);
        let found = self.rmm_owned_bytes() / MIN_GRANULE;
        if expected != found {
            return Err(Imbalance::Total { expected, found });
        }
        for (command, donations) in self.donations() {
            let expected = donations.held();
            let found = self.bytes_where(|holding| holding == Holding::Donated { command });
            let found = found / MIN_GRANULE;
            if expected != found {
                return Err(Imbalance::Donated { command, expected, found });
            }
        }
        Ok(())
    }

    /// Checks that the records agree and that all memory is the host's again: what must be true at
    /// the end.
    ///
    /// # Errors
    ///
    /// The first [`Imbalance`] found.
    pub fn check_balance(&self) -> Result<(), Imbalance> {
        self.check()?;
        if let Some((range, holding)) = self.ranges().next() {
            return Err(Imbalance::Held { range, holding });
        }
        match self.dropped {
            0 => Ok(()),
            operations => Err(Imbalance::Dropped { operations }),
        }
    }

    /// Whether [`Ownership::check_balance`] finds nothing.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.check_balance().is_ok()
    }

    /// Records a change of owner.
    pub fn apply(&mut self, event: LedgerEvent, memory: PaRange) {
        if memory.is_empty() {
            return;
        }
        for (part, found) in self.parts(memory) {
            let may_be = match event {
                LedgerEvent::Delegated | LedgerEvent::Untracked | LedgerEvent::Exposed => {
                    matches!(found, None | Some(Holding::Untracked))
                }
                LedgerEvent::Donated { .. } => found == Some(Holding::Delegated),
                LedgerEvent::Reclaimed { .. } => matches!(found, Some(Holding::Donated { .. })),
                LedgerEvent::Retried => matches!(found, Some(Holding::Quarantined { .. })),
                // When an object is destroyed, the memory donated to it can be returned.
                LedgerEvent::Returned | LedgerEvent::Quarantined { .. } | LedgerEvent::Leaked => {
                    matches!(found, Some(Holding::Delegated | Holding::Donated { .. }))
                }
            };
            if !may_be {
                self.contradict(Contradiction { event, range: part, found });
            }
            if let Some(Holding::Donated { command }) = found {
                let donations = self.donations.entry(command).or_default();
                let back = match event {
                    LedgerEvent::Reclaimed { .. } => &mut donations.reclaimed,
                    _ => &mut donations.recovered,
                };
                *back = back.saturating_add(granules(part));
            }
        }
        let granules = granules(memory);
        let now = match event {
            LedgerEvent::Delegated => {
                self.delegated = self.delegated.saturating_add(granules);
                Some(Holding::Delegated)
            }
            LedgerEvent::Returned => {
                self.returned = self.returned.saturating_add(granules);
                None
            }
            LedgerEvent::Donated { command } => {
                let donations = self.donations.entry(command).or_default();
                donations.donated = donations.donated.saturating_add(granules);
                Some(Holding::Donated { command })
            }
            LedgerEvent::Reclaimed { .. } | LedgerEvent::Retried => Some(Holding::Delegated),
            LedgerEvent::Quarantined { reason } => Some(Holding::Quarantined { reason }),
            LedgerEvent::Leaked => Some(Holding::Leaked),
            LedgerEvent::Untracked => Some(Holding::Untracked),
            LedgerEvent::Exposed => Some(Holding::Exposed),
        };
        self.set(memory, now);
    }

    pub(super) fn drop_operation(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    pub(super) fn take(&mut self, what: Holding) -> Option<PaRange> {
        let (range, _) = self.ranges().find(|(_, holding)| *holding == what)?;
        self.set(range, None);
        Some(range)
    }

    fn contradict(&mut self, found: Contradiction) {
        let (_, count) = self.contradictions.get_or_insert((found, 0));
        *count = count.saturating_add(1);
    }

    /// The ranges of the map that overlap `memory`, cut to it.
    fn overlapping(&self, memory: PaRange) -> impl Iterator<Item = (PaRange, Holding)> {
        let before = self.extents.range(..memory.base()).next_back();
        let inside = self.extents.range(memory.base()..memory.top());
        before.into_iter().chain(inside).filter_map(move |(base, extent)| {
            let part = range((*base).max(memory.base()), extent.top.min(memory.top()))?;
            (!part.is_empty()).then_some((part, extent.holding))
        })
    }

    /// All of `memory`, cut where its holding changes.
    fn parts(&self, memory: PaRange) -> Vec<(PaRange, Option<Holding>)> {
        let mut parts = Vec::new();
        let mut at = memory.base();
        for (part, holding) in self.overlapping(memory) {
            parts.extend(gap(at, part.base()));
            parts.push((part, Some(holding)));
            at = part.top();
        }
        parts.extend(gap(at, memory.top()));
        parts
    }

    /// Changes the holding of `memory`, whatever it was before.
    fn set(&mut self, memory: PaRange, holding: Option<Holding>) {
        let (mut base, mut top) = (memory.base(), memory.top());
        // What lies outside on either side is unchanged.
        for at in [base, top] {
            let Some((_, extent)) = self.extents.range_mut(..at).next_back() else { continue };
            if extent.top > at {
                let rest = *extent;
                extent.top = at;
                self.extents.insert(at, rest);
            }
        }
        while let Some((inside, _)) = self.extents.range(base..top).next() {
            let inside = *inside;
            self.extents.remove(&inside);
        }
        let Some(holding) = holding else { return };
        if let Some((before, extent)) = self.extents.range(..base).next_back()
            && (extent.top, extent.holding) == (base, holding)
        {
            base = *before;
        }
        if let Some(after) = self.extents.get(&top).copied()
            && after.holding == holding
        {
            self.extents.remove(&top);
            top = after.top;
        }
        self.extents.insert(base, Extent { top, holding });
    }
}

fn granules(range: PaRange) -> u64 {
    range.bytes() / MIN_GRANULE
}

/// The range between two ends that come from ranges, and are therefore aligned; `None` when they
/// are in the wrong order.
fn range(base: Pa, top: Pa) -> Option<PaRange> {
    PaRange::new(base, top).ok()
}

fn gap(base: Pa, top: Pa) -> Option<(PaRange, Option<Holding>)> {
    range(base, top).filter(|range| !range.is_empty()).map(|range| (range, None))
}
