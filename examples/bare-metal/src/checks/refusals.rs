//! Commands that the RMM refuses, each with the status that the specification names.

use alloc::format;

use realm_guest::Program;
use realm_guest::layout::{IMAGE, RAM, UNPROTECTED};
use realm_sdk::abi::desc::BlockSize;
use realm_sdk::abi::flags::DataFlags;
use realm_sdk::abi::psci::PsciReturnCode;
use realm_sdk::abi::rtt::Level;
use realm_sdk::abi::{Command, Ipa, IpaRange, Status};
use realm_sdk::host::{Delegated, Error, Rd, Undelegated};
use realm_sdk::rec::{Answer, EnterError, Rec};
use realm_sdk::sro::HostAllocator;

use crate::fixture::Fixture;
use crate::frames::CpuMemory;
use crate::machine::Machine;
use crate::realm::{self, Plan};
use crate::recs;
use crate::report::{Outcome, Stop};

/// Where a Realm has neither memory nor tables.
const FAR: Ipa = Ipa::new(0x70_0000_0000);
const PAGE: u64 = 0x1000;

/// Commands and how they were refused.
struct Refusals<'f, 'b, M: Machine> {
    fixture: &'f Fixture<'b, M>,
    /// A granule that the RMM has, for commands that want one.
    granule: Delegated,
    count: u32,
}

pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let mut memory = fixture.cpu_memory();
    let frames = fixture.machine.memory();
    let page = frames.allocate(PAGE, PAGE).ok_or_else(|| Stop::failed("no memory"))?;
    let granule = fixture.session.delegate(page)?;
    let mut refusals = Refusals { fixture, granule, count: 0 };
    let result = refusals.all(&mut memory);
    let granule = core::mem::take(&mut refusals.granule);
    let count = refusals.count;
    let back = fixture.session.undelegate(granule).map(|page| drop(frames.free(page)));
    memory.drain(fixture.session);
    result?;
    back?;
    Ok(format!("{count} refused as specified"))
}

impl<M: Machine> Refusals<'_, '_, M> {
    /// Checks one.
    fn refused<T>(
        &mut self,
        what: &str,
        expected: Status,
        result: Result<T, Error>,
    ) -> Result<(), Stop> {
        match result {
            Err(error) if error.is_clean() && same(error.status(), expected) => {
                self.count += 1;
                Ok(())
            }
            Err(error) => Err(Stop::failed(format!("{what}: {error}, not {expected:?}"))),
            Ok(_) => Err(Stop::failed(format!("{what}: done, not {expected:?}"))),
        }
    }

    fn all(&mut self, memory: &mut CpuMemory<'_>) -> Result<(), Stop> {
        let plan = Plan { vcpus: 2, ..Plan::new(Program::Touch, &[]) };
        let built = realm::build(self.fixture, &plan, memory)?;
        let new = self.of_a_new_realm(built.realm.rd(), built.recs());
        let (realm, recs) = built.activate(memory)?;
        let active = new.and_then(|()| self.of_an_active_realm(realm.rd(), memory));
        let realm = match realm.terminate() {
            Ok(realm) => realm,
            Err(failed) => {
                let error = failed.error;
                let _ = recs::tear_down(failed.kept, recs, memory);
                return Err(error.into());
            }
        };
        let terminated = active.and_then(|()| self.of_a_terminated_realm(realm.rd(), &recs));
        recs::tear_down(realm, recs, memory)?;
        terminated
    }

    /// Commands about tables, in any state.
    fn of_a_new_realm(&mut self, rd: &Rd, recs: &[Rec]) -> Result<(), Stop> {
        let commands = self.fixture.session.commands();
        let image = Ipa::new(IMAGE);
        let made = self.create_table(rd, FAR);
        self.refused("a table without the one above it", Status::ErrorRtt, made)?;
        let made = self.create_table(rd, image);
        self.refused("a table that exists", Status::ErrorRtt, made)?;
        let destroyed = commands.rtt_destroy(rd, FAR, Level::L3);
        self.refused("destroying no table", Status::ErrorRtt, destroyed)?;
        let destroyed = commands.rtt_destroy(rd, image, Level::L3);
        self.refused("destroying a table in use", Status::ErrorRtt, destroyed)?;
        let folded = commands.rtt_fold(rd, FAR, Level::L3);
        self.refused("folding no table", Status::ErrorRtt, folded)?;
        let read = commands.rtt_read_entry(rd, Ipa::new(2 * UNPROTECTED), Level::L3);
        self.refused("an entry outside the IPA space", Status::ErrorInput, read)?;
        let shared = IpaRange::with_size_or_empty(Ipa::new(UNPROTECTED), PAGE);
        let set = commands.rtt_init_ripas(rd, shared);
        self.refused("the RIPAS of an unprotected address", Status::ErrorInput, set)?;
        let destroyed = commands.realm_destroy(rd);
        self.refused("destroying a Realm in use", Status::ErrorRealm, destroyed)?;
        let [rec, other] = recs else { return Err(Stop::failed("the Realm has not two RECs")) };
        let entered = self.enter(rec);
        self.refused("a REC of a new Realm", Status::ErrorRealm, entered)?;
        let completed =
            commands.psci_complete(rec.name(), Some(other.name()), PsciReturnCode::Success);
        self.refused("completing no call", Status::ErrorInput, completed)?;
        let dialect = self.fixture.session.dialect();
        if Command::RmmDeactivate.fid(dialect).is_some() {
            let ended = commands.rmm_deactivate();
            self.refused("deactivation with a Realm", Status::ErrorGlobal, ended)?;
        }
        Ok(())
    }

    fn of_an_active_realm(&mut self, rd: &Rd, memory: &mut CpuMemory<'_>) -> Result<(), Stop> {
        let commands = self.fixture.session.commands();
        let activated = commands.realm_activate(rd);
        self.refused("activating again", Status::ErrorRealm, activated)?;
        let ram = IpaRange::with_size_or_empty(Ipa::new(RAM), 2 << 20);
        let set = commands.rtt_init_ripas(rd, ram);
        self.refused("the initial RIPAS when active", Status::ErrorRealm, set)?;
        let frames = memory.allocator();
        let source = frames.allocate(PAGE, PAGE).ok_or_else(|| Stop::failed("no memory"))?;
        let mapped = self.map_content(rd, &source);
        let _ = frames.free(source);
        self.refused("content when active", Status::ErrorRealm, mapped)?;
        let mapped = self.map(rd, FAR);
        self.refused("memory without a table", Status::ErrorRtt, mapped)?;
        let mapped = self.map(rd, Ipa::new(UNPROTECTED));
        self.refused("private memory at an unprotected address", Status::ErrorInput, mapped)
    }

    fn of_a_terminated_realm(&mut self, rd: &Rd, recs: &[Rec]) -> Result<(), Stop> {
        let activated = self.fixture.session.commands().realm_activate(rd);
        self.refused("activating a terminated Realm", Status::ErrorRealm, activated)?;
        let is_told = Command::RealmTerminate.fid(self.fixture.session.dialect()).is_some();
        // Of RMI 1.0 no RMM knows that a host has terminated a Realm.
        for rec in recs.iter().filter(|_| is_told) {
            let entered = self.enter(rec);
            self.refused("a REC of a terminated Realm", Status::ErrorRealm, entered)?;
        }
        Ok(())
    }

    fn create_table(&mut self, rd: &Rd, ipa: Ipa) -> Result<(), Error> {
        let granule = core::mem::take(&mut self.granule);
        let made = self.fixture.session.commands().rtt_create(rd, granule, ipa, Level::L3);
        self.keep(made.map(drop).map_err(|failed| (failed.error, failed.kept)))
    }

    fn map(&mut self, rd: &Rd, ipa: Ipa) -> Result<(), Error> {
        let granule = core::mem::take(&mut self.granule);
        let commands = self.fixture.session.commands();
        let mapped = commands.rtt_data_map(rd, ipa, granule, BlockSize::Page);
        self.keep(mapped.map(drop).map_err(|failed| (failed.error, failed.kept)))
    }

    fn map_content(&mut self, rd: &Rd, source: &Undelegated) -> Result<(), Error> {
        let granule = core::mem::take(&mut self.granule);
        let (commands, flags) = (self.fixture.session.commands(), DataFlags::MEASURE);
        let mapped = commands.rtt_data_map_init(rd, granule, Ipa::new(RAM), source, 0, flags);
        self.keep(mapped.map(drop).map_err(|failed| (failed.error, failed.kept)))
    }

    /// Keeps the granule of a command that was refused.
    fn keep(&mut self, result: Result<(), (Error, Delegated)>) -> Result<(), Error> {
        result.map_err(|(error, granule)| {
            self.granule = granule;
            error
        })
    }

    fn enter(&self, rec: &Rec) -> Result<(), Error> {
        match rec.enter(self.fixture.session, Answer::resume()) {
            Err(failed) => match failed.error {
                EnterError::Call(error) => Err(error),
                _ => Ok(()),
            },
            Ok(_) => Ok(()),
        }
    }
}

/// Whether a status is the expected one, whatever else is in the answer.
fn same(found: Option<Status>, expected: Status) -> bool {
    found == Some(expected)
}
