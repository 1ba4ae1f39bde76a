// A Realm of the model RMM whose program is a function on a thread, which makes its calls by a
// conduit; and a host that runs it. It is included by the tests and by the example of the crate.

/// Where the Realm's memory is: 16 pages, all private.
pub const RAM: u64 = 0x4000_0000;
/// The page to which a conduit copies what is lent for a call.
pub const LENT: u64 = RAM;

/// What the host does with a request that it has to carry out.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// All of it.
    Grant,
    /// So many pages, and says that it has accepted.
    GrantPages(u64),
    /// So many pages, and refuses the rest.
    Refuse(u64),
}

/// The machine and the Realm.
pub struct Setup {
    pub options: rmm_model::Options,
    pub planes: u8,
    pub tree_per_plane: bool,
    pub replies: Vec<Reply>,
    /// Answers to host calls; without one, the host answers with the complement of each register.
    pub host_calls: Vec<[u64; 31]>,
    /// Is told the immediate and the registers of each host call.
    pub asked: Option<std::sync::mpsc::Sender<(u16, [u64; 31])>>,
}

impl Setup {
    pub fn new(dialect: rmi_abi::Dialect) -> Self {
        let options = rmm_model::Options::new(dialect);
        Self {
            options,
            planes: 0,
            tree_per_plane: false,
            replies: Vec::new(),
            host_calls: Vec::new(),
            asked: None,
        }
    }
}

/// The CPU of a Realm as a conduit. An object that is lent for a call is copied to a page of the
/// Realm before the call, and back after it.
pub struct CpuConduit<'c> {
    cpu: std::cell::RefCell<&'c mut rmm_model::ThreadVcpu>,
    lent: std::cell::Cell<Option<(*mut u64, u64)>>,
}

impl<'c> CpuConduit<'c> {
    pub fn new(cpu: &'c mut rmm_model::ThreadVcpu) -> Self {
        Self { cpu: std::cell::RefCell::new(cpu), lent: std::cell::Cell::new(None) }
    }

    /// Does something else with the CPU.
    pub fn with<R>(&self, f: impl FnOnce(&mut rmm_model::ThreadVcpu) -> R) -> R {
        f(&mut self.cpu.borrow_mut())
    }
}

// SAFETY: the answers are those of the model, which writes to the program's memory only by way of
// the copies made here.
unsafe impl rsi::Conduit for CpuConduit<'_> {
    unsafe fn call(&self, registers: rsi::Registers) -> rsi::Registers {
        let mut cpu = self.cpu.borrow_mut();
        let words = match registers[0] {
            0xc400_0199 => 32,
            0xc400_0195 | 0xc400_0196 | 0xc400_01a3 => 512,
            _ => 0,
        };
        let lent = self.lent.take().filter(|_| words > 0);
        let place = |at: u64, word: usize| rmi_abi::Ipa::new(at + 8 * word as u64);
        if let Some((object, at)) = lent {
            for word in 0..words {
                // SAFETY: the object is lent for the call, and has so many words.
                let value = unsafe { object.add(word).read() };
                cpu.store(place(at, word), 8, value).expect("private memory");
            }
        }
        let after = cpu.act(rmm_model::Action::Smc(registers));
        let answer = std::array::from_fn(|register| after.x[register]);
        if let Some((object, at)) = lent {
            for word in 0..words {
                let value = cpu.load(place(at, word), 8).expect("private memory");
                // SAFETY: as above.
                unsafe { object.add(word).write(value) };
            }
        }
        answer
    }

    fn ipa(&self, address: *mut u8) -> Option<rmi_abi::Ipa> {
        let at = LENT + (address.addr() as u64 & 0xfff);
        self.lent.set(Some((address.cast(), at)));
        Some(rmi_abi::Ipa::new(at))
    }
}

/// The host of one Realm.
struct Host<'h, P: rmi_host::Platform> {
    realm: &'h realm_builder::Realm<'h, P, realm_builder::Active>,
    pool: &'h mut sro::FixedPool<16>,
    other: &'h rec_runtime::Rec,
    replies: std::collections::VecDeque<Reply>,
    host_calls: std::collections::VecDeque<[u64; 31]>,
    asked: Option<std::sync::mpsc::Sender<(u16, [u64; 31])>>,
    end: Option<rec_runtime::exit::PsciNotice>,
}

impl<P: rmi_host::Platform> Host<'_, P> {
    /// The reply to a request, and the part of its range that is carried out.
    fn reply(&mut self, range: rmi_abi::IpaRange) -> (Option<rmi_abi::IpaRange>, bool) {
        let (pages, accepts) = match self.replies.pop_front().unwrap_or(Reply::Grant) {
            Reply::Grant => (u64::MAX >> 12, true),
            Reply::GrantPages(pages) => (pages, true),
            Reply::Refuse(pages) => (pages, false),
        };
        let bytes = range.bytes().min(pages << 12);
        let part = rmi_abi::IpaRange::with_size(range.base(), bytes).expect("a part");
        (Some(part).filter(|part| !part.is_empty()), accepts)
    }
}

impl<P: rmi_host::Platform> rec_runtime::Handler for Host<'_, P> {
    fn ripas_change(
        &mut self,
        rec: &rec_runtime::Rec,
        change: rec_runtime::exit::RipasChange,
    ) -> rec_runtime::Flow {
        let (part, accepts) = self.reply(change.range());
        if let Some(part) = part {
            // It stops at a destroyed page.
            let _ = self.realm.set_ripas(self.pool, rec.name(), part, u32::MAX);
        }
        rec_runtime::Flow::Enter(match accepts {
            true => change.accept(),
            false => change.reject().expect("for RAM"),
        })
    }

    fn s2ap_change(
        &mut self,
        rec: &rec_runtime::Rec,
        change: rec_runtime::exit::S2apChange,
    ) -> rec_runtime::Flow {
        let (part, accepts) = self.reply(change.range());
        if let Some(part) = part {
            self.realm.set_s2ap(self.pool, rec.name(), part, u32::MAX).expect("applied");
        }
        rec_runtime::Flow::Enter(if accepts { change.accept() } else { change.reject() })
    }

    fn host_call(&mut self, call: rec_runtime::exit::HostCall) -> rec_runtime::Flow {
        if let Some(asked) = &self.asked {
            asked.send((call.imm(), *call.gprs())).expect("the test listens");
        }
        let complement = call.gprs().map(|register| !register);
        let answer = self.host_calls.pop_front().unwrap_or(complement);
        rec_runtime::Flow::Enter(call.complete(answer))
    }

    fn psci_request(
        &mut self,
        _: &rec_runtime::Rec,
        call: rec_runtime::exit::PsciCall<'_>,
    ) -> rec_runtime::Flow {
        let accepts =
            !call.can_be_denied() || matches!(self.replies.pop_front(), None | Some(Reply::Grant));
        rec_runtime::Flow::Enter(match accepts {
            true => call.accept(self.other).expect("accepted"),
            false => call.deny(self.other).expect("denied"),
        })
    }

    fn psci_notice(&mut self, notice: rec_runtime::exit::PsciNotice) -> rec_runtime::Flow {
        if notice == rec_runtime::exit::PsciNotice::CpuSuspend {
            return rec_runtime::Flow::Enter(rec_runtime::Answer::resume());
        }
        self.end = Some(notice);
        rec_runtime::Flow::Leave
    }
}

/// Runs programs on the two CPUs of a Realm, one after the other as they are on; the plane's
/// program is that of CPU 0. Returns how the last one that ran ended.
pub fn run(
    setup: Setup,
    cpu_0: impl FnOnce(CpuConduit<'_>) + Send + 'static,
    cpu_1: impl FnOnce(CpuConduit<'_>) + Send + 'static,
    plane: Option<Box<dyn rmm_model::Guest>>,
) -> Option<rec_runtime::exit::PsciNotice> {
    use rec_runtime::{Answer, Kick, Rec};
    use rmi_abi::Ipa;

    let model = rmm_model::Model::new(setup.options).expect("valid options");
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<16>(&mut memory, 256 << 12);
    let ledger = rmi_host::CountingLedger::new();
    let rmm = test_support::open(model.host().with_ledger(&ledger), &mut pool);
    let mut config = realm_builder::RealmConfig::new(40);
    config.personalization[..4].copy_from_slice(b"test");
    if setup.planes > 0 {
        config.num_aux_planes = setup.planes;
        config.plane_tables = Some(match setup.tree_per_plane {
            true => realm_builder::PlaneTables::PerPlane,
            false => realm_builder::PlaneTables::Shared,
        });
    }
    let mut storage = realm_builder::RealmStorage::<32, 8>::new();
    let mut realm =
        realm_builder::Realm::create(&rmm, &config, &mut storage, &mut pool).expect("a Realm");
    let ram = memory.take_front(0x10000).expect("1 GiB");
    let content = realm_builder::Content::Measured(&[0x1d; 0x10000]);
    let mut regions = [realm_builder::Region::new(Ipa::new(RAM), ram, content)];
    realm.populate(&mut pool, &mut regions).expect("populated");
    let mut rec = |runnable| {
        let start = realm_builder::RecStart { runnable, pc: Ipa::new(RAM), gprs: [0; 8] };
        let object = realm.create_rec(&mut pool, &start).expect("a REC");
        Rec::new(object, memory.take_front(0x1000).expect("1 GiB"), realm.geometry())
    };
    let recs = [rec(true), rec(false)];
    let rd = realm.rd().pa();
    model.set_guest(
        rd,
        0,
        Box::new(rmm_model::ThreadGuest::new(|cpu| {
            cpu_0(CpuConduit::new(cpu));
            cpu.system_off()
        })),
    );
    model.set_guest(
        rd,
        1,
        Box::new(rmm_model::ThreadGuest::new(|cpu| {
            cpu_1(CpuConduit::new(cpu));
            cpu.system_off()
        })),
    );
    if let Some(plane) = plane {
        model.set_plane_guest(rd, 0, 1, plane);
    }
    let realm = realm.activate().expect("active");
    let mut end = None;
    for (number, (rec, other)) in
        [(&recs[0], &recs[1]), (&recs[1], &recs[0])].into_iter().enumerate()
    {
        if model.is_on(rd, number as u64) != Some(true) {
            continue;
        }
        let mut host = Host {
            realm: &realm,
            pool: &mut pool,
            other,
            replies: setup.replies.clone().into(),
            host_calls: setup.host_calls.clone().into(),
            asked: setup.asked.clone(),
            end: None,
        };
        let ran = rec.run(&rmm, Answer::resume(), &mut host, &Kick::new()).expect("it runs");
        assert!(matches!(ran, rec_runtime::RunEnd::Left), "{ran:?}");
        end = host.end;
        if end == Some(rec_runtime::exit::PsciNotice::SystemOff) {
            break;
        }
    }
    let objects = recs.map(|rec| rec.into_parts().0);
    let torn = realm.tear_down(&mut sro::CallbackMemory::freeing(&mut pool, drop), objects);
    assert_eq!(torn.error, None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
    end
}

/// Runs a program on the one CPU of a Realm of TF-RMM.
pub fn run_on_model(program: fn(CpuConduit<'_>) -> Result<(), Box<dyn std::error::Error>>) {
    let setup = Setup::new(rmi_abi::Dialect::TfRmm2026_07);
    let run_it = move |conduit: CpuConduit<'_>| program(conduit).expect("it works");
    let end = run(setup, run_it, |_| (), None);
    assert_eq!(end, Some(rec_runtime::exit::PsciNotice::SystemOff));
}
