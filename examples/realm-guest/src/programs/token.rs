//! The attestation token.

use rmi_abi::rsi::ReturnCode;
use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};

use super::{Failure, Realm};
use crate::host_call::values;
use crate::layout::{RAM, alias, word_at};
use crate::vcpu::Vcpu;

/// The challenge that the program asks for with a number.
#[must_use]
pub fn challenge(number: u64) -> [u64; 8] {
    core::array::from_fn(|word| word_at(number.wrapping_add(8 * word as u64)))
}

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [number, buffer, bytes, ..] = realm.entry().arguments;
    let page = Ipa::new(RAM);
    realm.store(150, page, 8, 0).await?;
    let early = realm.cpu.token_continue(page, 0, 0x1000).await;
    realm.refused(151, ReturnCode::ErrorState, early)?;
    let shared = IpaRange::with_size_or_empty(Ipa::new(buffer), bytes);
    realm.set_ripas(152, shared, Ripas::Empty).await?;

    let bound = realm.cpu.token_init(challenge(number)).await;
    let bound = realm.done(153, bound)?;
    let mut length = 0;
    loop {
        // One page of it, in pieces that are not a multiple of anything.
        let (mut offset, mut is_complete) = (0, false);
        while offset < 0x1000 && !is_complete {
            let size = (0x1000 - offset).min(1000);
            let piece = realm.cpu.token_continue(page, offset, size).await;
            let (written, ended) = realm.done(154, piece)?;
            if written > size {
                return Err(Failure { step: 155, expected: size, found: written });
            }
            (offset, is_complete) = (offset + written, ended);
        }
        if length + offset > bytes {
            return Err(Failure { step: 156, expected: bytes, found: length + offset });
        }
        for at in (0..offset).step_by(8) {
            let word = realm.load(157, Ipa::new(page.raw() + at), 8).await?;
            realm.store(158, alias(Ipa::new(buffer + length + at)), 8, word).await?;
        }
        length += offset;
        if is_complete {
            break;
        }
    }
    realm.expect(159, 1, (length <= bound).into())?;
    realm.tell(values::TOKEN, [length, alias(Ipa::new(buffer)).raw()]).await
}
