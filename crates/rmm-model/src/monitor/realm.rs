//! The states of a Realm: create, activate, terminate, destroy.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem::{self, offset_of};

use rmi_abi::dialect::InitialMeasurement;
use rmi_abi::realm::{HashAlgorithm, RealmFlags0, RealmFlags1, RealmParamsPage};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Dialect, Pa, PaRange, Status};
use rmi_host::Registers;
use zerocopy::{FromZeros, IntoBytes};

use super::operation::Work;
use super::{Monitor, require_state};
use crate::answer::{Answer, Answered, require};
use crate::granule::GranuleState;
use crate::measurement::{Measurements, hash};
use crate::planes::Planes;
use crate::realm::{Realm, RealmState};
use crate::rtt::Tree;

/// The two bits of `RmiRealmFlags0.mec_policy`; the private policy is the lower one.
const MEC_POLICY: u64 = 0b11 << 7;

impl Monitor {
    pub(super) fn realm_create(&mut self, x: &Registers) -> Answered {
        let [_, rd, params, ..] = *x;
        if self.options.realm_create_donates == 0 {
            return self.finish_realm_create(self.fresh(rd)?, params, Vec::new());
        }
        // As for a REC, everything but the object itself is checked when the memory has been
        // donated.
        let rd = self.fresh(rd)?;
        self.open_donation(Work::RealmCreate { rd, params }, self.options.realm_create_donates)
    }

    pub(super) fn finish_realm_create(
        &mut self,
        rd: Pa,
        params: u64,
        donated: Vec<Pa>,
    ) -> Answered {
        let mut page = RealmParamsPage::new_zeroed();
        self.read_host_page(params, page.as_mut_bytes())?;
        let is_1_0 = !self.options.dialect.is_2_0();
        if is_1_0 {
            // TF-RMM v0.8.0 does not look at this field of a later version; others it refuses.
            page.ats_plane = 0;
        }
        let geometry = self.checked(&page)?;
        let vmid = is_1_0.then_some(page.vmid);
        require(vmid.is_none_or(|vmid| self.vmid_is_free(vmid)), Status::ErrorInput)?;
        let mut planes = Planes::of(&page, &self.features).ok_or(Status::ErrorInput)?;
        let wanted = planes.trees_wanted(&page);
        let aux: Vec<Pa> = page.aux_rtt_base.into_iter().take(wanted).map(Pa::new).collect();
        let root = Pa::new(page.rtt_base);
        let tables = self.root_tables(&geometry, rd, root, &aux)?;

        let flags = RealmFlags0::from_bits_retain(page.flags0);
        let private_mec = !is_1_0 && flags.contains(RealmFlags0::MEC_PRIVATE);
        if private_mec {
            let taken = self.realms.values().filter(|realm| realm.private_mec).count() as u64;
            require(taken < self.features.mec_count(), Status::ErrorGlobal)?;
        }
        let algorithm = HashAlgorithm::from(page.hash_algo);
        let initial = match self.options.dialect.initial_measurement() {
            InitialMeasurement::Parameters => hash(algorithm, page.measured().as_bytes()),
            InitialMeasurement::Zero => [0; 64],
        };
        let lpa2 = match self.options.dialect.has_lpa2_flag() {
            true => flags.contains(RealmFlags0::LPA2),
            false => self.features.lpa2() && geometry.ipa_width() > 48,
        };
        for tables in &tables {
            self.granules.set_all(tables, GranuleState::Rtt);
        }
        planes.set_trees(geometry, &aux);
        self.granules.set(rd, GranuleState::Rd);
        let realm = Realm {
            state: RealmState::New,
            tree: Tree::new(geometry, root, planes.perm(0, 0)),
            planes,
            measurements: Measurements::new(algorithm, initial),
            hash: algorithm,
            rpv: page.rpv,
            number: self.realms_created,
            lpa2,
            sve: flags.contains(RealmFlags0::SVE),
            vmid,
            private_mec,
            recs_created: 0,
            recs: 0,
            donated,
        };
        self.realms.insert(rd, realm);
        self.realms_created = self.realms_created.wrapping_add(1);
        Ok(Answer::success())
    }

    /// Whether the machine has that virtual machine identifier, and no Realm holds it.
    fn vmid_is_free(&self, vmid: u16) -> bool {
        u32::from(vmid) >> self.options.vmid_bits == 0
            && self.realms.values().all(|realm| realm.vmid != Some(vmid))
    }

    /// The root tables of all trees, which must not overlap each other or the descriptor.
    fn root_tables(
        &self,
        geometry: &Geometry,
        rd: Pa,
        root: Pa,
        aux: &[Pa],
    ) -> Result<Vec<PaRange>, Answer> {
        let bytes = geometry.root_bytes();
        let mut tables: Vec<PaRange> = Vec::new();
        for base in core::iter::once(&root).chain(aux) {
            let range = PaRange::with_size(*base, bytes).map_err(|_| Status::ErrorInput)?;
            self.require_fine(&range)?;
            let is_own = !range.contains(rd) && !tables.iter().any(|other| other.overlaps(&range));
            let fits = base.is_aligned(bytes) && is_own;
            require(
                fits && self.granules.are(&range, GranuleState::Delegated),
                Status::ErrorInput,
            )?;
            tables.push(range);
        }
        Ok(tables)
    }

    /// The geometry that the parameters describe, if this RMM supports all that they ask for.
    ///
    /// As TF-RMM, unknown flags are accepted, and so are numbers whose flag is clear; of numbers it
    /// compares 32 bits.
    fn checked(&self, page: &RealmParamsPage) -> Result<Geometry, Answer> {
        let features = &self.features;
        let flags = RealmFlags0::from_bits_retain(page.flags0);
        let dialect = self.options.dialect;
        let lpa2_fits = match dialect.has_lpa2_flag() {
            true if flags.contains(RealmFlags0::LPA2) => features.lpa2(),
            true => page.s2sz <= 48,
            false => page.s2sz <= 48 || features.lpa2(),
        };
        let sve_fits = !flags.contains(RealmFlags0::SVE)
            || features.sve_vl().is_some_and(|most| page.sve_vl <= most);
        // As TF-RMM v0.8.0 on a CPU without FEAT_HPMN0, 1.0 has no PMU without counters.
        let fewest = u8::from(!dialect.is_2_0());
        let pmu_fits = !flags.contains(RealmFlags0::PMU)
            || features
                .pmu_num_ctrs()
                .is_some_and(|most| (fewest..=most).contains(&page.pmu_num_ctrs));
        // Only 2.0-bet0 has the flag, and the model has no such feature.
        let ats_fits = dialect != Dialect::V2_0Bet0
            || !RealmFlags1::from_bits_retain(page.flags1).contains(RealmFlags1::ATS);
        let mec_fits = !dialect.is_2_0()
            || [0, RealmFlags0::MEC_PRIVATE.bits()].contains(&(page.flags0 & MEC_POLICY));
        // TF-RMM v0.8.0 knows this flag of a later version.
        let devices_fit = dialect.is_2_0() || !flags.contains(RealmFlags0::DA);
        let hash = HashAlgorithm::from(page.hash_algo);
        let hash_fits = match dialect.is_2_0() {
            true => hash.digest_bytes().is_some(),
            false => matches!(hash, HashAlgorithm::Sha256 | HashAlgorithm::Sha512),
        };
        let valid = lpa2_fits
            && sve_fits
            && pmu_fits
            && ats_fits
            && mec_fits
            && devices_fit
            && hash_fits
            && page.s2sz <= features.max_ipa_width()
            && (1..=features.num_bps()).contains(&page.num_bps)
            && (1..=features.num_wps()).contains(&page.num_wps)
            && fits_slots(page);
        require(valid, Status::ErrorInput)?;
        let start = page.start_level().ok_or(Status::ErrorInput)?;
        require(start != Level::MINUS_1 || features.lpa2(), Status::ErrorInput)?;
        let geometry = Geometry::with_granule_from(self.granules.size(), page.s2sz, start)
            .map_err(|_| Status::ErrorInput)?;
        let count_fits = page.rtt_num_start == u32::from(geometry.root_tables());
        require(count_fits, Status::ErrorInput)?;
        Ok(geometry)
    }

    pub(super) fn realm_activate(&mut self, x: &Registers) -> Answered {
        let [_, rd, ..] = *x;
        let realm = self.realm(rd)?;
        require_state(realm, &[RealmState::New])?;
        realm.state = RealmState::Active;
        Ok(Answer::success())
    }

    pub(super) fn realm_terminate(&mut self, x: &Registers) -> Answered {
        let [_, rd, ..] = *x;
        self.realm(rd)?;
        let runs = self.recs.values().any(|rec| rec.rd == Pa::new(rd) && rec.running);
        require(!runs, Status::ErrorRealm)?;
        self.realm(rd)?.state = RealmState::Zombie;
        Ok(Answer::success())
    }

    pub(super) fn realm_destroy(&mut self, x: &Registers) -> Answered {
        let [_, rd, ..] = *x;
        let is_terminated_first = self.options.dialect.is_2_0();
        let realm = self.realm(rd)?;
        if is_terminated_first {
            require_state(realm, &[RealmState::Zombie])?;
        }
        require(realm.recs == 0 && !realm.is_live(), Status::ErrorRealm)?;
        let donated = realm.donated.clone();
        let rd = Pa::new(rd);
        if donated.is_empty() {
            return self.finish_realm_destroy(rd);
        }
        self.open_return(Work::RealmDestroy { rd }, donated)
    }

    pub(super) fn finish_realm_destroy(&mut self, rd: Pa) -> Answered {
        let Some(realm) = self.realms.remove(&rd) else {
            return Err(Answer::from(Status::ErrorInput));
        };
        let trees = core::iter::once(&realm.tree).chain(realm.planes.trees());
        let roots: Vec<Pa> = trees.flat_map(Tree::roots).collect();
        self.set_granules(&roots, GranuleState::Delegated, 0);
        self.set_granules(&[rd], GranuleState::Delegated, 0);
        let (ended, kept) =
            mem::take(&mut self.guests).into_iter().partition(|((of, ..), _)| *of == rd);
        self.guests = kept;
        self.ended.extend(BTreeMap::into_values(ended));
        Ok(Answer::success())
    }
}

/// Whether the numbers that are compared have nothing in bits 31:8 of their slots.
fn fits_slots(page: &RealmParamsPage) -> bool {
    let bytes = page.as_bytes();
    [
        offset_of!(RealmParamsPage, s2sz),
        offset_of!(RealmParamsPage, num_bps),
        offset_of!(RealmParamsPage, num_wps),
    ]
    .into_iter()
    .all(|slot| bytes.get(slot + 1..slot + 4) == Some(&[0; 3]))
}
