//! Pairs of an exit and an answer that do not exist.

use super::*;

/// What takes the place of a method that does not exist.
struct Absent;

/// The names of all answers, for any type: where an exit has a method of its own, that is called.
trait Fallback: Sized {
    fn complete(self) -> Absent {
        Absent
    }
    fn completed(self) -> Absent {
        Absent
    }
    fn abort(self) -> Absent {
        Absent
    }
    fn retry(self) -> Absent {
        Absent
    }
    fn accept(self) -> Absent {
        Absent
    }
    fn reject(self) -> Absent {
        Absent
    }
    fn deny(self) -> Absent {
        Absent
    }
    fn not_supported(self) -> Absent {
        Absent
    }
}

impl<T> Fallback for T {}

/// Compiles only if the exits have no such methods. Returns the pairs.
macro_rules! absent {
    ($($exit:ident: $($answer:ident)*;)*) => {{
        $($(const _: fn($exit) -> Absent = |exit| exit.$answer();)*)*
        [$((stringify!($exit), &[$(stringify!($answer)),*] as &[&str])),*]
    }};
}

#[test]
fn an_answer_that_does_not_belong_to_an_exit_does_not_exist() {
    let absent = absent! {
        MmioLoad: completed accept reject deny not_supported;
        MmioStore: completed accept reject deny not_supported;
        Fault: complete completed abort accept reject deny not_supported;
        SharedFault: complete completed accept reject deny not_supported;
        SysRegRead: completed abort retry accept reject deny not_supported;
        PsciRequest: complete abort retry reject not_supported;
        RipasChange: complete completed abort retry deny not_supported;
        HostCall: completed abort retry accept reject deny;
        S2apChange: complete completed abort retry deny not_supported;
        VdevRequest: complete abort retry deny not_supported;
        VdevMapping: complete completed abort retry deny not_supported;
        P2pBinding: complete abort retry accept deny not_supported;
        VsmmuCommand: complete abort retry accept reject deny not_supported;
        MemoryError: complete completed abort retry accept reject deny not_supported;
        Abort: complete completed abort retry accept reject deny not_supported;
        SysRegWrite: complete completed abort retry accept reject deny not_supported;
        Wait: complete completed abort retry accept reject deny not_supported;
        PsciNotice: complete completed abort retry accept reject deny not_supported;
    };
    let present = answers_in_the_sources();
    let names: BTreeSet<_> = present.iter().map(|(_, answer)| answer.as_str()).collect();
    for (exit, answers) in absent {
        let mut all: Vec<_> = answers.to_vec();
        let own = present.iter().filter(|(of, _)| of == exit).map(|(_, answer)| answer.as_str());
        all.extend(own);
        assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), names, "{exit}");
        assert_eq!(all.len(), names.len(), "{exit}");
    }
    // Every exit with an answer is in the list.
    let listed: BTreeSet<_> = absent.iter().map(|(exit, _)| *exit).collect();
    assert!(present.iter().all(|(exit, _)| listed.contains(exit.as_str())));
}
