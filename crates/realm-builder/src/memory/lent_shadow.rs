//! The shadow of a Realm in storage that is lent, behind the Realm's lock.
//!
//! A [`Mutex`] of what borrows for `'a` is invariant in `'a`, and so is all that contains it: a
//! struct that borrows a Realm would need a second lifetime for the Realm itself. [`LentShadow`] is
//! covariant, as the storage alone is.
#![expect(unsafe_code, reason = "the lifetime of a loan is kept beside the loan")]

use core::marker::PhantomData;
use core::{mem, ptr};

use lock_api::{Mutex, MutexGuard, RawMutex};

use crate::shadow::Shadow;
use crate::shadow::storage::Records;

/// A [`Shadow`] in storage that is lent for `'a`, behind a lock.
pub(crate) struct LentShadow<'a, K> {
    /// A `Shadow<'a>`.
    shadow: Mutex<K, Shadow<'static>>,
    /// The loan: covariant, and `'a` is in use until this is dropped.
    loan: PhantomData<Shadow<'a>>,
}

impl<'a, K: RawMutex> LentShadow<'a, K> {
    pub(crate) const fn new(shadow: Shadow<'a>) -> Self {
        // SAFETY: the types differ in a lifetime only, and `loan` has the right one: the storage is
        // borrowed until this value is gone. That the lifetime of this value may be shortened
        // changes nothing, as it is moved with it.
        let shadow = unsafe { mem::transmute::<Shadow<'a>, Shadow<'static>>(shadow) };
        Self { shadow: Mutex::new(shadow), loan: PhantomData }
    }

    /// Locks the shadow. The lifetime of the loan is as short as that of the borrow, so nothing
    /// that is taken out outlives the storage.
    pub(crate) fn lock(&self) -> MutexGuard<'_, K, Shadow<'_>> {
        // SAFETY: the types differ in a lifetime only. The loan lasts for at least as long as the
        // borrow of `self`. Nothing that is lent for a shorter time is put in: the fields of a
        // shadow that borrow are set where it is made, and one is made only for a new Realm; what
        // storage grows by is owned.
        let shadow = unsafe { &*ptr::from_ref(&self.shadow).cast::<Mutex<K, Shadow<'_>>>() };
        shadow.lock()
    }

    /// The shadow, which nothing else has access to. As for [`LentShadow::lock`], its lifetime is
    /// that of the borrow.
    pub(crate) fn get_mut(&mut self) -> &mut Shadow<'_> {
        // SAFETY: as in `lock`.
        unsafe { &mut *ptr::from_mut(self.shadow.get_mut()).cast::<Shadow<'_>>() }
    }

    /// Takes the storage out, of a Realm of which nothing is left.
    pub(crate) fn take_records(&mut self) -> Records<'a> {
        self.shadow.get_mut().take_records()
    }
}

#[cfg(test)]
mod tests {
    use rmi_host::DefaultLock;

    use super::LentShadow;

    /// Compiles because the type is covariant.
    #[test]
    fn a_borrow_can_be_passed_on_as_a_shorter_one() {
        const fn shorter<'s>(
            longer: &'s LentShadow<'static, DefaultLock>,
        ) -> &'s LentShadow<'s, DefaultLock> {
            longer
        }
        let _ = shorter;
    }
}
