//! The texts that a host parses: recordings of sessions, and maps of memory owners.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rmi_conduits::replay::parse;
use rmi_host::Ownership;

fuzz_target!(|input: (bool, &str)| {
    let (map, text) = input;
    if map {
        if let Ok(ownership) = text.parse::<Ownership>() {
            let again = ownership.to_string().parse::<Ownership>();
            assert_eq!(again.map(|again| again.to_string()), Ok(ownership.to_string()));
        }
    } else if let Ok(transcript) = parse(text) {
        let again = parse(&transcript.to_string());
        assert_eq!(again.map(|again| again.to_string()), Ok(transcript.to_string()));
    }
});
