//! Memory that the host has given content.

use rmi_abi::Ipa;

use super::{Failure, Realm};
use crate::layout::word_at;
use crate::vcpu::Vcpu;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [base, bytes, stride, ..] = realm.entry().arguments;
    let mut at = base;
    while at < base + bytes {
        let found = realm.load(20, Ipa::new(at), 8).await?;
        realm.expect(21, word_at(at), found)?;
        at += stride.max(8);
    }
    Ok(())
}
