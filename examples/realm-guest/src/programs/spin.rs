//! A program that runs without an exit of its own.

use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};

use super::{Failure, Realm};
use crate::layout::alias;
use crate::vcpu::Vcpu;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [page, ..] = realm.entry().arguments;
    let page = page + 0x1000 * realm.index();
    let range = IpaRange::with_size_or_empty(Ipa::new(page), 0x1000);
    realm.set_ripas(130, range, Ripas::Empty).await?;
    let word = alias(range.base());
    realm.store(131, word, 8, 0).await?;
    realm.ask(1, word.raw(), 0).await?;
    while realm.load(132, word, 8).await? == 0 {
        realm.cpu.relax().await;
    }
    Ok(())
}
