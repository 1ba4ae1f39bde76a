//! SGIs between virtual CPUs, and the SPI of a device.

use super::{Failure, Realm};
use crate::layout::{DEVICE, DEVICE_SPI, device, unprotected};
use crate::vcpu::Vcpu;

/// The SGI that is to be answered, and the answer.
const CALL: u32 = 3;
const ANSWER: u32 = 4;
/// The SGI after which CPU 1 ends.
const END: u32 = 5;
/// The SGI to the sender itself.
const OWN: u32 = 6;
const SGIS: u32 = 1 << CALL | 1 << ANSWER | 1 << END | 1 << OWN;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [rounds, cpus, ..] = realm.entry().arguments;
    if realm.index() != 0 {
        return answer(realm).await;
    }
    realm.enable_interrupts(SGIS, Some((DEVICE_SPI, 0))).await?;
    for round in 0..rounds {
        send(realm, OWN, 0).await;
        take(realm, 120, OWN).await?;
        // The line is up until the handler has lowered it.
        realm.store(121, unprotected(DEVICE + device::RAISE), 4, round).await?;
        let intid = realm.next_interrupt().await;
        realm.expect(122, DEVICE_SPI.into(), intid.into())?;
        let level = realm.load(123, unprotected(DEVICE + device::RAISE), 4).await?;
        realm.expect(124, 1, level)?;
        realm.store(125, unprotected(DEVICE + device::LOWER), 4, 0).await?;
        realm.cpu.end_of_interrupt(intid).await;
        if cpus > 1 {
            send(realm, CALL, 1).await;
            take(realm, 126, ANSWER).await?;
        }
    }
    if cpus > 1 {
        send(realm, END, 1).await;
    }
    realm.wait_for_others(cpus).await;
    Ok(())
}

/// CPU 1.
async fn answer<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    realm.enable_interrupts(SGIS, None).await?;
    loop {
        let intid = realm.next_interrupt().await;
        realm.cpu.end_of_interrupt(intid).await;
        match intid {
            CALL => send(realm, ANSWER, 0).await,
            END => return Ok(()),
            _ => return realm.expect(127, CALL.into(), intid.into()),
        }
    }
}

/// Sends an SGI to the CPU with this index, below 16.
async fn send<V: Vcpu>(realm: &mut Realm<'_, V>, sgi: u32, to: u64) {
    realm.cpu.send_sgi(u64::from(sgi) << 24 | 1 << to).await;
}

/// Takes an interrupt, which has to be that one.
async fn take<V: Vcpu>(realm: &mut Realm<'_, V>, step: u64, sgi: u32) -> Result<(), Failure> {
    let intid = realm.next_interrupt().await;
    realm.cpu.end_of_interrupt(intid).await;
    realm.expect(step, sgi.into(), intid.into())
}
