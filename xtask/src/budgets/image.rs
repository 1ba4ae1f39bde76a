//! Reads an image: its text, its functions, and their calls.

use std::collections::{BTreeMap, BTreeSet};

use object::elf::{R_AARCH64_CALL26, R_AARCH64_CONDBR19, R_AARCH64_JUMP26, R_AARCH64_TSTBR14};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionKind, SymbolKind,
};

use super::a64::{Instruction, decode};
use super::graph::{Call, Callee, Function, Graph, Id, Kind, Table};
use crate::Failure;

/// The end of the name of the panic handler.
const PANIC_HANDLER: &str = "rust_begin_unwind";

/// An image that was linked with relocations and the sizes of frames.
#[derive(Debug)]
pub(crate) struct Image {
    /// Bytes of code.
    pub(crate) text: u64,
    /// Its functions.
    pub(crate) graph: Graph,
}

/// The address ranges of functions.
struct Extents {
    /// By address: index and size.
    by_address: BTreeMap<u64, (Id, u64)>,
}

impl Extents {
    fn starting_at(&self, address: u64) -> Option<Id> {
        self.by_address.get(&address).map(|(id, _)| *id)
    }

    fn around(&self, address: u64) -> Option<Id> {
        let (start, (id, size)) = self.by_address.range(..=address).next_back()?;
        (address - start < *size).then_some(*id)
    }
}

/// A location that contains an address.
struct Reference {
    at: u64,
    to: u64,
}

impl Image {
    /// Reads an ELF file.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the file is not such an image.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let file = object::File::parse(bytes).map_err(|error| format!("no ELF file: {error}"))?;
        let mut names = Vec::new();
        let mut by_address = BTreeMap::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
            if symbol.size() == 0 || by_address.contains_key(&symbol.address()) {
                continue;
            }
            by_address.insert(symbol.address(), (names.len(), symbol.size()));
            let name = symbol.name().map_err(|error| format!("a symbol has no name: {error}"))?;
            names.push(format!("{:#}", rustc_demangle::demangle(name)));
        }
        let extents = Extents { by_address };
        let outlined: BTreeSet<_> =
            (0..).zip(&names).filter(|(_, name)| is_outlined(name)).map(|(id, _)| id).collect();
        let mut functions: Vec<_> =
            names.into_iter().map(|name| Function { name, ..Function::default() }).collect();

        let mut text = 0;
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            text += section.size();
            let code = section.data().map_err(|error| format!("no code: {error}"))?;
            for (start, (id, size)) in &extents.by_address {
                let from = start.checked_sub(section.address());
                let Some(from) = from.and_then(|from| usize::try_from(from).ok()) else { continue };
                let size = usize::try_from(*size).unwrap_or(usize::MAX);
                let body = code.get(from..).and_then(|body| body.get(..size));
                let Some(body) = body else { continue };
                if let Some(function) = functions.get_mut(*id) {
                    read_code(body, *start, *id, &extents, &outlined, function);
                    function.kind = kind(code, from, *start, &extents);
                }
            }
        }
        for (at, bytes) in stack_sizes(&file)? {
            if let Some(function) = extents.starting_at(at).and_then(|id| functions.get_mut(id)) {
                function.frame = bytes;
            }
        }
        for function in &mut functions {
            function.frame += function.slack;
        }

        let (from_code, from_data) = references(&file)?;
        let mut objects = Objects::new(&from_code, &from_data, &extents);
        for Reference { at, to } in &from_code {
            if let Some(function) = extents.around(*at).and_then(|id| functions.get_mut(id)) {
                function.points_to.extend(objects.take(*to, &extents));
            }
        }
        Ok(Self { text, graph: Graph { functions, constants: objects.left() } })
    }

    /// The name of a function, without generic arguments.
    pub(crate) fn name(&self, id: Id) -> String {
        self.graph
            .functions
            .get(id)
            .map_or("?".into(), |function| without_arguments(&function.name))
    }

    /// The exported functions: those that the entry point of the image calls.
    pub(crate) fn entries(&self) -> BTreeSet<Id> {
        let starts =
            self.graph.functions.iter().filter(|function| function.name.starts_with("_start"));
        starts.flat_map(|start| start.calls.iter().filter_map(Call::function)).collect()
    }

    /// Names of the functions that reach the panic handler through `core`. A generic function
    /// counts once, however often it is instantiated.
    pub(crate) fn panicking(&self) -> BTreeSet<String> {
        let handlers = (0..)
            .zip(&self.graph.functions)
            .filter(|(_, function)| function.name.ends_with(PANIC_HANDLER))
            .map(|(id, _)| id)
            .collect();
        let callers = self.graph.callers(&handlers, is_core);
        callers.into_iter().map(|id| self.name(id)).collect()
    }
}

/// A name without generic arguments: `<a::B<C>>::d::<E>` is `<a::B>::d`.
fn without_arguments(name: &str) -> String {
    let mut short = String::new();
    // The number of open brackets, and of those that are printed: they enclose a type with methods.
    let (mut open, mut printed) = (0usize, 0usize);
    let mut before = ' ';
    for letter in name.chars() {
        let is_arrow = letter == '>' && before == '-';
        if letter == '<' {
            let encloses = open == printed && !before.is_alphanumeric() && before != ':';
            open += 1;
            printed += usize::from(encloses);
            if encloses {
                short.push(letter);
            } else if open == printed + 1 && before == ':' {
                // Remove the colons before the arguments of a function.
                short.truncate(short.trim_end_matches("::").len());
            }
        } else if letter == '>' && !is_arrow {
            if open == printed {
                short.push(letter);
                printed = printed.saturating_sub(1);
            }
            open = open.saturating_sub(1);
        } else if open == printed {
            short.push(letter);
        }
        before = letter;
    }
    short
}

/// Whether a function is `core`'s own, and not one of its generic functions for a type of the SDK.
fn is_core(name: &str) -> bool {
    name.starts_with("core::") && !name.contains("::<")
}

/// Whether LLVM outlined the function from a sequence common to several: a jump to it does not
/// change the frame.
fn is_outlined(name: &str) -> bool {
    name.starts_with("OUTLINED_FUNCTION_")
}

/// Finds the calls of a function and its frame, which is used unless the compiler reports the size.
fn read_code(
    body: &[u8],
    start: u64,
    id: Id,
    extents: &Extents,
    outlined: &BTreeSet<Id>,
    function: &mut Function,
) {
    let words: Vec<_> = body
        .chunks_exact(4)
        .filter_map(|word| word.try_into().ok().map(u32::from_le_bytes).map(decode))
        .collect();
    let target = |index: usize, offset: i64| {
        let here = start.checked_add(u64::try_from(index).ok()?.checked_mul(4)?)?;
        extents.around(here.checked_add_signed(offset)?)
    };
    let to_function = |index, offset| target(index, offset).map(Callee::Function);
    for (index, instruction) in words.iter().enumerate() {
        let before = words.get(..index).unwrap_or_default();
        let call = match *instruction {
            Instruction::Call(offset) => {
                to_function(index, offset).map(|to| Call { to, is_tail: false })
            }
            Instruction::Branch(offset) => target(index, offset)
                .filter(|to| *to != id)
                .map(|to| Call { to: Callee::Function(to), is_tail: !outlined.contains(&to) }),
            Instruction::CallRegister => {
                Some(Call { to: Callee::Register(checked_kind(before)), is_tail: false })
            }
            Instruction::BranchRegister(register) => (!is_table(before, register))
                .then_some(Call { to: Callee::Register(checked_kind(before)), is_tail: true }),
            Instruction::Push(bytes) => {
                function.frame += bytes;
                None
            }
            _ => None,
        };
        function.calls.extend(call);
    }
    function.slack = alignment(&words);
}

/// The number of bytes that the alignment of its frame may cost a function: it clears low bits of
/// the stack pointer, directly or in another register.
fn alignment(words: &[Instruction]) -> u64 {
    const SP: u8 = 31;
    let stacks: BTreeSet<_> = words
        .iter()
        .filter_map(|instruction| match *instruction {
            Instruction::SetStack(from) => Some(from),
            _ => None,
        })
        .chain([SP])
        .collect();
    let losses = words.iter().filter_map(|instruction| match *instruction {
        Instruction::Align { to, bytes } if stacks.contains(&to) => Some(bytes),
        _ => None,
    });
    losses.max().unwrap_or(0)
}

/// The type of a function, which `-Zsanitizer=kcfi` checks when it is called through a pointer: a
/// hash in the word before it, which belongs to no function.
fn kind(code: &[u8], from: usize, start: u64, extents: &Extents) -> Option<Kind> {
    let before = from.checked_sub(4)?;
    let kind = code.get(before..).and_then(|word| word.first_chunk()).copied();
    kind.map(u32::from_le_bytes).filter(|kind| *kind != 0 && extents.around(start - 4).is_none())
}

/// The type that is checked before a call through a register: `-Zsanitizer=kcfi` compares the hash
/// before the function with one that it composes of two halves.
fn checked_kind(before: &[Instruction]) -> Option<Kind> {
    /// The check has six instructions, and others may be between them.
    const NEAR: usize = 12;
    let mut near = before.iter().rev().take(NEAR);
    let half = |high: bool, instruction: &Instruction| match *instruction {
        Instruction::Move { half, is_high } if is_high == high => Some(u32::from(half)),
        _ => None,
    };
    let high = near.find_map(|instruction| half(true, instruction))?;
    let low = near.find_map(|instruction| half(false, instruction))?;
    Some(high << 16 | low)
}

/// Whether a branch through a register selects a case from a table: then its address is a sum.
/// Otherwise the address is loaded from a vtable.
fn is_table(before: &[Instruction], register: u8) -> bool {
    let last = before.iter().rev().find_map(|instruction| match instruction {
        Instruction::Add(to) if *to == register => Some(true),
        Instruction::Load(to) if *to == register => Some(false),
        _ => None,
    });
    last.unwrap_or(false)
}

/// Frames by the address of their functions: `.stack_sizes`, pairs of an address and a ULEB128
/// number.
fn stack_sizes(file: &object::File<'_>) -> Result<Vec<(u64, u64)>, Failure> {
    let section = file.section_by_name(".stack_sizes").ok_or("the image has no stack sizes")?;
    let mut data = section.data().map_err(|error| format!("no stack sizes: {error}"))?;
    let mut sizes = Vec::new();
    while let Some((address, rest)) = data.split_first_chunk() {
        let mut size = 0;
        let end = rest.iter().position(|byte| byte & 0x80 == 0).ok_or("stack sizes end early")?;
        for (shift, byte) in (0..).step_by(7).zip(rest.iter().take(end + 1)) {
            size |= u64::from(byte & 0x7f) << shift;
        }
        sizes.push((u64::from_le_bytes(*address), size));
        data = rest.get(end + 1..).unwrap_or_default();
    }
    Ok(sizes)
}

/// All references other than branches, by address: those in code, and those in data.
fn references(file: &object::File<'_>) -> Result<(Vec<Reference>, Vec<Reference>), Failure> {
    let (mut from_code, mut from_data) = (Vec::new(), Vec::new());
    for section in file.sections().filter(|section| section.address() != 0) {
        for (at, relocation) in section.relocations() {
            let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
            if matches!(
                r_type,
                R_AARCH64_CALL26 | R_AARCH64_CONDBR19 | R_AARCH64_JUMP26 | R_AARCH64_TSTBR14
            ) {
                continue;
            }
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let symbol = file.symbol_by_index(index);
            let symbol = symbol.map_err(|error| format!("a relocation has no symbol: {error}"))?;
            let to = symbol.address().wrapping_add_signed(relocation.addend());
            let list =
                if section.kind() == SectionKind::Text { &mut from_code } else { &mut from_data };
            list.push(Reference { at, to });
        }
    }
    Ok((from_code, from_data))
}

/// Data that points to functions, directly or through other data.
struct Objects {
    /// By address: functions, and data.
    points_to: BTreeMap<u64, (Table, BTreeSet<u64>)>,
    /// Data that no code has referred to so far.
    left: BTreeMap<u64, Table>,
}

impl Objects {
    fn new(from_code: &[Reference], from_data: &[Reference], extents: &Extents) -> Self {
        let is_data = |address: &u64| extents.around(*address).is_none();
        let starts: BTreeSet<_> = from_code
            .iter()
            .chain(from_data)
            .map(|reference| reference.to)
            .filter(is_data)
            .collect();
        let mut points_to = BTreeMap::<_, (Table, BTreeSet<_>)>::new();
        for Reference { at, to } in from_data {
            let start = starts.range(..=*at).next_back().copied().unwrap_or(*at);
            let (functions, data) = points_to.entry(start).or_default();
            if let Some(id) = extents.starting_at(*to) {
                functions.insert(id);
            } else if extents.around(*to).is_none() {
                data.insert(*to);
            }
        }
        let left =
            points_to.iter().map(|(start, (functions, _))| (*start, functions.clone())).collect();
        Self { points_to, left }
    }

    /// The functions that a reference to `address` leads to.
    fn take(&mut self, address: u64, extents: &Extents) -> BTreeSet<Table> {
        if extents.around(address).is_some() {
            return extents.starting_at(address).map(|id| Table::from([id])).into_iter().collect();
        }
        let (mut found, mut seen, mut wanted) = (BTreeSet::new(), BTreeSet::new(), vec![address]);
        while let Some(at) = wanted.pop() {
            if !seen.insert(at) {
                continue;
            }
            self.left.remove(&at);
            if let Some((functions, data)) = self.points_to.get(&at) {
                found.extend(Some(functions).filter(|table| !table.is_empty()).cloned());
                wanted.extend(data);
            }
        }
        found
    }

    /// Data that no code refers to.
    fn left(self) -> BTreeSet<Table> {
        self.left.into_values().filter(|table| !table.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_arguments_are_left_out() {
        for (name, short) in [
            ("footprint_open", "footprint_open"),
            ("sro::drive::drive::<a::Host<b::Smc, c::Map>>", "sro::drive::drive"),
            ("<a::Realm<b::Host<c>, d::New>>::make::<e::F>", "<a::Realm>::make"),
            ("<a::Smc as b::Conduit<c>>::call", "<a::Smc as b::Conduit>::call"),
            ("<a::R<b>>::map::{closure#5}", "<a::R>::map::{closure#5}"),
            (
                "<<a::R<b>>::map::{closure#5} as c::FnOnce<(d,)>>::call_once",
                "<<a::R>::map::{closure#5} as c::FnOnce>::call_once",
            ),
            ("f::<fn(a) -> b>::g", "f::g"),
        ] {
            assert_eq!(without_arguments(name), short);
        }
    }

    fn code(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn calls_jumps_and_frames_are_read_from_code() {
        // At 0x1000: this function; at 0x1024: another; at 0x1028: one that LLVM outlined.
        let extents =
            Extents { by_address: [(0x1000, (0, 36)), (0x1024, (1, 4)), (0x1028, (2, 4))].into() };
        let body = code(&[
            0xa9bf_7bfd, // stp x29, x30, [sp, #-16]!
            0x927b_e93f, // and sp, x9, #0xffffffffffffffe0
            0xb400_0060, // cbz x0, 0x1014: inside
            0x9400_0006, // bl 0x1024
            0x728c_e191, // movk w17, #26380
            0x72b4_a811, // movk w17, #42304, lsl #16
            0xd63f_0100, // blr x8
            0x1400_0002, // b 0x1024
            0x1400_0002, // b 0x1028
        ]);
        let mut function = Function::default();
        read_code(&body, 0x1000, 0, &extents, &[2].into(), &mut function);
        assert_eq!((function.frame, function.slack), (16, 31));
        let checked = Callee::Register(Some(42304 << 16 | 26380));
        let calls = [
            (checked, false),
            (Callee::Function(1), false),
            (Callee::Function(1), true),
            (Callee::Function(2), false),
        ];
        assert_eq!(function.calls, calls.map(|(to, is_tail)| Call { to, is_tail }).into());
    }

    #[test]
    fn the_type_of_a_function_is_the_word_before_it() {
        let code = code(&[0xd65f_03c0, 0x1234_5678, 0xd65f_03c0, 0xd65f_03c0]);
        let extents =
            Extents { by_address: [(0x1000, (0, 4)), (0x1008, (1, 4)), (0x100c, (2, 4))].into() };
        assert_eq!(kind(&code, 0, 0x1000, &extents), None);
        assert_eq!(kind(&code, 8, 0x1008, &extents), Some(0x1234_5678));
        // Another function ends there.
        assert_eq!(kind(&code, 12, 0x100c, &extents), None);
    }

    #[test]
    fn a_branch_through_a_register_is_a_tail_call_unless_its_address_is_a_sum() {
        for (last, is_tail_call) in [(0xf940_1028, true), (0x8b0a_0908, false)] {
            // ldr x8, [x1, #32] or add x8, x8, x10, lsl #2; ldr x2, [x1, #32]; br x8
            let body = code(&[last, 0xf940_1022, 0xd61f_0100]);
            let extents = Extents { by_address: [(0, (0, 12))].into() };
            let mut function = Function::default();
            read_code(&body, 0, 0, &extents, &BTreeSet::new(), &mut function);
            assert_eq!(function.calls.len(), usize::from(is_tail_call));
        }
    }

    #[test]
    fn a_reference_to_a_vtable_points_to_its_functions() {
        // Functions at 0x100 and 0x200; a vtable at 0x1000, named by one at 0x1020; another at
        // 0x1030.
        let extents = Extents { by_address: [(0x100, (0, 16)), (0x200, (1, 16))].into() };
        let reference = |at, to| Reference { at, to };
        let from_code = [reference(0x104, 0x1020)];
        let from_data = [
            reference(0x1018, 0x100),
            reference(0x1020, 0x1000),
            reference(0x1030, 0x200),
            reference(0x1040, 0x1030),
        ];
        let mut objects = Objects::new(&from_code, &from_data, &extents);
        assert_eq!(objects.take(0x1020, &extents), [[0].into()].into());
        assert_eq!(objects.take(0x200, &extents), [[1].into()].into());
        // No code refers to the other vtable.
        assert_eq!(objects.left(), [[1].into()].into());
    }
}
