//! Fewer and more tables: folding into blocks, and splitting blocks.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange, Status};
use rmi_host::{Error, Platform, QuarantineReason, Subject, Violation};
use sro::Pool;

use crate::error::BuildError;
use crate::realm::{Alive, Realm};
use crate::shadow::Foldable;

/// Which tables are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldPolicy {
    /// Those that map one aligned run of memory: a block does the same, and walks are shorter.
    Blocks,
    /// Those, and the ones that map nothing: their granules are free again.
    BlocksAndVoid,
}

/// What folding came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Folded {
    /// Tables that became blocks.
    pub blocks: u64,
    /// Tables that became void entries.
    pub void: u64,
    /// Tables that the RMM kept: their entries differ in what the host does not see, such as the RIPAS.
    pub kept: u64,
}

impl Folded {
    /// Granules that are free again; they are in the pool, delegated.
    #[must_use]
    pub const fn granules(&self) -> u64 {
        self.blocks + self.void
    }
}

impl<P: Platform, S: Alive> Realm<'_, '_, P, S> {
    /// Folds the tables that lie in a range of the protected half as a whole, the deepest first, and says what that gained. Their granules go to the pool, delegated.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_FOLD.
    ///
    /// # Errors
    ///
    /// [`BuildError::Region`] before any call; otherwise why it stopped. What was folded stays so. That the RMM finds a table's entries different is no error.
    pub fn fold(
        &self,
        pool: &mut Pool<'_>,
        range: IpaRange,
        policy: FoldPolicy,
    ) -> Result<Folded, BuildError> {
        self.check_protected(range, range.bytes())?;
        let _held = self.hold(range, |_| Ok(()))?;
        let mut folded = Folded::default();
        for level in [Level::L3, Level::L2, Level::L1] {
            let table = level.table_bytes();
            let mut next = range.base().align_up(table);
            while let Some(ipa) = next {
                let Some(top) = ipa.checked_add(table).filter(|top| *top <= range.top()) else {
                    break;
                };
                next = Some(self.next_table(level, top, range.top()));
                let what = {
                    let shadow = self.shadow.lock();
                    shadow.has_table(level, ipa).then(|| shadow.foldable(level, ipa)).flatten()
                };
                match what {
                    Some(Foldable::Void) if policy == FoldPolicy::Blocks => {}
                    Some(what) => self.fold_table(pool, level, ipa, what, &mut folded)?,
                    None => {}
                }
            }
        }
        Ok(folded)
    }

    /// Where the next table of a level may be, from the end of one on.
    fn next_table(&self, level: Level, from: Ipa, top: Ipa) -> Ipa {
        let shadow = self.shadow.lock();
        let mut at = from;
        // Void entries and blocks of the levels above have no table below them.
        while at < top
            && let Some(entry) = shadow.walk(at, level).filter(|entry| entry.level < level)
        {
            at = entry.top();
        }
        at
    }

    fn fold_table(
        &self,
        pool: &mut Pool<'_>,
        level: Level,
        ipa: Ipa,
        what: Foldable,
        folded: &mut Folded,
    ) -> Result<(), BuildError> {
        let command = Command::RttFold;
        let granule = self.shadow.lock().table_granule(level, ipa);
        match self.rmm.rtt_fold(&self.rd, ipa, level) {
            Ok(table) if granule.is_some_and(|range| range.base() == table) => {
                let granule = self.shadow.lock().fold(level, ipa).unwrap_or_default();
                pool.put_back(self.rmm, granule.into_released());
                match what {
                    Foldable::Block => folded.blocks += 1,
                    Foldable::Void => folded.void += 1,
                }
                Ok(())
            }
            Ok(table) => {
                let granule = self.shadow.lock().fold(level, ipa).unwrap_or_default();
                let reason = QuarantineReason::Unclear { command };
                pool.recover(self.rmm, granule.into_released(), reason);
                let (violation, subject) = (Violation::ForeignMemory, Subject::Ipa(ipa));
                Err(Error::violation(command, violation, table.raw(), subject).into())
            }
            Err(Error::Refused(refusal)) if refusal.status() == Status::ErrorRtt => {
                folded.kept += 1;
                Ok(())
            }
            Err(error) => {
                if !error.is_clean() {
                    self.shadow.lock().doubt_table(level, ipa);
                }
                Err(error.into())
            }
        }
    }
}
