//! An error that wraps another has it as its source, its text contains that of the source, and `?`
//! takes the error out of what carries one.

extern crate std;

use core::error::Error as StdError;
use std::string::ToString;

use rmi_abi::rtt::Geometry;
use rmi_abi::{Command, Ipa};
use rmi_host::{Error, Failed, Subject, Undelegated};

use super::BuildError;
use crate::config::ConfigError;
use crate::{ConvertStopped, Converted, FoldStopped, Folded, NotShared, S2apStopped, Stopped};

/// The number of sources below an error; the text of each is in that of the error.
fn depth(error: &dyn StdError) -> usize {
    let Some(source) = error.source() else { return 0 };
    let (text, inner) = (error.to_string(), source.to_string());
    assert!(text.contains(&inner), "{text}: {inner}");
    1 + depth(source)
}

#[test]
fn wrapped_errors_are_sources() {
    let config = ConfigError::from(Geometry::new(99).unwrap_err());
    assert_eq!(depth(&BuildError::from(config)), 2);
    let call = Error::no_progress(Command::RttFold, Subject::Rmm);
    assert_eq!(depth(&BuildError::from(call)), 1);
    assert_eq!(depth(&BuildError::NoTree { tree: 1, trees: 0 }), 0);
    #[cfg(feature = "rim")]
    {
        use crate::rim::RimError;
        let range = rmi_abi::IpaRange::new(Ipa::new(1), Ipa::new(0x1000)).unwrap_err();
        assert_eq!(depth(&RimError::from(range)), 1);
        assert_eq!(depth(&RimError::from(crate::measurement_log::DigestError::Digit)), 1);
        assert_eq!(depth(&RimError::NotCreated), 0);
    }
}

#[test]
fn what_carries_progress_has_its_error_as_source() {
    let error = BuildError::Call(Error::no_progress(Command::RttFold, Subject::Rmm));
    let reached = Ipa::new(0x1000);
    let stopped = Stopped { error, reached };
    assert_eq!((depth(&stopped), BuildError::from(stopped)), (2, error));
    let stopped = ConvertStopped { error, reached, converted: Converted::default() };
    assert_eq!((depth(&stopped), BuildError::from(stopped)), (2, error));
    let stopped = FoldStopped { error, reached, folded: Folded::default() };
    assert_eq!((depth(&stopped), BuildError::from(stopped)), (2, error));
    let stopped = S2apStopped { error, reached, tree: None };
    assert_eq!((depth(&stopped), BuildError::from(stopped)), (2, error));
    let stopped = NotShared { error, reached, host: Undelegated::empty() };
    assert_eq!((depth(&stopped), BuildError::from(stopped)), (2, error));
    assert_eq!(BuildError::from(Failed::new((), error)), error);
}
