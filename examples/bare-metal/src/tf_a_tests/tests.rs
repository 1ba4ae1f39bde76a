//! The tests.

use super::realm::RIPAS_PAGES;

/// A test: commands to the payload, which it executes one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    pub(super) name: &'static str,
    /// The numbers of the commands, of `enum realm_cmd`, and their arguments.
    pub(super) commands: &'static [(u8, [u64; 3])],
    pub(super) needs: Needs,
}

/// What the Realm of a test has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// SVE, with the shortest vectors.
    Sve,
    /// A PMU.
    Pmu,
    /// A host that rejects changes of the RIPAS.
    Rejection,
}

const NONE: [u64; 3] = [0; 3];

const fn test(name: &'static str, commands: &'static [(u8, [u64; 3])]) -> Test {
    Test { name, commands, needs: Needs::Nothing }
}

const fn needing(needs: Needs, test: Test) -> Test {
    Test { needs, ..test }
}

/// Pages whose RIPAS is EMPTY.
const EMPTY: [u64; 3] = [RIPAS_PAGES, RIPAS_PAGES + 0x3000, 0];

/// What a Realm does whose costs are counted.
pub(super) const COST: Test = test("cost", &[(9, NONE)]);

pub(super) const ALL: &[Test] = &[
    test("sleep", &[(1, [100, 0, 0])]),
    test("S2POE undefined", &[(3, NONE)]),
    test("MPAM undefined", &[(4, NONE)]),
    test("MPAM hidden", &[(5, NONE)]),
    test("RSI version", &[(9, NONE)]),
    needing(Needs::Pmu, test("PMU cycle counter", &[(13, NONE)])),
    needing(Needs::Pmu, test("PMU event counter", &[(15, NONE)])),
    needing(Needs::Pmu, test("PMU preserved", &[(16, NONE)])),
    test("floating point preserved", &[(19, NONE), (20, NONE)]),
    test("RIPAS set", &[(21, EMPTY)]),
    needing(Needs::Rejection, test("RIPAS rejected", &[(22, EMPTY)])),
    needing(Needs::Sve, test("SVE vector length", &[(23, NONE)])),
    needing(Needs::Sve, test("SVE ID registers", &[(24, NONE)])),
    needing(Needs::Sve, test("SVE probing lengths", &[(25, NONE)])),
    needing(Needs::Sve, test("SVE operations", &[(26, NONE)])),
    needing(Needs::Sve, test("SVE preserved", &[(27, NONE), (28, NONE)])),
    test("no SVE: ID registers", &[(24, NONE)]),
    test("no SVE: undefined", &[(29, NONE)]),
    test("PAuth keys preserved", &[(32, NONE), (33, NONE)]),
    test("DIT preserved", &[(35, NONE)]),
    test("SME ID registers", &[(36, NONE)]),
    test("SME undefined", &[(37, NONE)]),
    test("attestation", &[(39, NONE)]),
    test("BRBE register", &[(43, NONE)]),
    test("TCR2", &[(45, NONE)]),
    test("MOPS", &[(48, NONE)]),
    test("EL1 timer", &[(49, [10, 500, 0])]),
    test("GIC registers", &[(50, NONE)]),
];
