//! Answers of an RMM over the line protocol.

#![no_main]

use std::io::{Cursor, sink};

use libfuzzer_sys::fuzz_target;
use rmi_abi::Pa;
use rmi_conduits::lines::Lines;
use rmi_host::{Conduit, HostAccess};

fuzz_target!(|answers: &[u8]| {
    let all = [b"ok ready\n", answers].concat();
    let lines = Lines::new(Cursor::new(all), sink()).unwrap();
    let mut page = [0; 0x1001];
    for at in [0, 0x1000, u64::MAX - 0x800] {
        // SAFETY: the memory that the call names does not exist.
        let _ = unsafe { (lines.call([at; 8]), lines.read(Pa::new(at), &mut page)) };
        let _ = (lines.memory(), lines.say("glog"));
    }
});
