//! Accesses to a device.

use super::{Failure, Realm};
use crate::layout::{DEVICE, device, unprotected};
use crate::vcpu::Vcpu;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [count, ..] = realm.entry().arguments;
    let register = unprotected(DEVICE + device::SCRATCH);
    for number in 0..count {
        realm.store(200, register, 8, number).await?;
    }
    for _ in 0..count {
        let found = realm.load(201, register, 8).await?;
        realm.expect(202, count.wrapping_sub(1), found)?;
    }
    Ok(())
}
