//! Memory that is shared with the host for a while.

use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};

use super::{Failure, Realm};
use crate::layout::{alias, word_at};
use crate::vcpu::Vcpu;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [base, bytes, rounds, ..] = realm.entry().arguments;
    let range = IpaRange::with_size_or_empty(Ipa::new(base), bytes);
    let pages = move || (base..base + bytes).step_by(0x1000).map(Ipa::new);
    for round in 0..rounds {
        for page in pages() {
            realm.store(70, page, 8, round).await?;
        }
        realm.set_ripas(71, range, Ripas::Empty).await?;
        for page in pages() {
            let loaded = realm.cpu.load(page, 8).await;
            realm.aborts(72, loaded)?;
            realm.store(73, alias(page), 8, word_at(page.raw()) + round).await?;
        }
        let answer = realm.ask(1, alias(range.base()).raw(), bytes).await?;
        realm.expect(74, 1, answer)?;
        for page in pages() {
            let found = realm.load(75, alias(page), 8).await?;
            realm.expect(76, !(word_at(page.raw()) + round), found)?;
        }
        realm.set_ripas(77, range, Ripas::Ram).await?;
        realm.ask(3, 0, 0).await?;
        for page in pages() {
            let loaded = realm.cpu.load(alias(page), 8).await;
            realm.aborts(78, loaded)?;
            realm.store(79, page, 8, !round).await?;
            let found = realm.load(80, page, 8).await?;
            realm.expect(81, !round, found)?;
        }
    }
    Ok(())
}
