//! Waits with a timer.

use super::{Failure, Realm};
use crate::vcpu::{Timer, Vcpu};

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [ticks, rounds, ..] = realm.entry().arguments;
    realm.enable_interrupts(1 << 27 | 1 << 30, None).await?;
    for _ in 0..rounds {
        for (timer, ppi) in [(Timer::Virtual, 27), (Timer::Physical, 30)] {
            let end = realm.cpu.counter().await + ticks;
            realm.cpu.set_timer(timer, end).await;
            let intid = realm.next_interrupt().await;
            realm.expect(110, ppi, intid.into())?;
            let now = realm.cpu.counter().await;
            realm.expect(111, 1, (now >= end).into())?;
            realm.cpu.stop_timer(timer).await;
            realm.cpu.end_of_interrupt(intid).await;
        }
    }
    // One that has expired already.
    let now = realm.cpu.counter().await;
    realm.cpu.set_timer(Timer::Virtual, now).await;
    let intid = realm.next_interrupt().await;
    realm.expect(112, 27, intid.into())?;
    realm.cpu.stop_timer(Timer::Virtual).await;
    realm.cpu.end_of_interrupt(intid).await;
    Ok(())
}
