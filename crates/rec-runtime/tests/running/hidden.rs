//! `Debug` never prints the values that a Realm stores, writes and passes.

use std::fs;
use std::path::Path;

use rec_runtime::{Answer, Exit, Rec};
use rmi_abi::Dialect;
use rmi_abi::run::{ExitReason, RecExit};
use zerocopy::FromZeros;

use crate::fixture::{Fixture, on};

const SECRET: u64 = 0x5ec2_e7ed;

fn hidden(what: &impl core::fmt::Debug) {
    let text = format!("{what:?} {what:#?} {what:x?}").to_lowercase();
    let secrets = ["5ec2e7ed".to_owned(), SECRET.to_string(), format!("{:x}", SECRET & 0xff_ffff)];
    assert!(!text.trim().is_empty());
    for secret in secrets {
        assert!(!text.contains(&secret), "{text}");
    }
}

#[test]
fn sound_9_exits_and_answers_hide_registers() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let mut record = RecExit::new_zeroed();
            record.gprs = [SECRET; 31];
            // A store, a write of ICC_SGI1R_EL1, a read of it.
            for esr in [0x24 << 26 | 1 << 24 | 1 << 22 | 1 << 6 | 7, 0x6030_3016, 0x6030_3017] {
                record.esr = esr;
                record.hpfar = 0x80_0900_0000 >> 12 << 4;
                let exit = seen(fixture, rec, record);
                let answer = match exit {
                    Exit::MmioStore(store) => {
                        assert_eq!(store.value(), SECRET & 0xffff);
                        store.complete()
                    }
                    Exit::SysRegWrite(write) => {
                        assert_eq!(write.value(), SECRET);
                        Answer::resume()
                    }
                    Exit::SysRegRead(read) => read.complete(SECRET),
                    other => panic!("{other:?}"),
                };
                hidden(&answer);
                record.esr = 1 << 26;
                assert!(!fixture.decode(rec, answer, record).wants_answer());
            }
            record.exit_reason = ExitReason::HostCall.encode(Dialect::TfRmm2026_07).unwrap();
            let exit = seen(fixture, rec, record);
            let Exit::HostCall(call) = exit else { panic!("{exit:?}") };
            let answer = call.complete([SECRET; 31]);
            hidden(&answer);
            // The reply could not be written: the exit contains it, and hides it.
            let fault = fixture.decode(rec, answer, crate::fixture::sync(0x24 << 26 | 7, 0x4_0000));
            hidden(&fault);
            let Exit::Fault(fault) = fault else { panic!("{fault:?}") };
            hidden(&fixture.event(rec, fault.retry()));
        });
    });
}

/// The exit that a record decodes to, which hides its registers.
fn seen(fixture: &Fixture<'_, '_>, rec: &mut Rec, record: RecExit) -> Exit {
    let exit = fixture.decode(rec, Answer::resume(), record);
    hidden(&record);
    hidden(&exit);
    exit
}

/// Structs of this crate with fields of these names do not print them.
#[test]
fn sound_9_what_holds_registers_derives_no_debug() {
    let mut checked = 0;
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let text = lines.collect::<Vec<_>>().join("\n");
            for item in text.split("#[derive(").skip(1) {
                let derived = item.split(')').next().unwrap();
                let body = item.split("\n}").next().unwrap();
                let holds = ["value: u64,", "gprs: [", "[u64; RUN_GPRS]"]
                    .iter()
                    .any(|field| body.contains(field));
                if body.contains("struct ") && holds {
                    checked += 1;
                    let name = body.split("struct ").nth(1).unwrap();
                    assert!(!derived.contains("Debug"), "{}: {name}", path.display());
                }
            }
        }
    }
    // MmioStore, SysRegWrite, HostCall and Reply.
    assert_eq!(checked, 4);
}
