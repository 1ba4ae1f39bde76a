//! Changes of the RIPAS, in both directions.

use rmi_abi::rsi::ReturnCode;
use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};

use super::{Failure, Realm};
use crate::host_call::values;
use crate::layout::word_at;
use crate::vcpu::Vcpu;

const PAGE: u64 = 0x1000;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [base, bytes, ..] = realm.entry().arguments;
    let range = IpaRange::with_size_or_empty(Ipa::new(base), bytes);
    let pages = move || (base..base + bytes).step_by(0x1000).map(Ipa::new);
    for page in pages() {
        realm.store(50, page, 8, word_at(page.raw())).await?;
    }
    expect_state(realm, 51, range, Ripas::Ram).await?;

    // What is EMPTY aborts.
    let empty_calls = realm.set_ripas(52, range, Ripas::Empty).await?;
    expect_state(realm, 53, range, Ripas::Empty).await?;
    for page in pages() {
        let loaded = realm.cpu.load(page, 8).await;
        realm.aborts(54, loaded)?;
    }

    // The host refuses to make it RAM, and then does not.
    realm.ask(1, 0, 0).await?;
    let changed = realm.cpu.ipa_state_set(range.base(), range.top(), Ripas::Ram, false).await;
    let (_, is_accepted) = realm.done(55, changed)?;
    realm.expect(56, 0, is_accepted.into())?;
    expect_state(realm, 57, range, Ripas::Empty).await?;
    realm.ask(2, 0, 0).await?;
    let ram_calls = realm.set_ripas(58, range, Ripas::Ram).await?;
    expect_state(realm, 59, range, Ripas::Ram).await?;
    for page in pages() {
        realm.store(60, page, 8, !page.raw()).await?;
        let found = realm.load(61, page, 8).await?;
        realm.expect(62, !page.raw(), found)?;
    }

    // A part of it, and nothing beside it.
    let part = IpaRange::with_size_or_empty(Ipa::new(base + PAGE), PAGE);
    realm.set_ripas(63, part, Ripas::Empty).await?;
    let first = IpaRange::with_size_or_empty(range.base(), PAGE);
    expect_state(realm, 64, first, Ripas::Ram).await?;
    expect_state(realm, 65, part, Ripas::Empty).await?;
    let found = realm.load(66, range.base(), 8).await?;
    realm.expect(67, !base, found)?;
    realm.set_ripas(68, part, Ripas::Ram).await?;

    // What is wrong, the RMM refuses: no page, no range, no protected address, no such state.
    let (page, next) = (Ipa::new(base), Ipa::new(base + PAGE));
    let high = crate::layout::alias(page);
    for (base, top, ripas) in [
        (Ipa::new(base + 8), next, Ripas::Empty),
        (page, page, Ripas::Empty),
        (next, page, Ripas::Empty),
        (high, Ipa::new(high.raw() + PAGE), Ripas::Empty),
        (page, next, Ripas::Destroyed),
    ] {
        let changed = realm.cpu.ipa_state_set(base, top, ripas, false).await;
        realm.refused(69, ReturnCode::ErrorInput, changed)?;
    }
    realm.tell(values::COUNT, [empty_calls, ram_calls]).await
}

/// Checks that all of a range has a state.
async fn expect_state<V: Vcpu>(
    realm: &mut Realm<'_, V>,
    step: u64,
    range: IpaRange,
    ripas: Ripas,
) -> Result<(), Failure> {
    let mut base = range.base();
    while base < range.top() {
        let got = realm.cpu.ipa_state_get(base, range.top()).await;
        let (reached, found) = realm.done(step, got)?;
        realm.expect(step, u8::from(ripas).into(), u8::from(found).into())?;
        if reached <= base {
            return Err(Failure { step, expected: range.top().raw(), found: reached.raw() });
        }
        base = reached;
    }
    Ok(())
}
