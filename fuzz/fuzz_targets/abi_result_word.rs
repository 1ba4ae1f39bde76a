//! Result words: any bits decode, and the result encodes to a word that decodes to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rmi_abi::result::{ResultWord, Status};

fuzz_target!(|raw: u64| {
    let word = ResultWord(raw);
    let status = word.status();
    assert_eq!(word.data() << 8 | u64::from(u8::from(status)), raw);
    assert_eq!(ResultWord::from_status(status).status(), status);
    if let Some(level) = word.level() {
        let again = ResultWord::with_level(status, level);
        assert_eq!((again.status(), again.level()), (status, Some(level)));
    }
    if status == Status::Incomplete {
        let again = ResultWord::incomplete(word.op_mem_req(), word.can_cancel());
        assert_eq!(again.0, raw & 0x7ff);
    }
});
