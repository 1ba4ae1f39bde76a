//! The changes of a word, one by one, and in all orders.

mod orders;

use super::{Effect, Obstacle, Power, Word};

fn inside(cpu: u16) -> Word {
    let (word, begun) = Word::new(true).begin(cpu);
    assert_eq!(begun, Ok(word));
    word
}

fn off() -> Word {
    Word::new(false)
}

/// Asserts that nothing but this change has happened.
fn changed((word, effect): (Word, Effect), interrupt: Option<u16>, wake: bool) -> Word {
    assert_eq!(effect, Effect { interrupt, wake });
    word
}

#[test]
fn a_word_says_where_its_thread_is() {
    let word = Word::new(true);
    assert_eq!((word.cpu(), word.power(), word.epoch()), (None, Power::On, 0));
    assert_eq!((off().cpu(), off().power(), off().epoch()), (None, Power::Off, 0));
    let word = inside(0xfffe);
    assert_eq!((word.cpu(), word.power(), word.epoch()), (Some(0xfffe), Power::On, 0));
    let (word, prepared) = word.prepare(3);
    assert_eq!((prepared, word.cpu(), word.power()), (Ok(word), Some(3), Power::On));
    assert!(word.is_plain(3) && !word.is_plain(2));
    assert_eq!(word.leave().0.cpu(), None);
    // CPU 0 is one like the others.
    assert_eq!(
        (inside(0).cpu(), inside(0).is_plain(0), inside(0).is_plain(1)),
        (Some(0), true, false)
    );
}

#[test]
fn pauses_are_counted() {
    let word = Word::new(true);
    let asleep = word.pause().0.begin(0).0;
    let twice = changed(asleep.pause(), None, true);
    let once = changed(twice.resume(), None, false);
    assert!(once.is_paused() && !once.is_ready());
    let resumed = changed(once.resume(), None, true);
    assert!(!resumed.is_paused() && resumed.is_ready());
    assert_eq!(changed(resumed.resume(), None, true), resumed);
    // As many as fit, which changes nothing else.
    let most = (0..255).fold(word, |word, _| word.pause().0);
    assert_eq!((most.pause().0, most.power(), most.cpu()), (most, Power::On, None));
    let last = (0..254).fold(most, |word, _| word.resume().0);
    assert!(last.is_paused());
    assert_eq!(last.resume().0, word);
}

#[test]
fn obstacles_have_an_order() {
    let kicked = changed(Word::new(true).kick(), None, false);
    let paused = changed(kicked.pause(), None, false);
    let stopped = changed(paused.stop(), None, false);
    assert_eq!(stopped.begin(0).1, Err(Obstacle::Stopped));
    // The Realm does not come back.
    assert_eq!(stopped.begin(0).0.begin(0).1, Err(Obstacle::Stopped));
    let (after, obstacle) = paused.begin(0);
    assert_eq!((obstacle, after.is_kicked()), (Err(Obstacle::Kicked), false));
    let (after, obstacle) = after.begin(0);
    assert_eq!((obstacle, after.is_paused()), (Err(Obstacle::Paused), true));
    let after = changed(after.resume(), None, true);
    assert!(after.begin(0).1.is_ok());
    let off = changed(off().pause(), None, false);
    assert_eq!(off.begin(0).1, Err(Obstacle::Paused));
    let off = changed(off.resume(), None, false);
    assert_eq!(off.begin(0).1, Err(Obstacle::Off));
}

#[test]
fn obstacles_are_seen_before_each_entry() {
    for (word, obstacle) in [
        (inside(5).kick(), Obstacle::Kicked),
        (inside(5).pause(), Obstacle::Paused),
        (inside(5).stop(), Obstacle::Stopped),
    ] {
        let word = changed(word, Some(5), false);
        assert!(!word.is_plain(5));
        let (after, prepared) = word.prepare(5);
        assert_eq!((prepared, after.cpu()), (Err(obstacle), None));
    }
    // What ends a wait is none, unless it was sent to another CPU.
    let word = changed(inside(5).notify(), Some(5), false);
    assert!(word.is_plain(5));
    assert_eq!(word.prepare(5), (word, Ok(word)));
    let (moved, prepared) = word.prepare(6);
    assert_eq!((moved, prepared), (inside(6), Err(Obstacle::Moved)));
    assert_eq!(inside(5).prepare(6), (inside(6), Ok(inside(6))));
}

#[test]
fn a_wait_ends() {
    assert!(Word::new(true).is_ready() && !off().is_ready());
    let (asleep, has_slept) = inside(1).sleep();
    assert!(has_slept && asleep.waits() && !asleep.is_ready());
    assert_eq!(asleep.cpu(), None);
    assert!(changed(asleep.notify(), None, true).is_ready());
    assert!(changed(asleep.kick(), None, true).is_ready());
    assert!(changed(asleep.stop(), None, true).is_ready());
    let paused = changed(asleep.pause(), None, true);
    assert!(!paused.is_ready() && !changed(paused.notify(), None, true).is_ready());
    assert!(changed(paused.stop(), None, true).is_ready());
    assert!(!changed(paused.resume(), None, true).is_ready());
    // A CPU_ON of a REC that is on already ends no wait.
    assert!(!changed(asleep.turn_on(), None, true).is_ready());
    // It may be entered nevertheless, and then nobody has to be woken.
    let (word, _) = asleep.begin(1);
    assert!(!word.waits());
    let word = changed(word.notify(), Some(1), false);
    // What ended the last wait may end the next one, once.
    let (word, has_slept) = word.sleep();
    assert_eq!((has_slept, word.cpu()), (false, Some(1)));
    let (_, has_slept) = word.sleep();
    assert!(has_slept);
    // Beginning uses it up.
    let (word, _) = changed(inside(1).notify(), Some(1), false).begin(1);
    assert!(word.sleep().1);
    for obstacle in [Word::kick, Word::pause, Word::stop] {
        let (word, _) = obstacle(inside(1));
        let (word, has_slept) = word.sleep();
        assert_eq!((has_slept, word.cpu()), (false, Some(1)));
    }
}

#[test]
fn power_changes_by_its_epoch() {
    let word = inside(2);
    let (gone, is_off) = word.turn_off(0);
    assert_eq!((is_off, gone.power(), gone.cpu()), (true, Power::Off, None));
    assert!(!gone.is_ready());
    let on = changed(gone.turn_on(), None, true);
    assert_eq!((on.power(), on.epoch()), (Power::OnPending, 1));
    assert!(on.is_ready());
    let (on, begun) = on.begin(2);
    assert!(begun.is_ok() && !on.is_plain(2));
    assert_eq!(on.prepare(2), (on, Ok(on)));
    // Another obstacle comes first.
    for (word, obstacle) in [
        (word.kick(), Obstacle::Kicked),
        (word.pause(), Obstacle::Paused),
        (word.stop(), Obstacle::Stopped),
    ] {
        let (gone, is_off) = word.0.turn_off(0);
        assert_eq!((is_off, gone.power(), gone.cpu()), (false, Power::Off, Some(2)));
        assert_eq!(gone.prepare(2).1, Err(obstacle));
    }
    // An older run says nothing.
    assert_eq!(on.turn_off(0), (on, false));
    let on = on.confirm_on().0;
    assert_eq!((on.power(), on.is_plain(2), on.epoch()), (Power::On, true, 1));
    assert_eq!(on.turn_off(1).0.power(), Power::Off);
    // One for a REC that is on makes it unsure again.
    let again = changed(on.turn_on(), None, false);
    assert_eq!((again.power(), again.epoch(), again.cpu()), (Power::OnPending, 2, Some(2)));
}

#[test]
fn a_request_is_taken_back() {
    let kicked = changed(Word::new(true).kick(), None, false);
    assert!(kicked.is_kicked() && !Word::new(true).is_kicked());
    assert_eq!(kicked.take_kick(), (Word::new(true), true));
    assert_eq!(Word::new(true).take_kick(), (Word::new(true), false));
}

#[test]
fn epochs_wrap() {
    let mut word = Word(Word::new(true).0 | 0xffff_ffff << 32);
    assert_eq!(word.epoch(), u32::MAX);
    word = word.turn_on().0;
    assert_eq!((word.epoch(), word.power()), (0, Power::OnPending));
}
