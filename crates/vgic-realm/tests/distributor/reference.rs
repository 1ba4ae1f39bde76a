//! A plain model of a GICv3 with one security state and affinity routing, register by register from
//! the text of the architecture: arrays of interrupts, and one comparison for each register. It is
//! slow, and shares no code with the crate.
//!
//! Source: Arm IHI 0069, "The GIC Distributor register descriptions", "The GIC Redistributor
//! register descriptions", "Interrupt lifecycle".

/// SGIs and PPIs.
pub(crate) const PRIVATE: u32 = 32;

/// One interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interrupt {
    pub(crate) group_1: bool,
    pub(crate) enabled: bool,
    /// Pending by an edge, by an SGI or by a write of a register.
    pub(crate) latch: bool,
    /// The input is up.
    pub(crate) line: bool,
    pub(crate) active: bool,
    pub(crate) edge: bool,
    pub(crate) priority: u8,
    pub(crate) route: u64,
}

impl Interrupt {
    pub(crate) fn is_pending(self) -> bool {
        self.latch || self.line && !self.edge
    }
}

/// The whole GIC but for the CPU interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// By INTID; below 32 there are none.
    pub(crate) spis: Vec<Interrupt>,
    /// By REC, then by INTID.
    pub(crate) private: Vec<Vec<Interrupt>>,
    pub(crate) affinities: Vec<u32>,
    pub(crate) asleep: Vec<bool>,
    pub(crate) enable_group_0: bool,
    pub(crate) enable_group_1: bool,
    pub(crate) priority_mask: u8,
}

/// One bit of each of 32 interrupts.
fn word(interrupts: &[Interrupt], first: usize, bit: impl Fn(&Interrupt) -> bool) -> u64 {
    (0..32).filter(|n| interrupts.get(first + n).is_some_and(&bit)).fold(0, |word, n| word | 1 << n)
}

/// The registers that have fields of interrupts, at offsets that the distributor and the SGI frame
/// have in common.
fn read_fields(interrupts: &[Interrupt], offset: u64, bytes: u8) -> Option<u64> {
    for n in 0..32_usize {
        let at = 4 * n as u64;
        if bytes == 4 {
            if offset == 0x080 + at {
                return Some(word(interrupts, 32 * n, |i| i.group_1));
            }
            if offset == 0x100 + at || offset == 0x180 + at {
                return Some(word(interrupts, 32 * n, |i| i.enabled));
            }
            if offset == 0x200 + at || offset == 0x280 + at {
                return Some(word(interrupts, 32 * n, |i| i.is_pending()));
            }
            if offset == 0x300 + at || offset == 0x380 + at {
                return Some(word(interrupts, 32 * n, |i| i.active));
            }
        }
    }
    for (n, interrupt) in interrupts.iter().enumerate() {
        if bytes == 1 && offset == 0x400 + n as u64 {
            return Some(interrupt.priority.into());
        }
    }
    for n in 0..255_usize {
        if bytes == 4 && offset == 0x400 + 4 * n as u64 {
            let priority = |m: usize| interrupts.get(4 * n + m).map_or(0, |i| i.priority);
            return Some(u32::from_le_bytes([0, 1, 2, 3].map(priority)).into());
        }
    }
    for n in 0..64_usize {
        if bytes == 4 && offset == 0xc00 + 4 * n as u64 {
            return Some((0..16).fold(0, |word, m| {
                let is_edge = interrupts.get(16 * n + m).is_some_and(|i| i.edge);
                word | u64::from(is_edge) << (2 * m + 1)
            }));
        }
    }
    None
}

fn write_fields(interrupts: &mut [Interrupt], offset: u64, bytes: u8, value: u64, mask: u8) {
    for (n, interrupt) in interrupts.iter_mut().enumerate() {
        let word = 4 * (n as u64 / 32);
        let is_one = value >> (n % 32) & 1 == 1;
        if bytes == 4 {
            if offset == 0x080 + word {
                interrupt.group_1 = is_one;
            }
            if is_one && offset == 0x100 + word {
                interrupt.enabled = true;
            }
            if is_one && offset == 0x180 + word {
                interrupt.enabled = false;
            }
            if is_one && offset == 0x200 + word {
                interrupt.latch = true;
            }
            if is_one && offset == 0x280 + word {
                interrupt.latch = false;
            }
            if is_one && offset == 0x300 + word {
                interrupt.active = true;
            }
            if is_one && offset == 0x380 + word {
                interrupt.active = false;
            }
            if offset == 0x400 + 4 * (n as u64 / 4) {
                interrupt.priority = value.to_le_bytes()[n % 4] & mask;
            }
            if offset == 0xc00 + 4 * (n as u64 / 16) {
                interrupt.edge = value >> (2 * (n % 16) + 1) & 1 == 1;
            }
        }
        if bytes == 1 && offset == 0x400 + n as u64 {
            interrupt.priority = value.to_le_bytes()[0] & mask;
        }
    }
}

/// PIDR4 to PIDR7, PIDR0 to PIDR3, CIDR0 to CIDR3.
fn identification(offset: u64, bytes: u8, pidr0: u64) -> Option<u64> {
    let value = match offset {
        0xffd0 => 0x44,
        0xffe0 => pidr0,
        0xffe4 => 0xb4,
        0xffe8 => 0x3b,
        0xfff0 => 0x0d,
        0xfff4 => 0xf0,
        0xfff8 => 0x05,
        0xfffc => 0xb1,
        _ => return None,
    };
    (bytes == 4).then_some(value)
}

const IIDR: u64 = 0x5200_043b;

/// What is kept of a route: the affinity, or that it leads to any CPU; then the architecture leaves
/// the affinity open, and it is zero.
fn route(value: u64) -> u64 {
    if value >> 31 & 1 == 1 { 1 << 31 } else { value & 0xff_00ff_ffff }
}

impl Reference {
    /// After reset, where the architecture leaves much open: all interrupts are disabled, in
    /// group 1, and level-sensitive but for SGIs; redistributors are awake.
    pub(crate) fn new(affinities: &[u32], spis: u32, priority_bits: u32) -> Self {
        let interrupt = Interrupt { group_1: true, ..Interrupt::default() };
        let mut private = vec![interrupt; PRIVATE as usize];
        private[..16].fill(Interrupt { edge: true, ..interrupt });
        Self {
            spis: vec![interrupt; (PRIVATE + spis) as usize],
            private: vec![private; affinities.len()],
            affinities: affinities.to_vec(),
            asleep: vec![false; affinities.len()],
            enable_group_0: false,
            enable_group_1: false,
            priority_mask: 0xff << (8 - priority_bits),
        }
    }

    pub(crate) fn interrupt(&mut self, rec: usize, intid: u32) -> &mut Interrupt {
        let list = if intid < PRIVATE { &mut self.private[rec] } else { &mut self.spis };
        &mut list[intid as usize]
    }

    pub(crate) fn gicd_read(&self, offset: u64, bytes: u8) -> u64 {
        if bytes == 4 && offset == 0x0 {
            // DS and ARE are set.
            let groups = u64::from(self.enable_group_0) | u64::from(self.enable_group_1) << 1;
            return 1 << 6 | 1 << 4 | groups;
        }
        if bytes == 4 && offset == 0x4 {
            // RSS, A3V, 10 bits of identifiers.
            let lines = (self.spis.len() as u64).div_ceil(32) - 1;
            return 1 << 26 | 1 << 24 | 9 << 19 | lines;
        }
        if bytes == 4 && offset == 0x8 {
            return IIDR;
        }
        for n in 32..self.spis.len() {
            let (at, route) = (0x6000 + 8 * n as u64, self.spis[n].route);
            if bytes == 8 && offset == at {
                return route;
            }
            if bytes == 4 && offset == at {
                return route & 0xffff_ffff;
            }
            if bytes == 4 && offset == at + 4 {
                return route >> 32;
            }
        }
        // Interrupts below 32 are inactive here: they read as zero.
        let mut interrupts = self.spis.clone();
        interrupts[..32].fill(Interrupt::default());
        read_fields(&interrupts, offset, bytes)
            .or_else(|| identification(offset, bytes, 0x92))
            .unwrap_or(0)
    }

    pub(crate) fn gicd_write(&mut self, offset: u64, bytes: u8, value: u64) {
        if bytes == 4 && offset == 0x0 {
            self.enable_group_0 = value & 1 == 1;
            self.enable_group_1 = value & 2 == 2;
        }
        for n in 32..self.spis.len() {
            let (at, register) = (0x6000 + 8 * n as u64, &mut self.spis[n].route);
            if bytes == 8 && offset == at {
                *register = route(value);
            }
            if bytes == 4 && offset == at {
                *register = route(*register >> 32 << 32 | value & 0xffff_ffff);
            }
            if bytes == 4 && offset == at + 4 {
                *register = route(*register & 0xffff_ffff | value << 32);
            }
        }
        write_fields(&mut self.spis, offset, bytes, value, self.priority_mask);
        self.spis[..32].fill(Interrupt::default());
    }

    pub(crate) fn gicr_read(&self, rec: usize, offset: u64, bytes: u8) -> u64 {
        let is_last = rec + 1 == self.affinities.len();
        let typer =
            u64::from(self.affinities[rec]) << 32 | (rec as u64) << 8 | u64::from(is_last) << 4;
        match (offset, bytes) {
            (0x4, 4) => IIDR,
            (0x8, 8) => typer,
            (0x8, 4) => typer & 0xffff_ffff,
            (0xc, 4) => typer >> 32,
            (0x14, 4) => u64::from(self.asleep[rec]) * 0b110,
            (0x1_0000..=0x1_ffff, _) => {
                read_fields(&self.private[rec], offset - 0x1_0000, bytes).unwrap_or(0)
            }
            _ => identification(offset, bytes, 0x93).unwrap_or(0),
        }
    }

    pub(crate) fn gicr_write(&mut self, rec: usize, offset: u64, bytes: u8, value: u64) {
        if bytes == 4 && offset == 0x14 {
            self.asleep[rec] = value & 2 == 2;
        }
        if let Some(offset) = offset.checked_sub(0x1_0000) {
            write_fields(&mut self.private[rec], offset, bytes, value, self.priority_mask);
            for sgi in &mut self.private[rec][..16] {
                sgi.edge = true;
            }
        }
    }

    /// The input of an interrupt changes.
    pub(crate) fn set_line(&mut self, rec: usize, intid: u32, is_up: bool) {
        let interrupt = self.interrupt(rec, intid);
        interrupt.latch |= interrupt.edge && is_up && !interrupt.line;
        interrupt.line = is_up;
    }

    /// A virtual CPU writes a register that sends SGIs.
    pub(crate) fn send_sgi(&mut self, from: usize, value: u64, is_sgi1r: bool) {
        let intid = (value >> 24 & 15) as usize;
        for (rec, affinity) in self.affinities.iter().enumerate() {
            let is_target = if value >> 40 & 1 == 1 {
                rec != from
            } else {
                let base = (value >> 48 & 0xff) << 24
                    | (value >> 32 & 0xff) << 16
                    | (value >> 16 & 0xff) << 8
                    | (value >> 44 & 0xf) << 4;
                (0..16).any(|n| value >> n & 1 == 1 && base | n == u64::from(*affinity))
            };
            let sgi = &mut self.private[rec][intid];
            if is_target && (is_sgi1r || !sgi.group_1) {
                sgi.latch = true;
            }
        }
    }

    /// Whether an SPI goes to any REC.
    pub(crate) fn is_one_of_n(&self, intid: u32) -> bool {
        self.spis.get(intid as usize).is_some_and(|spi| spi.route >> 31 & 1 == 1)
    }

    /// Whether a virtual CPU may be given an interrupt now.
    pub(crate) fn is_deliverable(&self, rec: usize, intid: u32) -> bool {
        let is_private = intid < PRIVATE;
        let interrupt =
            if is_private { self.private[rec][intid as usize] } else { self.spis[intid as usize] };
        let route = interrupt.route;
        let affinity = (route >> 32 << 24 | route & 0xff_ffff) as u32;
        let is_here = is_private || self.is_one_of_n(intid) || affinity == self.affinities[rec];
        let group = if interrupt.group_1 { self.enable_group_1 } else { self.enable_group_0 };
        let is_forwarded = is_here && group && !self.asleep[rec];
        interrupt.is_pending() && interrupt.enabled && !interrupt.active && is_forwarded
    }

    /// All that a virtual CPU may be given, with their priorities.
    pub(crate) fn deliverable(&mut self, rec: usize) -> Vec<(u8, u32)> {
        let intids = 0..self.spis.len() as u32;
        let list: Vec<u32> = intids.filter(|intid| self.is_deliverable(rec, *intid)).collect();
        list.into_iter().map(|intid| (self.interrupt(rec, intid).priority, intid)).collect()
    }

    /// How many interrupts are active.
    pub(crate) fn active(&self) -> usize {
        self.private.iter().flatten().chain(&self.spis).filter(|one| one.active).count()
    }

    /// A virtual CPU acknowledges an interrupt.
    pub(crate) fn acknowledge(&mut self, rec: usize, intid: u32) {
        let interrupt = self.interrupt(rec, intid);
        interrupt.latch = false;
        interrupt.active = true;
    }

    /// A virtual CPU deactivates an interrupt.
    pub(crate) fn deactivate(&mut self, rec: usize, intid: u32) {
        self.interrupt(rec, intid).active = false;
    }
}
