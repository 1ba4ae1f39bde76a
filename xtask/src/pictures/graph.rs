//! The text of a picture: boxes in a grid, and arrows between them.
//!
//! ```text
//! # A comment.
//! title: Who owns a granule
//! svg: crates/rmi-host/pictures/granule.svg
//! box host 1 1: Undelegated | the host's
//! box rmm 1 2: Delegated | the RMM's
//! arrow host rmm: delegate
//! ```
//!
//! A box has a name, a row and a column from 1, and lines of text. An arrow has a source, a target
//! and lines of text; where they share neither a row nor a column, it leaves its source sideways
//! and enters its target from above or below.

use crate::Failure;

/// A box.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub(super) name: String,
    /// From 0.
    pub(super) row: usize,
    /// From 0.
    pub(super) column: usize,
    pub(super) lines: Vec<String>,
}

/// An arrow between two boxes, by their indices.
#[derive(Debug, PartialEq)]
pub(super) struct Arrow {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) lines: Vec<String>,
}

/// A picture.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) title: String,
    /// The file that is drawn, relative to the root of the repository.
    pub(super) svg: String,
    pub(super) nodes: Vec<Node>,
    pub(super) arrows: Vec<Arrow>,
}

impl Graph {
    /// Reads the text of a picture.
    ///
    /// # Errors
    ///
    /// [`Failure`] with the number of the line that is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let mut graph = Self::default();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if !line.is_empty() && !line.starts_with('#') {
                graph.line(line).map_err(|reason| format!("line {number}: {reason}"))?;
            }
        }
        if graph.title.is_empty() || graph.svg.is_empty() || graph.nodes.is_empty() {
            return Err("a picture has a title, a file (`svg`) and boxes".into());
        }
        Ok(graph)
    }

    fn line(&mut self, line: &str) -> Result<(), Failure> {
        let (what, text) = line.split_once(':').ok_or("no colon")?;
        let words: Vec<_> = what.split_whitespace().collect();
        match words.as_slice() {
            ["title"] => self.title = text.trim().into(),
            ["svg"] => self.svg = text.trim().into(),
            ["box", name, row, column] => {
                let (row, column) = (place(row)?, place(column)?);
                if self.nodes.iter().any(|other| other.name == *name) {
                    return Err(format!("a second box `{name}`").into());
                }
                if self.at(row, column).is_some() {
                    return Err(format!("`{name}` is where another box is").into());
                }
                let lines = lines(text);
                self.nodes.push(Node { name: (*name).into(), row, column, lines });
            }
            ["arrow", from, to] => {
                let (from, to) = (self.named(from)?, self.named(to)?);
                if from == to {
                    return Err("an arrow from a box to itself".into());
                }
                if self.arrows.iter().any(|other| (other.from, other.to) == (from, to)) {
                    return Err("a second arrow between the same boxes".into());
                }
                self.arrows.push(Arrow { from, to, lines: lines(text) });
            }
            _ => return Err(format!("not `title`, `svg`, `box` or `arrow`: {what}").into()),
        }
        Ok(())
    }

    fn named(&self, name: &str) -> Result<usize, Failure> {
        let found = self.nodes.iter().position(|node| node.name == name);
        found.ok_or_else(|| format!("no box `{name}`").into())
    }

    /// The box in a cell of the grid.
    pub(super) fn at(&self, row: usize, column: usize) -> Option<&Node> {
        self.nodes.iter().find(|node| (node.row, node.column) == (row, column))
    }

    /// The two boxes of an arrow.
    pub(super) fn ends(&self, arrow: &Arrow) -> Result<(&Node, &Node), Failure> {
        let node = |index| self.nodes.get(index).ok_or("no such box");
        Ok((node(arrow.from)?, node(arrow.to)?))
    }

    /// Whether another arrow leads back.
    pub(super) fn has_reverse(&self, arrow: &Arrow) -> bool {
        self.arrows.iter().any(|other| (other.to, other.from) == (arrow.from, arrow.to))
    }
}

fn place(word: &str) -> Result<usize, Failure> {
    match word.parse::<usize>() {
        Ok(number @ 1..=20) => Ok(number - 1),
        _ => Err(format!("a row or column is from 1 to 20, not {word}").into()),
    }
}

fn lines(text: &str) -> Vec<String> {
    text.split('|').map(str::trim).filter(|line| !line.is_empty()).map(Into::into).collect()
}
