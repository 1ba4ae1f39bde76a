//! The crate's tables as JSON.

use rmi_abi::commands::{Command, Form, Param};
use rmi_abi::describe::{ENUMERATIONS, Enumeration, REGISTERS, Register, STRUCTURES};
use rmi_abi::psci::PsciFunction;
use rmi_abi::rhi::RhiFunction;
use rmi_abi::{Dialect, rsi};
use serde_json::{Map, Value, json};

/// Everything that the RMI is in one dialect.
pub(crate) fn rmi(dialect: Dialect) -> Value {
    json!({
        "interface": "rmi",
        "dialect": dialect.name(),
        "commands": dialect
            .commands()
            .filter_map(|command| {
                let form = command.form(dialect)?;
                Some(rmi_command(command, form, dialect))
            })
            .collect::<Value>(),
        "structs": STRUCTURES
            .iter()
            .filter(|structure| structure.dialects.contains(dialect))
            .map(|structure| json!({
                "name": structure.name,
                "size": structure.size,
                "fields": structure
                    .fields(dialect)
                    .map(|f| json!({ "name": f.name, "offset": f.offset, "width": f.width }))
                    .collect::<Value>(),
                "sure": !structure.unsure.contains(dialect),
            }))
            .collect::<Value>(),
        "enums": ENUMERATIONS
            .iter()
            .filter(|enumeration| enumeration.values(dialect).next().is_some())
            .map(|enumeration| (enumeration.name.to_owned(), rmi_values(enumeration, dialect)))
            .collect::<Map<_, _>>(),
        "bitfields": REGISTERS
            .iter()
            .filter(|register| register.fields(dialect).next().is_some())
            .map(|register| (register.name.to_owned(), rmi_fields(register, dialect)))
            .collect::<Map<_, _>>(),
    })
}

fn rmi_values(enumeration: &Enumeration, dialect: Dialect) -> Value {
    let values = enumeration.values(dialect);
    values.map(|value| (value.name.to_owned(), json!(value.number))).collect::<Map<_, _>>().into()
}

fn rmi_fields(register: &Register, dialect: Dialect) -> Value {
    let fields = register.fields(dialect);
    fields.map(|f| json!({ "name": f.name, "lsb": f.lsb, "msb": f.msb })).collect()
}

fn rmi_command(command: Command, form: &Form, dialect: Dialect) -> Value {
    let registers = |parameters: Option<&[Param]>| {
        parameters.map(|parameters| {
            parameters
                .iter()
                .map(|p| json!({ "reg": format!("X{}", p.register()), "name": p.name() }))
                .collect::<Value>()
        })
    };
    json!({
        "fid": fid(form.fid()),
        "name": command.name(),
        "inputs": registers(form.inputs()),
        "outputs": registers(form.outputs()),
        "stateful": form.effect().is_stateful(),
        "mem_transfer": form.effect().moves_memory(),
        "sure": !form.unsure_in().contains(dialect),
    })
}

/// Everything that the RSI is, in all versions.
pub(crate) fn rsi() -> Value {
    let register = |number, name: &str, kind: &str, bits: u8| {
        json!({
            "reg": format!("X{number}"),
            "name": name,
            "type": kind,
            "bits": format!("{}:0", bits - 1),
        })
    };
    let registers = |first: Value, parameters: &[rsi::Param]| {
        let rest = parameters
            .iter()
            .map(|p| register(p.register(), p.name(), p.kind().spec_name(), p.kind().bits()));
        std::iter::once(first).chain(rest).collect::<Value>()
    };
    let commands = rsi::Command::ALL.iter().map(|command| {
        let form = command.form();
        let versions = rsi::Version::ALL.iter().filter(|&&v| form.versions().contains(v));
        json!({
            "fid": fid(form.fid()),
            "name": command.name(),
            "versions": versions.map(|version| version.name()).collect::<Value>(),
            "inputs": registers(register(0, "fid", "UInt64", 64), form.inputs()),
            "outputs": registers(register(0, "result", "RsiCommandReturnCode", 64), form.outputs()),
            "statuses": form.statuses().iter().map(|code| code.name()).collect::<Value>(),
            "stateful": false,
            "mem_transfer": false,
        })
    });
    let structures = rsi::Version::ALL.iter().flat_map(|&version| {
        let all = rsi::STRUCTURES.iter().filter(move |s| s.dialects.contains(version));
        all.map(move |structure| {
            let fields = structure.fields.iter().filter(|f| f.dialects.contains(version));
            json!({
                "name": structure.name,
                "size": structure.size,
                "version": if version == rsi::Version::V2_0 { "2.0-draft" } else { version.name() },
                "fields": fields
                    .map(|f| json!({ "name": f.name, "offset": f.offset, "width": f.width }))
                    .collect::<Value>(),
            })
        })
    });
    let enumerations = rsi::ENUMERATIONS.iter().map(|enumeration| {
        let values = enumeration.values.iter();
        json!({
            "name": enumeration.name,
            "values": values
                .map(|v| json!({ "value": v.number, "name": v.name }))
                .collect::<Value>(),
        })
    });
    let bit_fields = rsi::REGISTERS.iter().map(|register| {
        let fields = register.fields.iter();
        json!({
            "name": register.name,
            "fields": fields
                .map(|f| json!({ "name": f.name, "msb": f.msb, "lsb": f.lsb }))
                .collect::<Value>(),
        })
    });
    // As a Realm of 1.0 sees them; `PSCI_AFFINITY_INFO` stopped leaving the RMM with 2.0-bet3.
    let psci = PsciFunction::ALL.iter().map(|&function| {
        json!({
            "fid": number(function.into()),
            "name": function.name(),
            "exit_to_host": function.exits_to_host(Dialect::V1_0),
            "needs_complete": function.needs_complete(Dialect::V1_0),
        })
    });
    let rhi = RhiFunction::ALL
        .iter()
        .map(|&function| json!({ "fid": number(function.into()), "name": function.name() }));
    json!({
        "interface": "RSI",
        "commands": commands.collect::<Value>(),
        "psci": psci.collect::<Value>(),
        "rhi": rhi.collect::<Value>(),
        "structs": structures.collect::<Value>(),
        "enums": enumerations.collect::<Value>(),
        "bitfields": bit_fields.collect::<Value>(),
    })
}

fn fid(fid: rmi_abi::Fid) -> String {
    number(fid.0)
}

fn number(number: u32) -> String {
    format!("0x{number:08X}")
}
