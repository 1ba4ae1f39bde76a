//! Device trees as firmware makes them, and damaged ones.
#![expect(clippy::unwrap_used, reason = "tests")]

use bare_metal::board::{
    Board, BoardError, GicRegions, TimerInterrupts, find_console, granules_around, sgi_target_list,
    total_size,
};
use realm_sdk::abi::{Pa, PaRange};
use vm_fdt::{FdtReserveEntry, FdtWriter};

type Written = Result<(), vm_fdt::Error>;

/// A tree whose nodes below the root are what `nodes` writes.
fn tree(reserved: &[(u64, u64)], nodes: impl FnOnce(&mut FdtWriter) -> Written) -> Vec<u8> {
    let reserved: Vec<_> =
        reserved.iter().map(|(at, bytes)| FdtReserveEntry::new(*at, *bytes).unwrap()).collect();
    let mut tree = FdtWriter::new_with_mem_reserv(&reserved).unwrap();
    let root = tree.begin_node("").unwrap();
    tree.property_u32("#address-cells", 2).unwrap();
    tree.property_u32("#size-cells", 2).unwrap();
    nodes(&mut tree).unwrap();
    tree.end_node(root).unwrap();
    tree.finish().unwrap()
}

/// A node with text and numbers as properties, and others in it.
fn node(
    tree: &mut FdtWriter,
    name: &str,
    text: &[(&str, &str)],
    numbers: &[(&str, &[u32])],
    inside: impl FnOnce(&mut FdtWriter) -> Written,
) -> Written {
    let node = tree.begin_node(name)?;
    for (name, value) in text {
        tree.property_string(name, value)?;
    }
    for (name, value) in numbers {
        tree.property_array_u32(name, value)?;
    }
    inside(tree)?;
    tree.end_node(node)
}

fn nothing(_: &mut FdtWriter) -> Written {
    Ok(())
}

fn memory(tree: &mut FdtWriter, reg: &[u32]) -> Written {
    node(tree, "memory@40000000", &[("device_type", "memory")], &[("reg", reg)], nothing)
}

fn gic(tree: &mut FdtWriter, cells: &[(&str, &[u32])]) -> Written {
    node(tree, "intc@8000000", &[("compatible", "arm,gic-v3")], cells, nothing)
}

const GIC: &[(&str, &[u32])] =
    &[("reg", &[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000])];

fn cpus(tree: &mut FdtWriter, cpus: &[(u32, &[(&str, &str)])]) -> Written {
    node(tree, "cpus", &[], &[("#address-cells", &[1]), ("#size-cells", &[0])], |tree| {
        for (affinity, text) in cpus {
            let text = [&[("device_type", "cpu")], *text].concat();
            node(tree, &format!("cpu@{affinity:x}"), &text, &[("reg", &[*affinity])], nothing)?;
        }
        Ok(())
    })
}

/// What every machine needs, with the rest by the caller.
fn with(rest: impl FnOnce(&mut FdtWriter) -> Written) -> Vec<u8> {
    tree(&[], |tree| {
        memory(tree, &[0, 0x4000_0000, 0, 0x8000_0000])?;
        gic(tree, GIC)?;
        cpus(tree, &[(0, &[])])?;
        rest(tree)
    })
}

fn range(base: u64, top: u64) -> PaRange {
    PaRange::new(Pa::new(base), Pa::new(top)).unwrap()
}

/// As QEMU makes it for firmware of one's own: without `psci`.
#[test]
fn virt_machine() {
    let bytes = tree(&[], |tree| {
        memory(tree, &[0, 0x4000_0000, 0, 0x8000_0000])?;
        // Memory of the Secure state.
        node(
            tree,
            "secram@e000000",
            &[("device_type", "memory"), ("status", "disabled"), ("secure-status", "okay")],
            &[("reg", &[0, 0xe00_0000, 0, 0x100_0000])],
            nothing,
        )?;
        for (name, status, at) in
            [("pl011@9040000", "disabled", 0x904_0000), ("pl011@9000000", "okay", 0x900_0000)]
        {
            let text = [("compatible", "arm,pl011"), ("status", status)];
            node(tree, name, &text, &[("reg", &[0, at, 0, 0x1000])], nothing)?;
        }
        node(tree, "chosen", &[("stdout-path", "/pl011@9000000")], &[], nothing)?;
        let interrupts: &[(&str, &[u32])] = &[("interrupts", &[1, 9, 4])];
        gic(tree, &[GIC, interrupts].concat())?;
        node(
            tree,
            "timer",
            &[("compatible", "arm,armv8-timer")],
            &[("interrupts", &[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4, 1, 12, 4])],
            nothing,
        )?;
        cpus(tree, &[(0, &[]), (1, &[]), (0x100, &[])])
    });
    let board = Board::read(&bytes).unwrap();
    let expected = Board {
        memory: vec![range(0x4000_0000, 0xc000_0000)],
        reserved: vec![],
        console: Some(Pa::new(0x900_0000)),
        gic: GicRegions {
            distributor: range(0x800_0000, 0x801_0000),
            redistributors: vec![range(0x80a_0000, 0x900_0000)],
            maintenance: 25,
        },
        timers: TimerInterrupts { el1_physical: 30, el1_virtual: 27, el2_physical: 26 },
        cpus: vec![0, 1, 0x100],
    };
    assert_eq!(board, expected);

    // The bytes after a tree do not matter.
    let longer = [&bytes[..], &[0xff; 100]].concat();
    assert_eq!(Board::read(&longer).unwrap(), expected);
    assert_eq!(total_size(&longer), Some(bytes.len()));
}

/// As TF-A makes it for the FVP: the console below three buses, named by an alias.
#[test]
fn console_below_buses() {
    let bytes = with(|tree| {
        let two_and_one: &[(&str, &[u32])] = &[("#address-cells", &[2]), ("#size-cells", &[1])];
        let one_and_one: &[(&str, &[u32])] = &[("#address-cells", &[1]), ("#size-cells", &[1])];
        node(
            tree,
            "aliases",
            &[("serial0", "/bus@8000000/motherboard-bus/iofpga-bus/serial@90000")],
            &[],
            nothing,
        )?;
        node(tree, "chosen", &[("stdout-path", "serial0:115200n8")], &[], nothing)?;
        let ranges: &[(&str, &[u32])] = &[("ranges", &[0, 0x800_0000, 0, 0x800_0000, 0x1800_0000])];
        node(tree, "bus@8000000", &[], &[two_and_one, ranges].concat(), |tree| {
            let ranges: &[(&str, &[u32])] = &[(
                "ranges",
                &[
                    0,
                    0,
                    0,
                    0x800_0000,
                    0x400_0000, // chip select, address, two cells, size
                    3,
                    0,
                    0,
                    0x1c00_0000,
                    0x400_0000,
                ],
            )];
            node(tree, "motherboard-bus", &[], &[two_and_one, ranges].concat(), |tree| {
                let ranges: &[(&str, &[u32])] = &[("ranges", &[0, 3, 0, 0x20_0000])];
                node(tree, "iofpga-bus", &[], &[one_and_one, ranges].concat(), |tree| {
                    for (name, at) in [("serial@a0000", 0xa_0000), ("serial@90000", 0x9_0000)] {
                        let text = [("compatible", "arm,pl011")];
                        node(tree, name, &text, &[("reg", &[at, 0x1000])], nothing)?;
                    }
                    Ok(())
                })
            })
        })
    });
    assert_eq!(Board::read(&bytes).unwrap().console, Some(Pa::new(0x1c09_0000)));
}

/// An address that a bus does not translate is that of no console; an empty `ranges` changes
/// nothing, and a bus without `ranges` has no addresses above.
#[test]
fn buses_that_do_not_translate() {
    let uart = |tree: &mut FdtWriter, ranges: Option<&[u32]>| {
        let cells: &[(&str, &[u32])] = &[("#address-cells", &[1]), ("#size-cells", &[1])];
        let ranges: Vec<_> = ranges.into_iter().map(|ranges| ("ranges", ranges)).collect();
        node(tree, "bus", &[], &[cells, &ranges].concat(), |tree| {
            let text = [("compatible", "arm,pl011")];
            node(tree, "serial@1000", &text, &[("reg", &[0x1000, 0x1000])], nothing)
        })
    };
    let console = |ranges: Option<&[u32]>| {
        Board::read(&with(|tree| uart(tree, ranges))).unwrap().console.map(Pa::raw)
    };
    assert_eq!(console(None), None);
    assert_eq!(console(Some(&[])), Some(0x1000));
    assert_eq!(console(Some(&[0x800, 0, 0x9000_0000, 0x801])), Some(0x9000_0800));
    assert_eq!(console(Some(&[0x800, 0, 0x9000_0000, 0x800])), None);
    assert_eq!(console(Some(&[0x1001, 0, 0x9000_0000, 0x800])), None);
    // An address beyond 64 bits.
    assert_eq!(console(Some(&[0, u32::MAX, u32::MAX, 0x2000])), None);
}

#[test]
fn reserved_memory_is_rounded_outwards_and_memory_inwards() {
    let bytes = tree(&[(0x4000_1800, 0x100), (0x5000_0000, 0x1000)], |tree| {
        memory(tree, &[0, 0x4000_0800, 0, 0x2000_0900, 0, 0x6000_1000, 0, 0x1000])?;
        node(
            tree,
            "reserved-memory",
            &[],
            &[("#address-cells", &[2]), ("#size-cells", &[2])],
            |tree| {
                node(tree, "rmm@48000000", &[], &[("reg", &[0, 0x4800_0fff, 0, 2])], nothing)?;
                let off = [("status", "disabled")];
                node(tree, "old@49000000", &off, &[("reg", &[0, 0x4900_0000, 0, 0x1000])], nothing)
            },
        )?;
        gic(tree, GIC)?;
        cpus(tree, &[(0, &[])])
    });
    let board = Board::read(&bytes).unwrap();
    assert_eq!(board.memory, [range(0x4000_1000, 0x6000_2000)]);
    let reserved = [
        range(0x4000_1000, 0x4000_2000),
        range(0x5000_0000, 0x5000_1000),
        range(0x4800_0000, 0x4800_2000),
    ];
    assert_eq!(board.reserved, reserved);
    let accessible = [
        range(0x4000_2000, 0x4800_0000),
        range(0x4800_2000, 0x5000_0000),
        range(0x5000_1000, 0x6000_2000),
    ];
    assert_eq!(board.accessible_memory(), accessible);
    let in_use = [range(0x4000_0000, 0x4800_0000), range(0x4800_3000, 0x6000_1000)];
    let free = [range(0x4800_2000, 0x4800_3000), range(0x6000_1000, 0x6000_2000)];
    assert_eq!(board.free_memory(&in_use), free);
    assert_eq!(board.free_memory(&[range(0x4000_0000, 0x7000_0000)]), []);
}

#[test]
fn granules_around_bytes() {
    let around = |base, bytes| granules_around(Pa::new(base), bytes);
    assert_eq!(around(0x1000, 0x1000), Some(range(0x1000, 0x2000)));
    assert_eq!(around(0x1fff, 2), Some(range(0x1000, 0x3000)));
    assert_eq!(around(0x1000, 0), None);
    assert_eq!(around(u64::MAX - 0x1fff, 0x2000), None);
    assert_eq!(around(u64::MAX - 1, 1), None);
}

/// Interrupts that the tree does not give, or not as PPIs, are the usual ones.
#[test]
fn interrupts() {
    let read = |cells: &[u32]| {
        Board::read(&with(|tree| {
            let text = [("compatible", "arm,armv8-timer")];
            node(tree, "timer", &text, &[("interrupts", cells)], nothing)
        }))
        .unwrap()
        .timers
    };
    let usual = TimerInterrupts { el1_physical: 30, el1_virtual: 27, el2_physical: 26 };
    assert_eq!(Board::read(&with(nothing)).unwrap().timers, usual);
    assert_eq!(Board::read(&with(nothing)).unwrap().gic.maintenance, 25);
    assert_eq!(read(&[1, 13, 4]), usual);
    assert_eq!(
        read(&[1, 13, 4, 0, 1, 4, 1, 16, 4, 1, 15, 4]),
        TimerInterrupts { el2_physical: 31, ..usual }
    );
    assert_eq!(read(&[1, 13, 4, 1]), usual);
    assert_eq!(
        read(&[1, 1, 4, 1, 2, 4, 1, 3, 4, 1, 4, 4]),
        TimerInterrupts { el1_physical: 18, el1_virtual: 19, el2_physical: 20 }
    );
}

#[test]
fn redistributors_in_several_regions() {
    let reg = [
        0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0x2_0000, 1, 0, 0, 0x2_0000, 0, 0x900_0000,
        0, 0x1000,
    ];
    let read = |regions: &[u32]| {
        let bytes = tree(&[], |tree| {
            memory(tree, &[0, 0x4000_0000, 0, 0x8000_0000])?;
            gic(tree, &[("reg", &reg), ("#redistributor-regions", regions)])?;
            cpus(tree, &[(0, &[])])
        });
        Board::read(&bytes).map(|board| board.gic.redistributors)
    };
    let [first, second] = [range(0x80a_0000, 0x80c_0000), range(0x1_0000_0000, 0x1_0002_0000)];
    assert_eq!(read(&[1]), Ok(vec![first]));
    assert_eq!(read(&[2]), Ok(vec![first, second]));
    assert_eq!(read(&[0]), Err(BoardError::Malformed("GICv3")));
    assert_eq!(read(&[1, 1]), Err(BoardError::Malformed("GICv3")));
}

/// CPUs that are disabled, or that something else than PSCI starts, do not count.
#[test]
fn processors() {
    let read = |list: &[(u32, &[(&str, &str)])]| {
        let bytes = tree(&[], |tree| {
            memory(tree, &[0, 0x4000_0000, 0, 0x8000_0000])?;
            gic(tree, GIC)?;
            cpus(tree, list)
        });
        Board::read(&bytes).map(|board| board.cpus)
    };
    assert_eq!(
        read(&[
            (0, &[("enable-method", "psci")]),
            (1, &[("enable-method", "spin-table")]),
            (2, &[("status", "disabled")]),
            (3, &[("status", "ok")]),
        ]),
        Ok(vec![0, 3])
    );
    assert_eq!(read(&[(1, &[("enable-method", "spin-table")])]), Err(BoardError::Missing("CPUs")));
}

#[test]
fn what_is_missing_is_named() {
    let no_memory = tree(&[], |tree| gic(tree, GIC));
    assert_eq!(Board::read(&no_memory), Err(BoardError::Missing("memory")));
    let no_gic = tree(&[], |tree| memory(tree, &[0, 0, 0, 0x1000]));
    assert_eq!(Board::read(&no_gic), Err(BoardError::Missing("GICv3")));
    let no_cpus = tree(&[], |tree| {
        memory(tree, &[0, 0, 0, 0x1000])?;
        gic(tree, GIC)
    });
    assert_eq!(Board::read(&no_cpus), Err(BoardError::Missing("CPUs")));
    let half_a_gic = tree(&[], |tree| {
        memory(tree, &[0, 0, 0, 0x1000])?;
        gic(tree, &[("reg", &[0, 0x800_0000, 0, 0x1_0000])])
    });
    let error = Board::read(&half_a_gic).unwrap_err();
    assert_eq!(error, BoardError::Malformed("GICv3"));
    assert_eq!(
        error.to_string(),
        "the device tree describes the GICv3 in another form than expected"
    );
    assert_eq!(no_cpus.first_chunk(), Some(&[0xd0, 0x0d, 0xfe, 0xed]));
    assert!(matches!(Board::read(&no_cpus[1..]), Err(BoardError::Format(_))));
    assert_eq!(total_size(&no_cpus[..7]), None);
    assert_eq!(total_size(&no_cpus[1..]), None);
}

#[test]
fn the_console_is_found_without_the_rest() {
    let uart = |tree: &mut FdtWriter| {
        let reg: (&str, &[u32]) = ("reg", &[0, 0x900_0000, 0, 0x1000]);
        node(tree, "pl011@9000000", &[("compatible", "arm,pl011")], &[reg], nothing)
    };
    let poor = tree(&[], uart);
    assert_eq!(Board::read(&poor), Err(BoardError::Missing("memory")));
    assert_eq!(find_console(&poor), Ok(Some(Pa::new(0x900_0000))));
    let rich = with(uart);
    let longer = [&rich[..], &[0xff; 64]].concat();
    assert_eq!(find_console(&longer), Ok(Board::read(&rich).unwrap().console));
    assert_eq!(find_console(&tree(&[], nothing)), Ok(None));
    assert!(matches!(find_console(&poor[1..]), Err(BoardError::Format(_))));
}

#[test]
fn sgis_reach_16_cpus_of_a_cluster() {
    assert_eq!(sgi_target_list(0x8100_0000), Some(1));
    assert_eq!(sgi_target_list(0x0f), Some(0x8000));
    assert_eq!(sgi_target_list(0x01_0000_0203), Some(8));
    assert_eq!(sgi_target_list(0x10), None);
    assert_eq!(sgi_target_list(0xff), None);
}

/// However a tree is damaged, reading it ends, without a panic.
#[test]
fn damaged_trees() {
    let bytes = with(|tree| {
        node(tree, "chosen", &[("stdout-path", "/serial@1000")], &[], nothing)?;
        let text = [("compatible", "arm,pl011")];
        node(tree, "serial@1000", &text, &[("reg", &[0, 0x1000, 0, 0x1000])], nothing)
    });
    let intact = Board::read(&bytes).unwrap();
    for end in 0..bytes.len() {
        assert!(Board::read(&bytes[..end]).is_err(), "{end}");
    }
    let mut different = 0;
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            let _ = find_console(&damaged);
            different += u32::from(Board::read(&damaged) != Ok(intact.clone()));
        }
    }
    assert!(different > 500, "{different} of {}", bytes.len() * 4);
}
