//! Which calls get a fault.

use core::fmt;
use core::num::NonZeroU64;

use rmi_abi::{Command, Dialect, Fid, Pa, PaRange};
use rmi_host::conduit::Registers;

use super::Predicate;

/// Selects calls: first by their content (command, address, predicate), then by their number among
/// those, from 0.
///
/// ```
/// use core::num::NonZeroU64;
/// use rmi_abi::{Command, Dialect, Pa, PaRange};
/// use rmi_conduits::inject::Rule;
///
/// let dialect = Dialect::TfRmm2026_07;
/// let memory = PaRange::with_size(Pa::new(0x8000_0000), 0x1000)?;
/// const TWO: NonZeroU64 = NonZeroU64::new(2).unwrap();
///
/// let third = Rule::command(Command::RecCreate, dialect).nth(2);
/// let second_and_fourth = Rule::command(Command::RttCreate, dialect).every(TWO);
/// let all_but_the_first_about_it = Rule::any().naming(memory).from(1);
/// let with_zero_in_x1 = Rule::any().when(|registers| registers[1] == 0);
/// # Ok::<(), rmi_abi::address::RangeError>(())
/// ```
///
/// ```
/// use rmi_abi::{Command, Dialect, Status};
/// use rmi_conduits::inject::{Fault, Injecting, Rule};
/// # use rmi_host::Host;
/// # use rmm_model::{Model, Options};
///
/// # let dialect = Dialect::TfRmm2026_07;
/// # let model = Model::new(Options::new(dialect))?;
/// # let mut memory = model.take_memory();
/// // Delegations are refused, whatever the memory.
/// let rule = Rule::command(Command::GranuleRangeDelegate, dialect);
/// let conduit = Injecting::by_rule(&model, rule, Fault::status(Status::ErrorInput));
/// # let rmm = rmm_model::open(Host::new(&conduit, &model), &mut memory)?;
/// let failed = rmm.delegate(memory.take_front(0x4000).expect("1 GiB")).unwrap_err();
/// assert_eq!(failed.error.status(), Some(Status::ErrorInput));
/// assert_eq!((failed.host.bytes(), conduit.injections()), (0x4000, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Rule<P = Predicate> {
    command: Selection,
    naming: Option<PaRange>,
    predicate: P,
    first: u64,
    last: u64,
    every: NonZeroU64,
}

/// The functions to which the rule applies.
#[derive(Clone, Copy, Debug)]
enum Selection {
    Any,
    One(Fid),
    None,
}

impl Rule {
    /// Selects every call.
    #[must_use]
    pub const fn any() -> Self {
        Self::span(0, u64::MAX)
    }

    /// Selects the calls with these numbers and those between.
    pub(super) const fn span(first: u64, last: u64) -> Self {
        Self {
            command: Selection::Any,
            naming: None,
            predicate: |_| true,
            first,
            last,
            every: NonZeroU64::MIN,
        }
    }

    /// Selects the calls of one command; none if the dialect does not have it.
    #[must_use]
    pub fn command(command: Command, dialect: Dialect) -> Self {
        let command = command.fid(dialect).map_or(Selection::None, Selection::One);
        Self { command, ..Self::any() }
    }
}

impl<P> Rule<P> {
    /// Of those, only the one with this number, from 0.
    #[must_use]
    pub fn nth(self, number: u64) -> Self {
        Self { first: number, last: number, ..self }
    }

    /// Of those, only the ones from this number on.
    #[must_use]
    pub fn from(self, number: u64) -> Self {
        Self { first: number, last: u64::MAX, ..self }
    }

    /// Of those, only every n-th: with 2 the second, the fourth and so on, counted from the first
    /// that [`Rule::from`] allows.
    #[must_use]
    pub fn every(self, n: NonZeroU64) -> Self {
        Self { every: n, ..self }
    }

    /// Applies only to calls of which an argument (X1 to X7) is an address in `range`. An argument
    /// that is not an address may have such a value, too.
    #[must_use]
    pub fn naming(self, range: PaRange) -> Self {
        Self { naming: Some(range), ..self }
    }

    /// Applies only to calls for which `predicate`, given X0 to X7, is true.
    #[must_use]
    pub fn when<Q: Fn(&Registers) -> bool>(self, predicate: Q) -> Rule<Q> {
        let Self { command, naming, first, last, every, .. } = self;
        Rule { command, naming, predicate, first, last, every }
    }

    /// Whether the call of this number, among those to which the rule applies, is selected.
    pub(super) fn chooses(&self, number: u64) -> bool {
        let counted = number.wrapping_sub(self.first).wrapping_add(1);
        (self.first..=self.last).contains(&number) && counted.is_multiple_of(self.every.get())
    }
}

impl<P: Fn(&Registers) -> bool> Rule<P> {
    /// Whether the rule applies to such calls.
    pub(super) fn concerns(&self, registers: &Registers) -> bool {
        let [x0, arguments @ ..] = registers;
        let command = match self.command {
            Selection::Any => true,
            Selection::One(fid) => Fid::from_register(*x0).without_sve_hint() == fid,
            Selection::None => false,
        };
        let named =
            self.naming.is_none_or(|range| arguments.iter().any(|x| range.contains(Pa::new(*x))));
        command && named && (self.predicate)(registers)
    }
}

impl<P> fmt::Debug for Rule<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("command", &self.command)
            .field("naming", &self.naming)
            .field("first", &self.first)
            .field("last", &self.last)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
