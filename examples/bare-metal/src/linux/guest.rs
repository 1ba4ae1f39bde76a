//! A Realm with a Linux guest: built, and torn down.

use alloc::string::String;
use alloc::vec::Vec;

use realm_sdk::abi::IpaRange;
use realm_sdk::abi::realm::OptionalParameter;
use realm_sdk::builder::{
    Active, Content, DismantleProgress, Realm, RealmConfig, RecStart, Records, Region,
};
use realm_sdk::host::{Platform, Rmm};
use realm_sdk::rec::set::PhysicalCpus;
use realm_sdk::rec::{Rec, RecSet};
use realm_sdk::sro::{HostAllocator, HostMemory, RecObject};

use super::comparison::{Comparison, Kind};
use super::device_tree::Description;
use super::layout::{BLOCK, IPA_WIDTH, Layout};
use super::options::{Files, Options};
use crate::frames::CpuMemory;
use crate::recs::{create_rec, give_back, tear_down};
use crate::report::Stop;

const MIB: u64 = 1 << 20;
const GRANULE: u64 = 0x1000;

/// A Realm that is ready to run.
pub(crate) struct Guest<'r, P: Platform> {
    pub(crate) realm: Realm<'r, P, Active>,
    pub(crate) vcpus: RecSet<'r>,
    pub(crate) layout: Layout,
}

/// What a Realm is made of, before it is active. It is torn down when one of the steps fails.
struct Parts<'r, P: Platform> {
    vcpus: RecSet<'r>,
    realm: Option<Realm<'r, P, realm_sdk::builder::New>>,
}

/// How a Realm is built.
pub(crate) struct Build<'r, 'f, P> {
    pub(crate) rmm: &'r Rmm<P>,
    pub(crate) cpus: &'r dyn PhysicalCpus,
    /// What the statistics of the RECs measure time with.
    pub(crate) clock: &'r (dyn Fn() -> u64 + Sync),
    pub(crate) files: &'f Files<'f>,
    pub(crate) options: &'f Options,
    pub(crate) comparison: &'f Comparison<'f>,
    /// It becomes the personalization value: Realms of the same files have different ones.
    pub(crate) name: String,
    /// Which Realms that are there at once must not have in common, in dialects that have it.
    pub(crate) vmid: u16,
}

impl<'r, P: Platform> Build<'r, '_, P> {
    /// Creates the Realm, populates it with the files, and creates its RECs.
    pub(crate) fn guest(&self, memory: &mut CpuMemory<'_>) -> Result<Guest<'r, P>, Stop> {
        let (files, options) = (self.files, self.options);
        let ram = options.ram.saturating_mul(MIB);
        let layout = Layout::new(files.kernel, files.initramfs.len() as u64, ram);
        let layout = layout.map_err(Stop::failed)?;
        let mut config = RealmConfig::new(IPA_WIDTH);
        if OptionalParameter::Vmid.exists_in(self.rmm.dialect()) {
            config.vmid = self.vmid;
        }
        for (byte, of_name) in config.personalization.iter_mut().zip(self.name.bytes()) {
            *byte = of_name;
        }
        let realm = Realm::create(self.rmm, &config, Records::growing(), memory)?;
        let mut vcpus = RecSet::with_capacity(options.vcpus, self.cpus);
        vcpus.set_clock(self.clock);
        let mut parts = Parts { vcpus, realm: Some(realm) };
        match parts.fill(memory, self, &layout) {
            Ok(realm) => Ok(Guest { realm, vcpus: parts.vcpus, layout }),
            Err(stop) => {
                parts.tear_down(memory);
                Err(stop)
            }
        }
    }
}

impl<P: Platform> Guest<'_, P> {
    /// Tears the Realm down, and gives its memory back.
    pub(crate) fn tear_down(
        self,
        memory: &mut CpuMemory<'_>,
        comparison: &Comparison<'_>,
    ) -> Result<(), Stop> {
        let Self { realm, mut vcpus, layout } = self;
        let (objects, pages): (Vec<_>, Vec<_>) = vcpus.drain().map(Rec::into_parts).unzip();
        let ended = dismantle(realm, objects, memory, (comparison, layout.ram));
        pages.into_iter().for_each(|page| give_back(memory, page));
        ended
    }
}

/// Destroys the RECs and then the Realm, whose memory is predicted without them.
fn dismantle<P: Platform>(
    realm: Realm<'_, P, Active>,
    objects: Vec<RecObject>,
    memory: &mut CpuMemory<'_>,
    (comparison, ram): (&Comparison<'_>, IpaRange),
) -> Result<(), Stop> {
    let mut result: Result<(), Stop> = Ok(());
    let mut realm = match realm.terminate() {
        Ok(realm) => realm,
        Err(failed) => {
            // The error that is reported is the one before.
            let _ = failed.kept.tear_down(memory, objects);
            return Err(failed.error.into());
        }
    };
    let mut left = Vec::new();
    for object in objects {
        if let Err(failed) = realm.destroy_rec(memory, object) {
            left.extend(failed.kept);
            result = Err(failed.error.into());
        }
    }
    let rmm = realm.rmm();
    memory.pool().undelegate(rmm);
    let dismantled = comparison.of(Kind::Dismantling, ram, |limits| {
        let cost = realm.dismantle_cost(limits);
        let tables = cost.destroy.saturating_sub(cost.create);
        let dismantled = loop {
            match realm.dismantle(memory, u32::MAX) {
                Ok(DismantleProgress::More) => {}
                ended => break ended,
            }
        };
        // Where a call takes a granule, the tables take one each.
        if limits.granules_per_call == Some(1) {
            memory.pool().undelegate(rmm);
            return (cost.calls() + tables, dismantled);
        }
        (cost.calls(), dismantled)
    });
    let ended = realm.tear_down(memory, left);
    result?;
    dismantled?;
    ended.error.map_or(Ok(()), |error| Err(error.into()))
}

impl<'r, P: Platform> Parts<'r, P> {
    fn tear_down(mut self, memory: &mut CpuMemory<'_>) {
        if let Some(realm) = self.realm {
            // The error that is reported is the one before.
            let _ = tear_down(realm, self.vcpus.drain(), memory);
        }
    }

    fn fill(
        &mut self,
        memory: &mut CpuMemory<'_>,
        build: &Build<'r, '_, P>,
        layout: &Layout,
    ) -> Result<Realm<'r, P, Active>, Stop> {
        let Some(realm) = self.realm.as_mut() else { return Err(Stop::failed("no Realm")) };
        let Build { files, options, comparison, .. } = *build;
        let mpidrs: Vec<u64> = (0..options.vcpus).map(mpidr).collect();
        let command_line = files.command_line;
        let psci_method = "smc";
        let tree = Description { layout, mpidrs: &mpidrs, command_line, psci_method };
        let tree = tree.blob().map_err(Stop::failed)?;
        if tree.len() as u64 > BLOCK {
            return Err(Stop::failed("the device tree is too large"));
        }
        let contents = [
            (layout.kernel, files.kernel),
            (layout.tree, tree.as_slice()),
            (layout.initramfs, files.initramfs),
        ];
        let mut regions = Vec::new();
        let placed = place(memory, &mut regions, &contents, layout.ram, options.measured);
        let populated = placed.and_then(|()| {
            comparison.of(Kind::Populating, layout.ram, |limits| {
                let cost = realm.populate_cost(memory, &mut regions, limits);
                (cost.calls(), realm.populate(memory, &mut regions).map_err(Stop::from))
            })
        });
        for region in regions {
            give_back(memory, region.into_memory());
        }
        populated?;
        for index in 0..options.vcpus {
            let start = boot(layout, index);
            let rec = create_rec(realm, memory, &start)?;
            self.vcpus.add(rec, start.runnable).map_err(|refused| Stop::failed(refused.error))?;
        }
        let Some(realm) = self.realm.take() else { return Err(Stop::failed("no Realm")) };
        realm.activate().map_err(|failed| {
            let (error, realm) = (failed.error, failed.kept);
            self.realm = Some(realm);
            Stop::failed(error)
        })
    }
}

/// The first virtual CPU starts at the kernel, with the address of the device tree in X0.
fn boot(layout: &Layout, index: usize) -> RecStart {
    let tree = if index == 0 { layout.tree.base().raw() } else { 0 };
    RecStart { runnable: index == 0, pc: layout.entry, gprs: [tree, 0, 0, 0, 0, 0, 0, 0] }
}

/// The affinity of a virtual CPU.
fn mpidr(index: usize) -> u64 {
    realm_sdk::abi::rec::Mpidr::from_index(u32::try_from(index).unwrap_or(u32::MAX)).to_psci()
}

/// Makes the regions of the Realm: the files, with memory, and all other RAM, without.
fn place<'f>(
    memory: &CpuMemory<'_>,
    regions: &mut Vec<Region<'f>>,
    contents: &[(IpaRange, &'f [u8])],
    ram: IpaRange,
    measured: bool,
) -> Result<(), Stop> {
    let mut vacant_from = ram.base();
    let vacant = |regions: &mut Vec<Region<'f>>, range: IpaRange| {
        if !range.is_empty() {
            regions.push(Region::without_memory(range.base(), range.bytes()));
        }
    };
    for (range, content) in contents {
        if content.is_empty() {
            continue;
        }
        let bytes = (content.len() as u64).next_multiple_of(GRANULE);
        let range = IpaRange::with_size_or_empty(range.base(), bytes);
        vacant(regions, IpaRange::new_or_empty(vacant_from, range.base()));
        let Some(granules) = memory.allocator().allocate(bytes, GRANULE) else {
            return Err(Stop::failed(format_args!("no {bytes:#x} bytes of memory for a file")));
        };
        let content =
            if measured { Content::Measured(content) } else { Content::Unmeasured(content) };
        regions.push(Region::new(range.base(), granules, content));
        vacant_from = range.top();
    }
    vacant(regions, IpaRange::new_or_empty(vacant_from, ram.top()));
    Ok(())
}
