//! Memory that the host has given content.

use rmi_abi::Ipa;

use super::{Failure, Realm};
use crate::host_call::values;
use crate::layout::word_at;
use crate::vcpu::Vcpu;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [first, first_bytes, second, second_bytes, stride, ..] = realm.entry().arguments;
    let rim = realm.cpu.measurement_read(0).await;
    let rim = realm.done(20, rim)?;
    realm.tell(values::INITIAL_MEASUREMENT, rim).await?;
    for (base, bytes) in [(first, first_bytes), (second, second_bytes)] {
        let mut at = base;
        while at < base + bytes {
            let found = realm.load(21, Ipa::new(at), 8).await?;
            realm.expect(22, word_at(at), found)?;
            at += stride.max(8);
        }
    }
    Ok(())
}
