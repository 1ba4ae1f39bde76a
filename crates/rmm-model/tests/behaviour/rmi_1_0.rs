//! RMI 1.0, in which commands concern one granule or one entry.

mod granules;
