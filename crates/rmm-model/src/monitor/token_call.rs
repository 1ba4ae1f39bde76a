//! The Realm's calls for its attestation token.

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Ipa, Pa};

use super::Monitor;
use super::realm_call::{Reply, status};
use crate::attestation::{Form, MAX_BYTES, RealmClaims};
use crate::rec::Token;
use crate::rsi;

impl Monitor {
    /// The form of the tokens of this RMM.
    fn token_form(&self) -> Form {
        Form::new(self.options.rsi, self.options.dialect)
    }

    /// `RSI_ATTESTATION_TOKEN_INIT`: drops what the REC has of an earlier token. As TF-RMM, the
    /// claims are those of this moment.
    pub(super) fn token_init(&mut self, address: Pa, rd: Pa, x: &[u64; 18]) -> Option<Reply> {
        let [_, words @ ..] = x;
        let mut challenge = [0; 64];
        for (to, word) in challenge.as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        let form = self.token_form();
        let realm = self.realms.get(&rd)?;
        let claims = RealmClaims {
            challenge,
            personalization_value: realm.rpv,
            algorithm: realm.hash,
            measurements: realm.measurements.digests(),
            private_mec: realm.private_mec,
            number: realm.number,
        };
        let claims = claims.encode(&form);
        self.recs.get_mut(&address)?.token = Token::Claimed(claims);
        Some(Reply::Values([rsi::SUCCESS, MAX_BYTES, 0, 0]))
    }

    /// `RSI_ATTESTATION_TOKEN_CONTINUE`: the first call signs the token, and each copies a part of
    /// it. The order of the checks is that of TF-RMM: the buffer is translated only when there is a
    /// token, and a physical interrupt that is pending after the signature ends the call with no
    /// bytes.
    pub(super) fn token_continue(
        &mut self,
        address: Pa,
        cpu: u32,
        rd: Pa,
        arguments: [u64; 3],
    ) -> Option<Reply> {
        let [page, offset, size] = arguments;
        let page = Ipa::new(page);
        let in_granule =
            offset < MIN_GRANULE && offset.checked_add(size).is_some_and(|end| end <= MIN_GRANULE);
        if !in_granule || !page.is_aligned(MIN_GRANULE) || !self.is_protected(rd, page) {
            return Some(status(rsi::ERROR_INPUT));
        }
        match &self.recs.get(&address)?.token {
            Token::None => return Some(status(rsi::ERROR_STATE)),
            Token::Claimed(claims) => {
                let Some(token) = self.token_form().token(claims) else {
                    return Some(status(rsi::ERROR_UNKNOWN));
                };
                self.recs.get_mut(&address)?.token = Token::Signed(token);
                if self.cpu(cpu).ends_run() {
                    return Some(status(rsi::INCOMPLETE));
                }
            }
            Token::Signed(_) => {}
        }
        let at = match self.buffer(rd, page, MIN_GRANULE) {
            Ok(at) => Pa::new(at.raw() + offset),
            Err(reply) => return Some(reply),
        };
        let rec = self.recs.get_mut(&address)?;
        let Token::Signed(rest) = &mut rec.token else { return None };
        let length = usize::try_from(size).map_or(rest.len(), |size| size.min(rest.len()));
        let rest = rest.split_off(length);
        let Token::Signed(part) = core::mem::replace(&mut rec.token, Token::None) else {
            return None;
        };
        let result = if rest.is_empty() {
            rsi::SUCCESS
        } else {
            rec.token = Token::Signed(rest);
            rsi::INCOMPLETE
        };
        self.memory.write(at, &part);
        Some(Reply::Values([result, part.len() as u64, 0, 0]))
    }
}
