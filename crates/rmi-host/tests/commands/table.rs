//! The table of commands in the documentation.

use rmi_abi::Command;

const DOCS: &str = include_str!("../../src/command.rs");

#[test]
fn the_documented_table_lists_every_command_in_order() {
    let rows: Vec<(&str, &str)> = DOCS
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `"))
        .filter_map(|line| line.split_once("` | "))
        .collect();
    assert_eq!(rows.len(), Command::ALL.len());
    for (command, (name, wrapper)) in Command::ALL.iter().zip(rows) {
        assert_eq!(command.name(), name);
        let public = command.forms().iter().any(|form| form.inputs().is_some());
        // Where a wrapper is named, rustdoc checks that it exists.
        assert_eq!(wrapper.contains("](crate::"), public, "{name}: {wrapper}");
        assert_eq!(wrapper.contains("registers are not public"), !public, "{name}: {wrapper}");
    }
}
