//! The bus: which device serves an access of a Realm, and what becomes of its value.

use std::sync::{Arc, Mutex};

use rec_runtime::mmio::{AccessSize, ExternalAbort, MmioBus, MmioBusError, MmioDevice};
use rec_runtime::{Answer, Exit};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, IpaRange};
use rmm_model::{GuestCpu, Outcome};

use crate::fixture::{Action, DEVICE, DIALECTS, on};
use crate::load_store::{AccessCase, VALUES, cases};

/// Records accesses; a read returns `value`. Addresses from `aborts` on abort.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<(u64, AccessSize, Option<u64>)>>,
    value: u64,
    aborts: Option<u64>,
}

impl Recorder {
    fn take(&self) -> Vec<(u64, AccessSize, Option<u64>)> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    fn see(&self, offset: u64, size: AccessSize, value: Option<u64>) -> Result<u64, ExternalAbort> {
        self.seen.lock().unwrap().push((offset, size, value));
        if self.aborts.is_some_and(|from| offset >= from) {
            Err(ExternalAbort)
        } else {
            Ok(self.value)
        }
    }
}

impl MmioDevice for Recorder {
    fn read(&self, offset: u64, size: AccessSize) -> Result<u64, ExternalAbort> {
        self.see(offset, size, None)
    }

    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        self.see(offset, size, Some(value)).map(|_| ())
    }
}

const PAGE: u64 = 0x1000;

fn geometry() -> Geometry {
    Geometry::new(40).unwrap()
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

#[test]
fn ranges_are_unprotected_and_apart() {
    let (device, half) = (Recorder::default(), 1 << 39);
    let mut bus = MmioBus::<3>::new(geometry());
    let empty = IpaRange::empty(Ipa::new(half));
    assert_eq!(bus.add(empty, &device), Err(MmioBusError::Empty));
    for wrong in [
        range(0, PAGE),
        range(half - PAGE, 2 * PAGE),
        range(2 * half - PAGE, 2 * PAGE),
        range(2 * half, PAGE),
    ] {
        let refused = bus.add(wrong, &device).unwrap_err();
        assert!(matches!(refused, MmioBusError::NotUnprotected { range, .. } if range == wrong));
        assert_eq!(
            refused.to_string(),
            format!("the range {wrong} of the device is not within the unprotected half")
        );
    }
    assert_eq!(bus.ranges().count(), 0);
    let (first, last) = (range(half, 3 * PAGE), range(2 * half - PAGE, PAGE));
    bus.add(first, &device).unwrap();
    bus.add(last, &device).unwrap();
    for wrong in [
        first,
        range(half + 2 * PAGE, PAGE),
        range(half + PAGE, 4 * PAGE),
        range(half, 1 << 38),
        last,
    ] {
        let refused = bus.add(wrong, &device).unwrap_err();
        let other = if wrong == last { last } else { first };
        assert_eq!(
            refused.to_string(),
            format!("the range {wrong} of the device overlaps that of another, {other}")
        );
    }
    // Immediately after the first.
    let next = range(half + 3 * PAGE, PAGE);
    bus.add(next, &device).unwrap();
    let refused = bus.add(range(half + 4 * PAGE, PAGE), &device).unwrap_err();
    assert!(matches!(refused, MmioBusError::Full { devices: 3, .. }));
    assert_eq!(refused.to_string(), "the bus has space for 3 devices only");
    let ranges: Vec<_> = bus.ranges().collect();
    assert_eq!(ranges, [first, last, next]);
    assert_eq!(format!("{bus:?}"), format!("{ranges:?}"));
}

#[test]
fn an_access_reaches_one_device_or_none() {
    use AccessSize::{Byte, Doubleword, Halfword, Word};
    let low = Recorder { value: u64::MAX, ..Recorder::default() };
    let high = Recorder { value: 0x1122_3344_5566_7788, aborts: Some(8), ..Recorder::default() };
    let mut bus = MmioBus::<4>::new(geometry());
    let base = 1 << 39;
    bus.add(range(base + PAGE, PAGE), &low).unwrap();
    bus.add(range(base + 2 * PAGE, 2 * PAGE), &high).unwrap();
    let read = |offset, bytes| bus.read(Ipa::new(base + offset), bytes);
    for (bytes, size, mask) in
        [(1, Byte, 0xff), (2, Halfword, 0xffff), (4, Word, 0xffff_ffff), (8, Doubleword, u64::MAX)]
    {
        // The first and the last one in the range.
        for offset in [0, PAGE - u64::from(bytes)] {
            assert_eq!(read(PAGE + offset, bytes), Ok(mask));
            assert_eq!(low.take(), [(offset, size, None)]);
            let ipa = Ipa::new(base + PAGE + offset);
            assert_eq!(bus.write(ipa, bytes, 0xfedc_ba98_7654_3210), Ok(()));
            let value = Some(0xfedc_ba98_7654_3210 & mask);
            assert_eq!(low.take(), [(offset, size, value)]);
        }
    }
    assert_eq!(read(2 * PAGE + 4, 4), Ok(0x5566_7788));
    assert_eq!(high.take(), [(4, Word, None)]);
    // Refused by the device.
    assert_eq!(read(2 * PAGE + 8, 1), Err(ExternalAbort));
    assert_eq!(bus.write(Ipa::new(base + 3 * PAGE), 1, 5), Err(ExternalAbort));
    assert_eq!(high.take(), [(8, Byte, None), (PAGE, Byte, Some(5))]);
    // Before, after, across, unaligned, and of a size that no access has.
    for (offset, bytes) in [
        (PAGE - 1, 1),
        (4 * PAGE, 1),
        (2 * PAGE - 4, 8),
        (2 * PAGE - 1, 2),
        (PAGE + 1, 2),
        (PAGE + 2, 4),
        (PAGE + 4, 8),
        (PAGE, 3),
        (PAGE, 0),
        (PAGE, 16),
    ] {
        assert_eq!(read(offset, bytes), Err(ExternalAbort), "{offset:#x} {bytes}");
        let written = bus.write(Ipa::new(base + offset), bytes, 0);
        assert_eq!(written, Err(ExternalAbort), "{offset:#x} {bytes}");
    }
    assert_eq!(bus.read(Ipa::new(u64::MAX - 7), 8), Err(ExternalAbort));
    assert_eq!((low.take(), high.take()), (vec![], vec![]));
}

#[test]
fn exits_are_answered_by_the_device_or_abort() {
    for dialect in DIALECTS {
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let program = {
            let (outcomes, next) = (outcomes.clone(), |at| Ipa::new(DEVICE.raw() + at));
            let mut actions = vec![
                Action::Load { ipa: next(0), bytes: 4 },
                Action::Store { ipa: next(4), bytes: 2, value: 0x12_3456 },
                Action::Load { ipa: next(8), bytes: 1 },
                Action::Store { ipa: next(8), bytes: 1, value: 1 },
                Action::Load { ipa: next(0x1000), bytes: 1 },
            ]
            .into_iter();
            move |cpu: &GuestCpu| {
                outcomes.lock().unwrap().push(cpu.last);
                actions.next().unwrap_or(Action::Spin)
            }
        };
        on(dialect, |fixture| {
            fixture.realm(vec![Box::new(program)], |fixture, realm, recs| {
                let [rec] = &mut recs[..] else { panic!() };
                let device = Recorder {
                    value: 0xaaaa_bbbb_cccc_dddd,
                    aborts: Some(8),
                    ..Recorder::default()
                };
                let mut bus = MmioBus::<1>::new(realm.geometry());
                bus.add(range(DEVICE.raw(), 0x1000), &device).unwrap();
                let mut answer = Answer::resume();
                loop {
                    answer = match fixture.enter(rec, answer) {
                        Exit::MmioLoad(load) => bus.load(load),
                        Exit::MmioStore(store) => bus.store(store),
                        _ => break,
                    };
                }
                let (word, half, byte) = (AccessSize::Word, AccessSize::Halfword, AccessSize::Byte);
                let seen =
                    [(0, word, None), (4, half, Some(0x3456)), (8, byte, None), (8, byte, Some(1))];
                assert_eq!(device.take(), seen);
            });
        });
        use Outcome::{Aborted, Loaded, Stored};
        let outcomes = &outcomes.lock().unwrap()[1..];
        assert_eq!(outcomes, [Loaded(0xcccc_dddd), Stored, Aborted, Aborted, Aborted]);
    }
}

/// Every size, extension, register and width of a load or store, with values of either sign.
#[test]
fn the_rmm_extends_what_the_host_returns() {
    for dialect in DIALECTS {
        for value in VALUES {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let program = {
                let (seen, mut cases) = (seen.clone(), cases());
                let mut steps = std::collections::VecDeque::new();
                move |cpu: &GuestCpu| {
                    if steps.is_empty() {
                        seen.lock().unwrap().push((cpu.x, cpu.pc));
                        let Some(case) = cases.next() else { return Action::Spin };
                        steps.extend((0..31).map(|register| Action::Set { register, value }));
                        let (esr, far, hpfar) = case.syndromes(DEVICE);
                        steps.push_back(Action::Sync { esr, far, hpfar });
                    }
                    steps.pop_front().unwrap()
                }
            };
            on(dialect, |fixture| {
                fixture.realm(vec![Box::new(program)], |fixture, realm, recs| {
                    let [rec] = &mut recs[..] else { panic!() };
                    let device = Recorder { value: !value, ..Recorder::default() };
                    let mut bus = MmioBus::<1>::new(realm.geometry());
                    bus.add(range(DEVICE.raw(), 0x1000), &device).unwrap();
                    let mut answer = Answer::resume();
                    for case in cases() {
                        let exit = loop {
                            match fixture.enter(rec, answer) {
                                // The model ends a run after so many actions.
                                Exit::Fiq => answer = Answer::resume(),
                                exit => break exit,
                            }
                        };
                        answer = match exit {
                            Exit::MmioLoad(load) => bus.load(load),
                            Exit::MmioStore(store) => bus.store(store),
                            other => panic!("{other:?}"),
                        };
                        let size = AccessSize::from_bytes(case.bytes).unwrap();
                        let stored = case.stored(value);
                        let expected = [(AccessCase::OFFSET, size, stored)];
                        assert_eq!(device.take(), expected, "{case:?}");
                    }
                    assert!(matches!(fixture.enter(rec, answer), Exit::Fiq));
                });
            });
            let seen = seen.lock().unwrap();
            assert_eq!(seen.len(), cases().count() + 1);
            for (case, pair) in cases().zip(seen.windows(2)) {
                let [(_, pc_before), (x, pc)] = pair else { panic!() };
                assert_eq!(*pc, pc_before + 4, "{case:?}");
                let mut expected = [value; 31];
                if let Some((register, loaded)) = case.loaded(!value) {
                    expected[register] = loaded;
                }
                assert_eq!(*x, expected, "{case:?}, {dialect}");
            }
        }
    }
}
