//! RAM that has memory where it is touched.

use rmi_abi::Ipa;

use super::{Failure, Realm};
use crate::host_call::values;
use crate::layout::word_at;
use crate::vcpu::Vcpu;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [base, bytes, stride, cpus, ..] = realm.entry().arguments;
    let (stride, me) = (stride.max(8), realm.index());
    let words = bytes / stride;
    let mine = move || (me..words).step_by(usize::try_from(cpus.max(1)).unwrap_or(1));
    let mut count = 0;
    for number in mine() {
        let at = base + stride * number;
        realm.store(30, Ipa::new(at), 8, word_at(at)).await?;
        count += 1;
    }
    for number in mine() {
        let at = base + stride * number;
        let found = realm.load(31, Ipa::new(at), 8).await?;
        realm.expect(32, word_at(at), found)?;
    }
    realm.tell(values::COUNT, [me, count]).await?;
    realm.wait_for_others(cpus).await;
    Ok(())
}
