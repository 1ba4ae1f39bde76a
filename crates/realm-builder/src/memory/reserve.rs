//! Reserving places in the records of a Realm, before anything is done that needs them.
//!
//! Storage on the heap grows here, and nowhere else: what is missing is allocated while the lock is
//! not held, and what it replaces is freed then, too.

use crate::error::BuildError;
use crate::memory::lent_shadow::LentShadow;
#[cfg(feature = "alloc")]
use crate::shadow::Shadow;
#[cfg(feature = "alloc")]
use crate::shadow::claims::CLAIMS;
#[cfg(feature = "alloc")]
use crate::shadow::growth::{TableChunks, try_vec};
use crate::shadow::shape::Shape;

impl<S: Shape> LentShadow<'_, S> {
    /// Reserves shadow tables for tables that are about to be made.
    ///
    /// # Errors
    ///
    /// [`BuildError::Storage`] when there are too few, and cannot be more.
    pub(crate) fn reserve(&self, tables: usize) -> Result<(), BuildError> {
        let reserved = self.lock().reserve(tables);
        #[cfg(feature = "alloc")]
        let reserved = reserved.or_else(|missing| self.grow_and_reserve(tables, missing));
        reserved.map_err(|missing| BuildError::Storage { records: "translation tables", missing })
    }

    /// Reserves places for the records of shared memory.
    ///
    /// # Errors
    ///
    /// As [`Shadow::reserve_shared`](crate::shadow::Shadow::reserve_shared), when there cannot be
    /// more.
    pub(crate) fn reserve_shared(&self, records: usize) -> Result<(), BuildError> {
        let reserved = self.lock().reserve_shared(records);
        #[cfg(feature = "alloc")]
        let reserved = reserved.or_else(|error| self.grow_and_reserve_shared(records, error));
        reserved
    }
}

#[cfg(feature = "alloc")]
impl<S: Shape> LentShadow<'_, S> {
    fn grow_and_reserve(&self, tables: usize, missing: usize) -> Result<(), usize> {
        self.grow(
            missing,
            |missing| {
                let chunks = self.lock().chunks()?;
                TableChunks::allocate(chunks, missing)
            },
            |shadow, larger| (shadow.add_chunks(larger), shadow.reserve(tables)),
        )
    }

    fn grow_and_reserve_shared(&self, records: usize, error: BuildError) -> Result<(), BuildError> {
        self.grow(
            error,
            |_| {
                let slots = self.lock().shared_slots_for(records)?;
                try_vec(slots, || None)
            },
            |shadow, larger| (shadow.add_shared_slots(larger), shadow.reserve_shared(records)),
        )
    }

    /// Makes the storage grow until places are reserved in it.
    ///
    /// `allocate` returns more storage, if it grows and there is memory, and runs without the lock.
    /// `reserve` puts it in and returns what it replaces, which is freed without the lock.
    fn grow<M, E: Copy>(
        &self,
        mut error: E,
        allocate: impl Fn(E) -> Option<M>,
        reserve: impl Fn(&mut Shadow<'_, S>, M) -> (M, Result<(), E>),
    ) -> Result<(), E> {
        // Each attempt but the last fails because another thread has made the storage grow, or has
        // reserved what was added.
        for _ in 0..CLAIMS {
            let Some(larger) = allocate(error) else { break };
            let mut shadow = self.lock();
            let (unneeded, reserved) = reserve(&mut shadow, larger);
            drop(shadow);
            drop(unneeded);
            match reserved {
                Ok(()) => return Ok(()),
                Err(still) => error = still,
            }
        }
        Err(error)
    }
}
