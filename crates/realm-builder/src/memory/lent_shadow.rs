//! The shadow of a Realm in storage that is lent, behind the Realm's lock.
//!
//! A [`Mutex`] of what borrows for `'a` is invariant in `'a`, and so is all that contains it: a
//! struct that borrows a Realm would need a second lifetime for the Realm itself. [`LentShadow`] is
//! covariant, as the storage alone is.
#![expect(unsafe_code, reason = "the lifetime of a loan is kept beside the loan")]

use core::marker::PhantomData;
use core::{mem, ptr};

use lock_api::{Mutex, MutexGuard};

use crate::shadow::Shadow;
use crate::shadow::shape::Shape;
use crate::shadow::storage::Records;

/// A [`Shadow`] in storage that is lent for `'a`, behind a lock.
pub(crate) struct LentShadow<'a, S: Shape> {
    /// A `Shadow<'a>`.
    shadow: Mutex<S::Lock, Shadow<'static, S>>,
    /// The loan: covariant, and `'a` is in use until this is dropped.
    loan: PhantomData<Shadow<'a, S>>,
}

impl<'a, S: Shape> LentShadow<'a, S> {
    pub(crate) const fn new(shadow: Shadow<'a, S>) -> Self {
        // SAFETY: the types differ in a lifetime only, and `loan` has the right one: the storage is
        // borrowed until this value is gone. That the lifetime of this value may be shortened
        // changes nothing, as it is moved with it.
        let shadow = unsafe { mem::transmute::<Shadow<'a, S>, Shadow<'static, S>>(shadow) };
        Self { shadow: Mutex::new(shadow), loan: PhantomData }
    }

    /// Locks the shadow. The lifetime of the loan is as short as that of the borrow, so nothing
    /// that is taken out outlives the storage.
    pub(crate) fn lock(&self) -> MutexGuard<'_, S::Lock, Shadow<'_, S>> {
        // SAFETY: the types differ in a lifetime only. The loan lasts for at least as long as the
        // borrow of `self`. Nothing that is lent for a shorter time is put in: the fields of a
        // shadow that borrow are set where it is made, and one is made only for a new Realm; what
        // storage grows by is owned.
        let shadow =
            unsafe { &*ptr::from_ref(&self.shadow).cast::<Mutex<S::Lock, Shadow<'_, S>>>() };
        shadow.lock()
    }

    /// The shadow, which nothing else has access to. As for [`LentShadow::lock`], its lifetime is
    /// that of the borrow.
    pub(crate) fn get_mut(&mut self) -> &mut Shadow<'_, S> {
        // SAFETY: as in `lock`.
        unsafe { &mut *ptr::from_mut(self.shadow.get_mut()).cast::<Shadow<'_, S>>() }
    }

    /// Takes the storage out, of a Realm of which nothing is left.
    pub(crate) fn take_records(&mut self) -> Records<'a> {
        self.shadow.get_mut().take_records()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::boxed::Box;

    use rmi_abi::rtt::Geometry;
    use rmi_abi::{Ipa, IpaRange};

    use super::LentShadow;
    use crate::shadow::Shadow;
    use crate::shadow::shape::AnyShape;
    use crate::shadow::storage::{RealmStorage, Records};

    fn shadow(records: Records<'_>) -> LentShadow<'_, AnyShape> {
        LentShadow::new(Shadow::<AnyShape>::new(Geometry::new(40).unwrap(), 0, records).unwrap())
    }

    /// Writes to each kind of record, and to the shadow tables.
    fn work(shadow: &mut LentShadow<'_, AnyShape>) {
        shadow.lock().reserve(2).unwrap();
        shadow.get_mut().reserve_shared(1).unwrap();
        let pages = IpaRange::with_size_or_empty(Ipa::new(0x8000_0000), 0x4000);
        let claim = shadow.lock().claim(pages).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(shadow.lock().claim(pages).is_none()));
        });
        shadow.lock().release(claim);
        shadow.get_mut().unreserve(2);
        shadow.lock().unreserve_shared(1);
    }

    /// Compiles because the type is covariant.
    #[test]
    fn a_borrow_can_be_passed_on_as_a_shorter_one() {
        const fn shorter<'s>(
            longer: &'s LentShadow<'static, AnyShape>,
        ) -> &'s LentShadow<'s, AnyShape> {
            longer
        }
        let _ = shorter;
    }

    #[test]
    fn storage_is_used_again_after_a_shadow_that_moved_about() {
        let mut storage = Box::new(RealmStorage::<4, 2>::new());
        // It is dropped,
        {
            let mut first = shadow(Records::from(&mut *storage));
            work(&mut first);
            let mut moved = Box::new(first);
            work(&mut moved);
        }
        // its storage is taken out,
        let mut second = shadow(Records::from(&mut *storage));
        work(&mut second);
        let records = second.take_records();
        drop(second);
        let mut third = shadow(records);
        work(&mut third);
        // it is forgotten.
        std::mem::forget(third);
        work(&mut shadow(Records::from(&mut *storage)));
        drop(storage);
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn storage_on_the_heap_outlives_its_shadow() {
        let mut first = shadow(Records::growing());
        first.lock().add_shared_slots(std::vec![None, None]);
        let records = first.take_records();
        drop(first);
        let mut second = shadow(records);
        second.get_mut().reserve_shared(2).unwrap();
    }
}
