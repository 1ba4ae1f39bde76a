//! The machine's counter.

use alloc::boxed::Box;

use super::Model;

impl Model {
    /// The physical counter (`CNTPCT_EL0`), in ticks; Realms see it without an offset.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.monitor.lock().clock.now()
    }

    /// Moves the counter forward, from any thread. Timers that expire end the runs in progress.
    ///
    /// ```
    /// use rmi_abi::Dialect;
    /// use rmm_model::{Model, Options};
    ///
    /// let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
    /// assert_eq!(model.now(), 0);
    /// model.advance(1000);
    /// assert_eq!(model.now(), 1000);
    /// # Ok::<(), rmm_model::OptionsError>(())
    /// ```
    pub fn advance(&self, ticks: u64) {
        self.monitor.lock().clock.advance(ticks);
    }

    /// From now on the counter moves as `source` does, for example with the time of the host; it
    /// goes on from where it is. Where the source goes back, the counter stands still.
    /// [`Model::advance`] adds to it.
    ///
    /// `source` is called with the model locked: it must not use the model.
    pub fn set_clock(&self, source: Box<dyn Fn() -> u64 + Send>) {
        let replaced = self.monitor.lock().clock.follow(source);
        drop(replaced);
    }

    /// From now on the counter is what `source` says, for example `CNTPCT_EL0` of the machine that
    /// the model runs on. The counter never goes back: where `source` says less than it was, it
    /// stands still. Otherwise as [`Model::set_clock`].
    ///
    /// ```
    /// use rmi_abi::Dialect;
    /// use rmm_model::{Model, Options};
    ///
    /// let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
    /// model.set_counter(Box::new(|| 5000));
    /// assert_eq!(model.now(), 5000);
    /// # Ok::<(), rmm_model::OptionsError>(())
    /// ```
    pub fn set_counter(&self, source: Box<dyn Fn() -> u64 + Send>) {
        let replaced = self.monitor.lock().clock.take_over(source);
        drop(replaced);
    }
}
