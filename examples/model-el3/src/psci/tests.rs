use super::*;

const CPU_ON: u64 = 0xc400_0003;
const CPU_OFF: u64 = 0x8400_0002;
const AFFINITY_INFO: u64 = 0xc400_0004;
const INVALID_PARAMETERS: Outcome = Outcome::Return((-2_i64).cast_unsigned());
const INVALID_ADDRESS: Outcome = Outcome::Return((-9_i64).cast_unsigned());
const ALREADY_ON: Outcome = Outcome::Return((-4_i64).cast_unsigned());
const PENDING: Outcome = Outcome::Return((-5_i64).cast_unsigned());
const NOT_SUPPORTED: Outcome = Outcome::Return(u64::MAX);
const SUCCESS: Outcome = Outcome::Return(0);

/// Two CPUs in different clusters, as `MPIDR_EL1` has them.
fn cpus() -> Cpus<4> {
    Cpus::new([0x8000_0000, 0x8000_0101])
}

fn call(cpus: &mut Cpus<4>, x: [u64; 4]) -> Option<Outcome> {
    cpus.call(0, x, |entry| entry >= 0x4000_0000)
}

fn info(cpus: &mut Cpus<4>, mpidr: u64) -> Option<Outcome> {
    call(cpus, [AFFINITY_INFO, mpidr, 0, 0])
}

#[test]
fn a_cpu_starts_once_for_each_call() {
    let mut cpus = cpus();
    assert_eq!((cpus.count(), cpus.number(0x8000_0101), cpus.number(1)), (2, Some(1), None));
    assert_eq!(info(&mut cpus, 0), Some(SUCCESS));
    assert_eq!(info(&mut cpus, 0x101), Some(Outcome::Return(1)));
    assert_eq!(cpus.take_start(1), None);
    let on = [CPU_ON, 0x101, 0x6000_0000, 0x1_2345_6789];
    assert_eq!(call(&mut cpus, on), Some(Outcome::Started));
    assert_eq!(call(&mut cpus, on), Some(PENDING));
    assert_eq!(info(&mut cpus, 0x101), Some(Outcome::Return(2)));
    assert_eq!(cpus.take_start(0), None);
    let start = Start { entry: 0x6000_0000, context: 0x1_2345_6789 };
    assert_eq!(cpus.take_start(1), Some(start));
    assert_eq!(cpus.take_start(1), None);
    assert_eq!(info(&mut cpus, 0x101), Some(SUCCESS));
    assert_eq!(call(&mut cpus, on), Some(ALREADY_ON));
    // It turns itself off, the other stays on.
    assert_eq!(cpus.call(1, [CPU_OFF, 0, 0, 0], |_| true), Some(Outcome::Off));
    assert_eq!(info(&mut cpus, 0x101), Some(Outcome::Return(1)));
    assert_eq!(info(&mut cpus, 0), Some(SUCCESS));
    assert_eq!(call(&mut cpus, on), Some(Outcome::Started));
}

#[test]
fn wrong_arguments_change_nothing() {
    let mut cpus = cpus();
    for (mpidr, entry, expected) in [
        (1, 0x6000_0000, INVALID_PARAMETERS),
        (0x8000_0101, 0x6000_0000, INVALID_PARAMETERS),
        (0x1_0000_0101, 0x6000_0000, INVALID_PARAMETERS),
        (0x101, 0x6000_0002, INVALID_ADDRESS),
        (0x101, 0x3fff_fffc, INVALID_ADDRESS),
        (0, 0x6000_0000, ALREADY_ON),
    ] {
        assert_eq!(call(&mut cpus, [CPU_ON, mpidr, entry, 0]), Some(expected), "{mpidr:#x}");
    }
    assert_eq!(cpus.take_start(1), None);
    assert_eq!(call(&mut cpus, [AFFINITY_INFO, 0, 1, 0]), Some(INVALID_PARAMETERS));
    assert_eq!(info(&mut cpus, 2), Some(INVALID_PARAMETERS));
}

#[test]
fn arguments_of_smc32_have_32_bits() {
    let mut cpus = cpus();
    let high = 0xffff_ffff_0000_0000;
    let on = [0x8400_0003, high | 0x101, high | 0x6000_0000, high | 9];
    assert_eq!(call(&mut cpus, on), Some(Outcome::Started));
    assert_eq!(cpus.take_start(1), Some(Start { entry: 0x6000_0000, context: 9 }));
    assert_eq!(call(&mut cpus, [0x8400_0004, high | 0x101, high, 0]), Some(SUCCESS));
}

#[test]
fn the_machine_has_at_most_n_cpus() {
    let cpus = Cpus::<2>::new([0, 1, 2]);
    assert_eq!((cpus.count(), cpus.number(1), cpus.number(2)), (2, Some(1), None));
}

#[test]
fn functions_are_told_apart() {
    let mut cpus = cpus();
    let mut call = |function| call(&mut cpus, [function, 0, 0, 0]);
    assert_eq!(call(0x8400_0000), Some(Outcome::Return(0x1_0001)));
    assert_eq!(call(0x8400_0008), Some(Outcome::SystemOff));
    assert_eq!(call(0x8400_0009), Some(Outcome::SystemReset));
    for unknown in [0xc400_0001, 0x8400_001f, 0xc400_0012, 0x8400_0007] {
        assert_eq!(call(unknown), Some(NOT_SUPPORTED), "{unknown:#x}");
    }
    for other in [0x8400_0020, 0xc400_0150, 0x8000_0000, 0, 0x400_0000] {
        assert_eq!(call(other), None, "{other:#x}");
    }
}

#[test]
fn features_are_the_functions_that_work() {
    let mut cpus = cpus();
    let works = [
        0x8400_0000,
        CPU_OFF,
        0x8400_0003,
        CPU_ON,
        0x8400_0004,
        AFFINITY_INFO,
        0x8400_0008,
        0x8400_0009,
        0x8400_000a,
        0x8000_0000,
    ];
    for function in (0x8400_0000..0x8400_0020).chain(0xc400_0000..0xc400_0020).chain(works) {
        let expected = if works.contains(&function) { SUCCESS } else { NOT_SUPPORTED };
        assert_eq!(call(&mut cpus, [0x8400_000a, function, 0, 0]), Some(expected));
    }
}
