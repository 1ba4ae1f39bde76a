//! The call graph of an image, and its deepest path.

use std::collections::{BTreeMap, BTreeSet};

/// Index of a function in its [`Graph`].
pub(crate) type Id = usize;

/// The functions of one vtable, or the one that a function pointer points to.
pub(crate) type Table = BTreeSet<Id>;

/// A function of an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Function {
    /// Its name, demangled.
    pub(crate) name: String,
    /// Bytes of stack of its own frame.
    pub(crate) frame: u64,
    /// Bytes that an alignment of its frame may cost.
    pub(crate) slack: u64,
    /// The type by which calls through registers reach it; `None` if that is unknown.
    pub(crate) kind: Option<Kind>,
    /// What it calls.
    pub(crate) calls: BTreeSet<Call>,
    /// The functions that it makes pointers to.
    pub(crate) points_to: BTreeSet<Table>,
}

/// A hash of the type of a function.
pub(crate) type Kind = u32;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Callee {
    /// This function.
    Function(Id),
    /// The target of a register: a function of this type, or of any type if it is `None`.
    Register(Option<Kind>),
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    /// What is called.
    pub(crate) to: Callee,
    /// Whether the caller's frame has been released by then.
    pub(crate) is_tail: bool,
}

/// Functions that call one another.
///
/// Objects of the SDK live on the stack, so the pointer to whatever a call through a register
/// reaches was made by a function that is still running: a caller, direct or indirect. Such a call
/// counts as the deepest implementation of its type. A call of the embedder's code has no
/// implementation, and counts as nothing. In calls below a closure its own vtable is left out: what
/// it captured is older than itself.
///
/// A function that points to others and makes no call through a register, not even in what it
/// calls, must have passed them on in another way: they count everywhere.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// The functions.
    pub(crate) functions: Vec<Function>,
    /// Functions to which constants point that no function refers to.
    pub(crate) constants: BTreeSet<Table>,
}

/// The deepest path from a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Bytes of stack, all frames together.
    pub(crate) bytes: u64,
    /// The functions on the path. The frames of those that end in a tail call are not in the sum.
    pub(crate) path: Vec<Id>,
}

/// A cycle of calls, in the order of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recursion(pub(crate) Vec<Id>);

impl Call {
    /// The function, unless it is read from a register.
    pub(crate) fn function(&self) -> Option<Id> {
        match self.to {
            Callee::Function(id) => Some(id),
            Callee::Register(_) => None,
        }
    }
}

impl Graph {
    fn function(&self, id: Id) -> Option<&Function> {
        self.functions.get(id)
    }

    /// The deepest path from a function.
    ///
    /// # Errors
    ///
    /// [`Recursion`], for which there is no bound.
    pub(crate) fn depth(&self, of: Id) -> Result<Depth, Recursion> {
        let mut walk = Walk { graph: self, known: BTreeMap::new(), running: Vec::new() };
        walk.depth(of, self.everywhere())
    }

    /// Functions that call one of `targets` directly, or reach one through functions for which
    /// `is_part` is true.
    pub(crate) fn callers(
        &self,
        targets: &BTreeSet<Id>,
        is_part: impl Fn(&str) -> bool,
    ) -> BTreeSet<Id> {
        let mut inside = targets.clone();
        loop {
            let before = inside.len();
            let calling: Vec<_> = self.calling(&inside).collect();
            inside.extend(
                calling.into_iter().filter(|id| {
                    self.function(*id).is_some_and(|function| is_part(&function.name))
                }),
            );
            if inside.len() == before {
                break;
            }
        }
        self.calling(&inside).filter(|id| !inside.contains(id)).collect()
    }

    fn calling(&self, targets: &BTreeSet<Id>) -> impl Iterator<Item = Id> {
        self.functions.iter().enumerate().filter_map(|(id, function)| {
            let mut callees = function.calls.iter().filter_map(Call::function);
            callees.any(|to| targets.contains(&to)).then_some(id)
        })
    }

    /// The functions that any call through a register may reach.
    fn everywhere(&self) -> BTreeSet<Table> {
        let mut calls_pointers: BTreeSet<_> = (0..)
            .zip(&self.functions)
            .filter(|(_, function)| function.calls.iter().any(|call| call.function().is_none()))
            .map(|(id, _)| id)
            .collect();
        loop {
            let before = calls_pointers.len();
            let more: Vec<_> = self.calling(&calls_pointers).collect();
            calls_pointers.extend(more);
            if calls_pointers.len() == before {
                break;
            }
        }
        let passed_on = (0..)
            .zip(&self.functions)
            .filter(|(id, _)| !calls_pointers.contains(id))
            .flat_map(|(_, function)| &function.points_to);
        self.constants.iter().chain(passed_on).cloned().collect()
    }
}

struct Walk<'g> {
    graph: &'g Graph,
    /// Keyed by the function and by what calls through registers in it may reach.
    known: BTreeMap<(Id, BTreeSet<Table>), Depth>,
    running: Vec<Id>,
}

impl Walk<'_> {
    /// The deepest path from a function, from which calls through registers reach `reachable`.
    fn depth(&mut self, id: Id, mut reachable: BTreeSet<Table>) -> Result<Depth, Recursion> {
        if let Some(start) = self.running.iter().position(|running| *running == id) {
            let mut cycle = self.running.split_off(start);
            cycle.push(id);
            return Err(Recursion(cycle));
        }
        let nothing = Function::default();
        let function = self.graph.function(id).unwrap_or(&nothing);
        reachable.extend(function.points_to.iter().cloned());
        let key = (id, reachable);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let (_, reachable) = &key;
        self.running.push(id);
        let mut deepest = Depth { bytes: function.frame, path: vec![id] };
        for call in &function.calls {
            let below = match call.to {
                Callee::Function(to) => vec![self.depth(to, reachable.clone())?],
                Callee::Register(kind) => self.implementations(kind, reachable)?,
            };
            let own = if call.is_tail { 0 } else { function.frame };
            for Depth { bytes, path } in below {
                if own + bytes > deepest.bytes {
                    let path = [id].into_iter().chain(path).collect();
                    deepest = Depth { bytes: own + bytes, path };
                }
            }
        }
        self.running.pop();
        self.known.insert(key, deepest.clone());
        Ok(deepest)
    }

    /// The deepest path from each function that a call through a register reaches.
    fn implementations(
        &mut self,
        kind: Option<Kind>,
        tables: &BTreeSet<Table>,
    ) -> Result<Vec<Depth>, Recursion> {
        let mut depths = Vec::new();
        for table in tables {
            for to in table {
                let has = self.graph.function(*to).and_then(|function| function.kind);
                if kind.zip(has).is_some_and(|(wanted, has)| wanted != has) {
                    continue;
                }
                let others = tables.iter().filter(|other| *other != table && !other.contains(to));
                depths.push(self.depth(*to, others.cloned().collect())?);
            }
        }
        Ok(depths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(to: Id) -> Call {
        Call { to: Callee::Function(to), is_tail: false }
    }

    const THROUGH_REGISTER: Call = Call { to: Callee::Register(None), is_tail: false };

    /// Frame, calls, and the functions that it points to.
    type Sketch<'a> = (u64, &'a [Call], &'a [&'a [Id]]);

    fn graph(functions: &[Sketch<'_>]) -> Graph {
        let functions = (0..).zip(functions).map(|(id, (frame, calls, points_to))| Function {
            name: format!("f{id}"),
            frame: *frame,
            slack: 0,
            kind: None,
            calls: calls.iter().copied().collect(),
            points_to: points_to.iter().map(|table| table.iter().copied().collect()).collect(),
        });
        Graph { functions: functions.collect(), constants: BTreeSet::new() }
    }

    #[test]
    fn the_deepest_of_two_paths_counts() {
        let graph = graph(&[
            (16, &[call(1), call(2)], &[]),
            (100, &[], &[]),
            (32, &[call(3)], &[]),
            (80, &[], &[]),
        ]);
        assert_eq!(graph.depth(0), Ok(Depth { bytes: 128, path: vec![0, 2, 3] }));
    }

    #[test]
    fn a_tail_call_gives_its_frame_back_first() {
        let tail = Call { to: Callee::Function(1), is_tail: true };
        assert_eq!(graph(&[(64, &[tail], &[]), (48, &[], &[])]).depth(0).unwrap().bytes, 64);
        assert_eq!(graph(&[(64, &[tail], &[]), (80, &[], &[])]).depth(0).unwrap().bytes, 80);
    }

    #[test]
    fn recursion_is_found_with_its_cycle() {
        let graph = graph(&[(16, &[call(1)], &[]), (16, &[call(2)], &[]), (16, &[call(1)], &[])]);
        assert_eq!(graph.depth(0), Err(Recursion(vec![1, 2, 1])));
    }

    #[test]
    fn a_function_that_calls_itself_is_recursion() {
        assert_eq!(graph(&[(16, &[call(0)], &[])]).depth(0), Err(Recursion(vec![0, 0])));
    }

    #[test]
    fn a_call_through_a_register_counts_its_deepest_implementation() {
        // 0 points to 2 and 3 and calls 1, which calls what was passed to it.
        let graph = graph(&[
            (16, &[call(1)], &[&[2], &[3]]),
            (32, &[THROUGH_REGISTER], &[]),
            (10, &[], &[]),
            (500, &[], &[]),
        ]);
        assert_eq!(graph.depth(0), Ok(Depth { bytes: 548, path: vec![0, 1, 3] }));
        // Nothing was passed to 1: it calls the embedder's code.
        assert_eq!(graph.depth(1), Ok(Depth { bytes: 32, path: vec![1] }));
    }

    #[test]
    fn a_call_through_a_register_counts_implementations_of_its_type() {
        let call_1 = Call { to: Callee::Register(Some(1)), is_tail: false };
        let mut graph = graph(&[
            (16, &[call_1], &[&[1], &[2], &[3]]),
            (10, &[], &[]),
            (500, &[], &[]),
            (20, &[], &[]),
        ]);
        for (id, kind) in [(1, Some(1)), (2, Some(2)), (3, None)] {
            graph.functions[id].kind = kind;
        }
        // The type of 3 is unknown.
        assert_eq!(graph.depth(0), Ok(Depth { bytes: 36, path: vec![0, 3] }));
    }

    #[test]
    fn closures_that_wrap_one_another_are_no_recursion() {
        // 0 passes 2 to 1; 2 calls what it captured through 3.
        let graph = graph(&[
            (16, &[call(1)], &[&[2]]),
            (32, &[THROUGH_REGISTER], &[]),
            (64, &[call(3)], &[]),
            (8, &[THROUGH_REGISTER], &[]),
        ]);
        assert_eq!(graph.depth(0), Ok(Depth { bytes: 120, path: vec![0, 1, 2, 3] }));
    }

    #[test]
    fn a_vtable_is_left_out_below_any_of_its_functions() {
        // 0 passes 2 to 1; 3 is in the same vtable as 2.
        let graph = graph(&[
            (16, &[call(1)], &[&[2, 3]]),
            (32, &[THROUGH_REGISTER], &[]),
            (64, &[call(4)], &[]),
            (8, &[call(2)], &[]),
            (4, &[THROUGH_REGISTER], &[]),
        ]);
        assert_eq!(graph.depth(0), Ok(Depth { bytes: 124, path: vec![0, 1, 3, 2, 4] }));
    }

    #[test]
    fn a_closure_that_calls_its_maker_is_recursion() {
        let graph = graph(&[
            (16, &[call(1)], &[&[2]]),
            (32, &[THROUGH_REGISTER], &[]),
            (64, &[call(0)], &[]),
        ]);
        assert_eq!(graph.depth(0), Err(Recursion(vec![0, 1, 2, 0])));
    }

    #[test]
    fn what_is_passed_on_some_other_way_counts_everywhere() {
        // 1 makes an object with 3 in its vtable and returns it; 2 calls it.
        let graph = graph(&[
            (16, &[call(1), call(2)], &[]),
            (8, &[], &[&[3]]),
            (32, &[THROUGH_REGISTER], &[]),
            (500, &[], &[]),
        ]);
        assert_eq!(graph.depth(0), Ok(Depth { bytes: 548, path: vec![0, 2, 3] }));
    }

    #[test]
    fn functions_that_reach_a_panic_are_named_without_what_lies_between() {
        let mut graph = graph(&[
            (16, &[call(1), call(3)], &[]),
            (16, &[call(2)], &[]),
            (16, &[], &[]),
            (16, &[], &[]),
        ]);
        graph.functions[1].name = "core::panicking::panic".into();
        let callers = graph.callers(&[2].into(), |name| name.starts_with("core::"));
        assert_eq!(callers, [0].into());
    }
}
