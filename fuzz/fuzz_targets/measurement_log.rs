//! The log of a measurement: any text is refused or replayed, in bounded time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use realm_measurement::MeasurementEvent;
use realm_measurement::rim::Rim;

fuzz_target!(|text: &str| {
    let mut rim: Option<Rim> = None;
    for line in text.lines() {
        let event = match line.parse::<MeasurementEvent>() {
            Ok(event) => event,
            Err(error) => {
                assert!(error.at <= line.len() && !error.to_string().is_empty());
                continue;
            }
        };
        assert_eq!(event.to_string(), line);
        match &mut rim {
            None => rim = Rim::start(&event).ok(),
            Some(rim) => {
                let before = *rim;
                if rim.apply(&event).is_err() {
                    assert_eq!(*rim, before);
                }
            }
        }
    }
});
