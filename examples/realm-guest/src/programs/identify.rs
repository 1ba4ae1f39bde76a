//! Who the Realm is: its measurements and its configuration.

use rmi_abi::Ipa;
use rmi_abi::rsi::ReturnCode;

use super::{Failure, Realm};
use crate::host_call::values;
use crate::layout;
use crate::vcpu::Vcpu;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let rim = realm.cpu.measurement_read(0).await;
    let rim = realm.done(40, rim)?;
    realm.tell(values::INITIAL_MEASUREMENT, rim).await?;

    let page = Ipa::new(layout::RAM);
    // So that the page has memory: the RMM writes to it.
    realm.store(41, page, 8, 0).await?;
    let configured = realm.cpu.realm_config(page).await;
    realm.done(42, configured)?;
    let word = |offset: u64| Ipa::new(page.raw() + offset);
    let mut configuration = [0; 10];
    let offsets = [0, 8].into_iter().chain((0..8).map(|word| 0x200 + 8 * word));
    for (to, offset) in configuration.iter_mut().zip(offsets) {
        *to = realm.load(43, word(offset), 8).await?;
    }
    realm.tell(values::CONFIGURATION, configuration).await?;

    let before = realm.cpu.measurement_read(1).await;
    let before = realm.done(44, before)?;
    let extended = realm.cpu.measurement_extend(1, 32, [1, 2, 3, 4, 0, 0, 0, 0]).await;
    realm.done(45, extended)?;
    let after = realm.cpu.measurement_read(1).await;
    let after = realm.done(46, after)?;
    let mut both = [0; 16];
    for (to, from) in both.iter_mut().zip(before.into_iter().chain(after)) {
        *to = from;
    }
    realm.tell(values::EXTENDED, both).await?;
    // The initial measurement cannot be extended, and there are four others.
    for index in [0, 5] {
        let extended = realm.cpu.measurement_extend(index, 32, [0; 8]).await;
        realm.refused(47, ReturnCode::ErrorInput, extended)?;
    }
    Ok(())
}
