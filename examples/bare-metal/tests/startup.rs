//! A CPU that starts in time, and one that is too late.

use bare_metal::startup::Startup;

#[test]
fn a_cpu_in_time_takes_part() {
    let startup = Startup::new();
    assert!(!startup.has_arrived());
    assert!(startup.arrive());
    assert!(startup.has_arrived());
    // At the deadline.
    assert!(!startup.give_up());
    assert!(startup.has_arrived());
}

#[test]
fn a_cpu_that_was_given_up_does_not() {
    let startup = Startup::default();
    assert!(startup.give_up());
    assert!(!startup.has_arrived());
    assert!(!startup.arrive());
    assert!(!startup.has_arrived());
}
