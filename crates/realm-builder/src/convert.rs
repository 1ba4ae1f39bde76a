//! Conversions between private and shared memory, and memory that leaves the machine.

use core::ops::ControlFlow;

use rmi_abi::{Ipa, IpaRange, PaRange};
use rmi_host::command::SharedAccess;
use rmi_host::{Platform, Undelegated};
use sro::Pool;

use crate::error::{BuildError, RegionProblem};
use crate::realm::{Alive, Realm};
use crate::runtime::Reclaimed;
use crate::shadow::Shadow;
use crate::share::NotShared;
use crate::storage::SharedPiece;

/// The memory of a range that was taken back with this result; an error when some of it did not come. It cannot be said then which part there is, and the rest may be somebody else's by now: what came goes to `home`.
fn whole_of(
    range: IpaRange,
    host: Undelegated,
    taken: Result<(), BuildError>,
    home: &mut dyn FnMut(Undelegated),
) -> Result<Undelegated, BuildError> {
    let bytes = range.bytes().saturating_sub(host.bytes());
    if bytes == 0 {
        return Ok(host);
    }
    if !host.is_empty() {
        home(host);
    }
    taken?;
    Err(BuildError::Region { range, problem: RegionProblem::Withheld { bytes } })
}

impl<P: Platform, S: Alive> Realm<'_, '_, P, S> {
    /// Makes private memory shared: takes what is mapped in a range back, and shares the same memory at the unprotected alias of its IPA. The Realm asked for that by a change of the RIPAS to EMPTY, which has been
    /// [applied](Realm::set_ripas); the content is lost.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_UNMAP, RMI_RTT_UNPROT_MAP.
    ///
    /// # Errors
    ///
    /// As [`Realm::reclaim`] and [`Realm::share`], and [`RegionProblem::Withheld`]. Memory that was taken back and could not be shared goes to `home`; what comes before it in the range is shared, what follows it stays
    /// private.
    pub fn convert_to_shared(
        &self,
        pool: &mut Pool<'_>,
        range: IpaRange,
        access: SharedAccess,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<(), BuildError> {
        self.check_protected(range, range.bytes())?;
        let mut left = range;
        loop {
            let run = self.first_run(left);
            let Some(run) = run.and_then(|run| run.intersection(&range)) else {
                return Ok(());
            };
            let alias = self.alias(run.base(), range)?;
            let mut host = Undelegated::empty();
            let taken = self.reclaim_or_wait(pool, run, &mut |back| {
                // Neighbours come in the order of their addresses, unless something between them is in quarantine.
                if let Err(apart) = host.append(back) {
                    home(core::mem::replace(&mut host, apart));
                }
            });
            let host = whole_of(run, host, taken, home)?;
            if let Err(NotShared { error, host }) = self.share(pool, alias, host, access) {
                if !host.is_empty() {
                    home(host);
                }
                return Err(error);
            }
            left = IpaRange::new(run.top(), range.top()).unwrap_or(IpaRange::empty(range.top()));
        }
    }

    fn reclaim_or_wait(
        &self,
        pool: &mut Pool<'_>,
        range: IpaRange,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<(), BuildError> {
        match self.reclaim(pool, range, home)? {
            Reclaimed::Whole => Ok(()),
            Reclaimed::Contended(range) => Err(BuildError::Contended { range }),
        }
    }

    /// Where the first run of a range is mapped that is contiguous in both address spaces.
    fn first_run(&self, range: IpaRange) -> Option<IpaRange> {
        let mut run: Option<(IpaRange, PaRange)> = None;
        self.each_memory(range.base(), range.top(), |shadow, at| {
            let Some(memory) = shadow.memory(at) else { return ControlFlow::Break(()) };
            let grown = match run {
                None => Some((at.range(), memory)),
                Some((ipas, pas)) if ipas.top() == at.base && pas.top() == memory.base() => {
                    let both = (
                        IpaRange::new(ipas.base(), at.top()),
                        PaRange::new(pas.base(), memory.top()),
                    );
                    both.0.ok().zip(both.1.ok())
                }
                Some(_) => None,
            };
            run = grown.or(run);
            if grown.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        run.map(|(ipas, _)| ipas)
    }

    fn alias(&self, ipa: Ipa, range: IpaRange) -> Result<Ipa, BuildError> {
        let problem = RegionProblem::NotProtected;
        self.geometry.unprotected_alias(ipa).ok_or(BuildError::Region { range, problem })
    }

    /// Makes shared memory private: takes what is shared at the unprotected alias of a range back, and maps the same memory in the range. The Realm sees it, with unspecified content, where it has made the RIPAS RAM.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_UNMAP, RMI_RTT_DATA_MAP.
    ///
    /// # Errors
    ///
    /// As [`Realm::unshare`] and [`Realm::map`], and [`RegionProblem::Withheld`]. Memory that was taken back and could not be mapped goes to `home`; what comes before it in the range is private, what follows it stays
    /// shared.
    pub fn convert_to_private(
        &self,
        pool: &mut Pool<'_>,
        range: IpaRange,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<(), BuildError> {
        self.check_protected(range, range.bytes())?;
        let alias = self.alias(range.base(), range)?;
        let aliases = IpaRange::with_size(alias, range.bytes()).unwrap_or(range);
        loop {
            let piece = self.shadow.lock().shared_in(&aliases);
            let Some(piece) = piece.and_then(|(_, piece)| piece.intersection(&aliases)) else {
                return Ok(());
            };
            let mut host = Undelegated::empty();
            let taken = self.unshare(pool, piece, &mut |back| {
                if let Err(apart) = host.append(back) {
                    home(apart);
                }
            });
            let offset = piece.base().checked_offset_from(aliases.base()).unwrap_or(0);
            let at = range.base().checked_add(offset).unwrap_or(range.base());
            let host = whole_of(piece, host, taken, home)?;
            if let Err(failed) = self.map(pool, at, host) {
                if !failed.kept.is_empty() {
                    home(failed.kept);
                }
                return Err(failed.error);
            }
            taken?;
        }
    }

    /// Empties a part of the machine's memory of this Realm, as before that memory is taken out: reclaims every block that lies in it, or reaches into it, takes back what is shared of it, and sends all that to
    /// `home`.
    ///
    /// The Realm's tables and descriptors are not moved: no command does that.
    ///
    /// # Errors
    ///
    /// As [`Realm::reclaim`] and [`Realm::unshare`].
    pub fn evacuate(
        &self,
        pool: &mut Pool<'_>,
        memory: PaRange,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<(), BuildError> {
        let top = self.geometry.unprotected_base();
        let mut from = Ipa::new(0);
        let is_meant = |shadow: &mut Shadow<'_>, at| match shadow.memory(at) {
            Some(block) if block.overlaps(&memory) => ControlFlow::Break(at),
            _ => ControlFlow::Continue(()),
        };
        // Others fault meanwhile: the lock is not held from one block to the next.
        while let Some(at) = self.each_memory(from, top, is_meant) {
            from = at.top();
            self.reclaim_or_wait(pool, at.range(), home)?;
        }
        let part = |piece: &SharedPiece| {
            let part = piece.memory().intersection(&memory).filter(|part| !part.is_empty())?;
            let offset = part.base().checked_offset_from(piece.memory().base())?;
            let base = piece.range().base().checked_add(offset)?;
            IpaRange::with_size(base, part.bytes()).ok()
        };
        let is_meant = |piece: &SharedPiece| match part(piece) {
            Some(part) => ControlFlow::Break(part),
            None => ControlFlow::Continue(()),
        };
        while let Some(piece) = self.each_shared(is_meant) {
            self.unshare(pool, piece, home)?;
        }
        Ok(())
    }
}
