//! Every exit that a program can cause.

use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};

use super::{Failure, Realm};
use crate::layout::{DEVICE, NOTHING, UART, device, unprotected};
use crate::vcpu::{Timer, Vcpu};

const VIRTUAL_TIMER: u32 = 27;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [page, ticks, ..] = realm.entry().arguments;
    // Loads and stores of a device, of all sizes.
    let register = |offset| unprotected(DEVICE + device::SCRATCH + offset);
    realm.store(90, register(0), 8, 0x8877_6655_4433_2211).await?;
    for (bytes, expected) in [(1, 0x11), (2, 0x2211), (4, 0x4433_2211), (8, 0x8877_6655_4433_2211)]
    {
        let found = realm.load(91, register(0), bytes).await?;
        realm.expect(92, expected, found)?;
    }
    for (offset, bytes, value) in [(8, 1, 0xa1), (10, 2, 0xb2b1), (12, 4, 0xc4c3_c2c1)] {
        realm.store(93, register(offset), bytes, value).await?;
    }
    let found = realm.load(94, register(8), 8).await?;
    realm.expect(95, 0xc4c3_c2c1_b2b1_00a1, found)?;

    // Accesses that the device, or nothing, answers with an abort.
    for address in [DEVICE + device::ABORT, NOTHING] {
        let loaded = realm.cpu.load(unprotected(address), 4).await;
        realm.aborts(96, loaded)?;
        let stored = realm.cpu.store(unprotected(address), 4, 1).await;
        realm.aborts(97, stored)?;
    }

    // The UART: its flags, then letters.
    for letter in *b"hello\n" {
        let flags = realm.load(98, unprotected(UART + 0x18), 4).await?;
        realm.expect(99, 0, flags & 1 << 5)?;
        realm.store(100, unprotected(UART), 1, letter.into()).await?;
    }

    let answer = realm.ask(1, 0, 0).await?;
    realm.expect(101, 0x5eed, answer)?;

    // A fault in RAM, changes of the RIPAS, and a fault again.
    let range = IpaRange::with_size_or_empty(Ipa::new(page), 0x1000);
    realm.store(102, range.base(), 8, page).await?;
    realm.set_ripas(103, range, Ripas::Empty).await?;
    realm.set_ripas(104, range, Ripas::Ram).await?;
    realm.store(105, range.base(), 8, !page).await?;
    let found = realm.load(106, range.base(), 8).await?;
    realm.expect(107, !page, found)?;

    // Waits.
    realm.enable_interrupts(1 << VIRTUAL_TIMER, None).await?;
    realm.cpu.wait_for_event().await;
    for is_suspend in [false, true] {
        let end = realm.cpu.counter().await + ticks;
        realm.cpu.set_timer(Timer::Virtual, end).await;
        let intid = if is_suspend {
            // It returns when there is an interrupt, or before.
            loop {
                realm.cpu.cpu_suspend().await;
                if let Some(intid) = realm.cpu.acknowledge().await {
                    break intid;
                }
            }
        } else {
            realm.next_interrupt().await
        };
        realm.expect(108, VIRTUAL_TIMER.into(), intid.into())?;
        realm.cpu.stop_timer(Timer::Virtual).await;
        realm.cpu.end_of_interrupt(intid).await;
    }
    // A system register that the host serves: an SGI to nobody.
    realm.cpu.send_sgi(5 << 24 | 1 << 15).await;
    let state = realm.cpu.affinity_info(0).await;
    realm.expect(109, 0, state)
}
