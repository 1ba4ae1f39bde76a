//! The counter of the machine's generic timers.

use alloc::boxed::Box;

/// Tells ticks; see [`Model::set_clock`](crate::Model::set_clock) and
/// [`Model::set_counter`](crate::Model::set_counter).
pub(crate) type Source = Box<dyn Fn() -> u64 + Send>;

/// The physical counter. It never goes back, and stops at its end.
#[derive(Default)]
pub(crate) struct Clock {
    source: Option<Source>,
    /// What the source said at first, and at most since then.
    first: u64,
    most: u64,
    /// Ticks that do not come from the source.
    added: u64,
}

impl Clock {
    pub(crate) fn now(&mut self) -> u64 {
        if let Some(source) = &self.source {
            self.most = self.most.max(source());
        }
        (self.most - self.first).saturating_add(self.added)
    }

    /// Moves the counter forward.
    pub(crate) fn advance(&mut self, ticks: u64) {
        self.added = self.added.saturating_add(ticks);
    }

    /// From now on the counter follows `source`; it goes on from where it is. Returns the old one.
    pub(crate) fn follow(&mut self, source: Source) -> Option<Source> {
        self.added = self.now();
        self.first = source();
        self.most = self.first;
        self.source.replace(source)
    }

    /// From now on the counter is what `source` says. Returns the old one.
    pub(crate) fn take_over(&mut self, source: Source) -> Option<Source> {
        (self.most, self.first, self.added) = (self.now(), 0, 0);
        self.source.replace(source)
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use core::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn it_goes_on_and_never_back() {
        let mut clock = Clock::default();
        assert_eq!(clock.now(), 0);
        clock.advance(5);
        clock.advance(2);
        assert_eq!(clock.now(), 7);
        let ticks = Arc::new(AtomicU64::new(100));
        let source = Arc::clone(&ticks);
        assert!(clock.follow(Box::new(move || source.load(Ordering::Relaxed))).is_none());
        assert_eq!(clock.now(), 7);
        ticks.store(110, Ordering::Relaxed);
        assert_eq!(clock.now(), 17);
        ticks.store(90, Ordering::Relaxed);
        assert_eq!(clock.now(), 17);
        clock.advance(1);
        assert_eq!(clock.now(), 18);
        ticks.store(120, Ordering::Relaxed);
        assert_eq!(clock.now(), 28);
        assert!(clock.follow(Box::new(|| u64::MAX)).is_some());
        assert_eq!(clock.now(), 28);
        clock.advance(u64::MAX);
        assert_eq!(clock.now(), u64::MAX);
        clock.advance(1);
        assert_eq!(clock.now(), u64::MAX);
    }

    #[test]
    fn it_is_what_a_source_says_but_never_goes_back() {
        let ticks = Arc::new(AtomicU64::new(100));
        let read = |ticks: &Arc<AtomicU64>| {
            let ticks = Arc::clone(ticks);
            Box::new(move || ticks.load(Ordering::Relaxed)) as Source
        };
        let mut clock = Clock::default();
        assert!(clock.follow(read(&ticks)).is_none());
        clock.advance(3);
        ticks.store(140, Ordering::Relaxed);
        assert!(clock.take_over(read(&ticks)).is_some());
        assert_eq!(clock.now(), 140);
        ticks.store(150, Ordering::Relaxed);
        assert_eq!(clock.now(), 150);
        clock.advance(5);
        assert_eq!(clock.now(), 155);
        ticks.store(20, Ordering::Relaxed);
        assert_eq!(clock.now(), 155);
        assert!(clock.take_over(read(&ticks)).is_some());
        assert_eq!(clock.now(), 155);
        ticks.store(156, Ordering::Relaxed);
        assert_eq!(clock.now(), 156);
    }
}
