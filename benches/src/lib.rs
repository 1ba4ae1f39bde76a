//! Nothing but benches; see `benches/`.
#![no_std]
