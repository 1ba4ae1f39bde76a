//! Where boxes and arrows are, in pixels. Text is monospaced, so its width is known.

use super::graph::{Arrow, Graph, Node};
use crate::Failure;

/// The width of a letter.
const LETTER: f64 = 7.25;
/// The distance between two lines of text.
pub(super) const LINE: f64 = 15.0;
/// The size of the letters.
pub(super) const FONT: f64 = 12.0;
/// Around the picture.
const MARGIN: f64 = 8.0;
/// Around the text of a box, and beside that of an arrow.
const PADDING: f64 = 10.0;
/// The least distance between boxes.
const GAP: f64 = 34.0;
/// Half of the distance between two arrows that lead there and back.
const APART: f64 = 7.0;

/// A box in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    pub(super) fn middle(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}

/// How the text of an arrow is aligned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// An arrow in pixels.
#[derive(Debug)]
pub(super) struct Route {
    /// Two points, or three.
    pub(super) points: Vec<(f64, f64)>,
    /// The base line of the first line of text.
    pub(super) text: (f64, f64),
    pub(super) anchor: Anchor,
}

/// A picture in pixels.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// In the order of the graph's boxes.
    pub(super) rects: Vec<Rect>,
    /// In the order of the graph's arrows.
    pub(super) routes: Vec<Route>,
}

/// The direction of an arrow in the grid.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Right,
    Left,
    Down,
    Up,
    /// Sideways, then down or up.
    Bent,
}

fn way(from: &Node, to: &Node) -> Way {
    match (from.row == to.row, from.column == to.column) {
        (true, _) if from.column < to.column => Way::Right,
        (true, _) => Way::Left,
        (false, true) if from.row < to.row => Way::Down,
        (false, true) => Way::Up,
        (false, false) => Way::Bent,
    }
}

/// The width of the widest of these lines.
fn width(lines: &[String]) -> f64 {
    lines.iter().map(|line| line.chars().count() as f64 * LETTER).fold(0.0, f64::max)
}

fn height(lines: &[String]) -> f64 {
    lines.len() as f64 * LINE
}

/// The number `index` of a list of lengths; 0 if there is none.
fn nth(lengths: &[f64], index: usize) -> f64 {
    lengths.get(index).copied().unwrap_or(0.0)
}

fn raise(lengths: &mut [f64], index: usize, least: f64) {
    if let Some(length) = lengths.get_mut(index) {
        *length = length.max(least);
    }
}

/// Columns or rows, and the gaps before and after them.
#[derive(Debug)]
struct Axis {
    sizes: Vec<f64>,
    /// One more than there are sizes: the first and the last one are margins.
    gaps: Vec<f64>,
}

impl Axis {
    fn new(count: usize) -> Self {
        let mut gaps = vec![GAP; count + 1];
        if let [first, .., last] = gaps.as_mut_slice() {
            (*first, *last) = (MARGIN, MARGIN);
        }
        Self { sizes: vec![0.0; count], gaps }
    }

    fn start(&self, index: usize) -> f64 {
        let sizes: f64 = self.sizes.iter().take(index).sum();
        sizes + self.gaps.iter().take(index + 1).sum::<f64>()
    }

    fn total(&self) -> f64 {
        self.sizes.iter().chain(&self.gaps).sum()
    }
}

impl Layout {
    /// Places the boxes and arrows of a picture.
    ///
    /// # Errors
    ///
    /// [`Failure`] when an arrow would cross a box.
    pub(super) fn new(graph: &Graph) -> Result<Self, Failure> {
        let count = |of: fn(&Node) -> usize| graph.nodes.iter().map(of).max().unwrap_or(0) + 1;
        let (mut columns, mut rows) = (Axis::new(count(|n| n.column)), Axis::new(count(|n| n.row)));
        for node in &graph.nodes {
            raise(&mut columns.sizes, node.column, width(&node.lines) + 2.0 * PADDING);
            raise(&mut rows.sizes, node.row, height(&node.lines) + 1.4 * PADDING);
        }
        for arrow in &graph.arrows {
            check(graph, arrow)?;
            make_place(graph, arrow, &mut columns, &mut rows)?;
        }
        let rects: Vec<_> = graph.nodes.iter().map(|node| rect(node, &columns, &rows)).collect();
        let mut routes = Vec::new();
        for arrow in &graph.arrows {
            routes.push(route(graph, arrow, &rects)?);
        }
        Ok(Self { width: columns.total(), height: rows.total(), rects, routes })
    }
}

fn rect(node: &Node, columns: &Axis, rows: &Axis) -> Rect {
    Rect {
        x: columns.start(node.column),
        y: rows.start(node.row),
        width: nth(&columns.sizes, node.column),
        height: nth(&rows.sizes, node.row),
    }
}

/// Refuses an arrow that would cross a box.
fn check(graph: &Graph, arrow: &Arrow) -> Result<(), Failure> {
    let (from, to) = graph.ends(arrow)?;
    let (left, right) = (from.column.min(to.column), from.column.max(to.column));
    let (top, bottom) = (from.row.min(to.row), from.row.max(to.row));
    let along = (left..=right).map(|column| (from.row, column));
    let across = (top..=bottom).map(|row| (row, to.column));
    for (row, column) in along.chain(across) {
        if let Some(node) = graph.at(row, column)
            && node != from
            && node != to
        {
            let (from, to, name) = (&from.name, &to.name, &node.name);
            return Err(format!("the arrow from `{from}` to `{to}` crosses `{name}`").into());
        }
    }
    Ok(())
}

/// Widens gaps until there is a place for the text of an arrow.
fn make_place(
    graph: &Graph,
    arrow: &Arrow,
    columns: &mut Axis,
    rows: &mut Axis,
) -> Result<(), Failure> {
    let (from, to) = graph.ends(arrow)?;
    let (left, right) = (from.column.min(to.column), from.column.max(to.column));
    let (top, bottom) = (from.row.min(to.row), from.row.max(to.row));
    let (wide, high) = (width(&arrow.lines), height(&arrow.lines));
    match way(from, to) {
        Way::Right | Way::Left => {
            let other: f64 = columns.sizes.iter().take(right).skip(left + 1).sum();
            let gaps: f64 = columns.gaps.iter().take(right).skip(left + 1).sum();
            raise(&mut columns.gaps, right, wide + 2.0 * PADDING - other - gaps);
        }
        Way::Bent => {
            // The text stands beside the line's end in the target's column.
            let half = nth(&columns.sizes, to.column) / 2.0;
            let gap = if from.column < to.column { to.column } else { to.column + 1 };
            raise(&mut columns.gaps, gap, wide + 2.0 * PADDING - half);
            raise(&mut rows.gaps, bottom, high + 2.0 * PADDING);
        }
        Way::Down | Way::Up => {
            raise(&mut rows.gaps, top + 1, high + 2.0 * PADDING);
            let half = nth(&columns.sizes, to.column) / 2.0;
            let beside = wide + 1.5 * PADDING - half;
            let gap = if way(from, to) == Way::Down { to.column + 1 } else { to.column };
            raise(&mut columns.gaps, gap, beside);
        }
    }
    Ok(())
}

fn route(graph: &Graph, arrow: &Arrow, rects: &[Rect]) -> Result<Route, Failure> {
    let (from, to) = graph.ends(arrow)?;
    let rect = |index| rects.get(index).copied().ok_or("no such box");
    let (source, target) = (rect(arrow.from)?, rect(arrow.to)?);
    let apart = if graph.has_reverse(arrow) { APART } else { 0.0 };
    let high = height(&arrow.lines);
    let (source_middle, target_middle) = (source.middle(), target.middle());
    let lines_above = |y: f64| y - high + LINE - 5.0;
    Ok(match way(from, to) {
        Way::Right => {
            let (start, end, y) = (source.x + source.width, target.x, source_middle.1 - apart);
            let text = ((start + end) / 2.0, lines_above(y));
            Route { points: vec![(start, y), (end, y)], text, anchor: Anchor::Middle }
        }
        Way::Left => {
            let (start, end, y) = (source.x, target.x + target.width, source_middle.1 + apart);
            let below = y + FONT + 2.0;
            let text_y = if apart > 0.0 { below } else { lines_above(y) };
            let text = ((start + end) / 2.0, text_y);
            Route { points: vec![(start, y), (end, y)], text, anchor: Anchor::Middle }
        }
        Way::Down => {
            let (start, end, x) = (source.y + source.height, target.y, source_middle.0 + apart);
            let text = (x + 6.0, (start + end - high) / 2.0 + FONT - 1.0);
            Route { points: vec![(x, start), (x, end)], text, anchor: Anchor::Start }
        }
        Way::Up => {
            let (start, end, x) = (source.y, target.y + target.height, source_middle.0 - apart);
            let text = (x - 6.0, (start + end - high) / 2.0 + FONT - 1.0);
            Route { points: vec![(x, start), (x, end)], text, anchor: Anchor::End }
        }
        Way::Bent => {
            let rightwards = from.column < to.column;
            let start = if rightwards { source.x + source.width } else { source.x };
            let (y, x) = (source_middle.1, target_middle.0);
            let above = from.row > to.row;
            let end = if above { target.y + target.height } else { target.y };
            let anchor = if rightwards { Anchor::End } else { Anchor::Start };
            let text_x = if rightwards { x - 6.0 } else { x + 6.0 };
            let text_y = match above {
                true => end + PADDING / 2.0 + FONT,
                false => end - high - PADDING / 2.0 + FONT - 2.0,
            };
            Route { points: vec![(start, y), (x, y), (x, end)], text: (text_x, text_y), anchor }
        }
    })
}
