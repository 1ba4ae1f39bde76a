//! A picture as SVG. It has the colour of the text around it, so it is readable in any theme, and
//! is never wider than the page. It has no empty line: in Markdown it is one block of HTML.

use std::fmt::Write as _;

use super::graph::Graph;
use super::layout::{Anchor, FONT, LINE, Layout, Rect};
use crate::Failure;

/// Half of the width of an arrow's head.
const HEAD: f64 = 3.5;
/// The length of an arrow's head.
const HEAD_LENGTH: f64 = 8.0;

/// Draws a picture.
///
/// # Errors
///
/// [`Failure`] when an arrow would cross a box.
pub(super) fn svg(graph: &Graph) -> Result<String, Failure> {
    let layout = Layout::new(graph)?;
    let Layout { width, height, .. } = layout;
    let mut svg = String::new();
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" style=\"max-width:100%;height:auto\" \
         font-family=\"monospace\" font-size=\"{FONT:.0}\" fill=\"currentColor\">"
    )?;
    writeln!(svg, "<title>{}</title>", escaped(&graph.title))?;
    for (node, rect) in graph.nodes.iter().zip(&layout.rects) {
        let Rect { x, y, width, height } = rect;
        writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"4\" \
             fill=\"none\" stroke=\"currentColor\"></rect>"
        )?;
        let middle = rect.middle();
        let first = middle.1 - (node.lines.len() as f64 - 1.0) * LINE / 2.0 + FONT / 3.0;
        for (line, n) in node.lines.iter().zip(0_u8..) {
            let y = first + f64::from(n) * LINE;
            let weight = if n == 0 { " font-weight=\"bold\"" } else { "" };
            text(&mut svg, (middle.0, y), Anchor::Middle, weight, line)?;
        }
    }
    for (arrow, route) in graph.arrows.iter().zip(&layout.routes) {
        line(&mut svg, &route.points)?;
        for (line, n) in arrow.lines.iter().zip(0_u8..) {
            let at = (route.text.0, route.text.1 + f64::from(n) * LINE);
            text(&mut svg, at, route.anchor, "", line)?;
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn text(
    svg: &mut String,
    (x, y): (f64, f64),
    anchor: Anchor,
    weight: &str,
    line: &str,
) -> Result<(), Failure> {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let line = escaped(line);
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{weight}>{line}</text>"
    )?;
    Ok(())
}

/// A line with a head at its end.
fn line(svg: &mut String, points: &[(f64, f64)]) -> Result<(), Failure> {
    let [.., before, end] = points else { return Err("an arrow has two points".into()) };
    let mut path = String::new();
    for (x, y) in points {
        let command = if path.is_empty() { 'M' } else { 'L' };
        write!(path, "{command}{x:.1} {y:.1}")?;
    }
    writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"currentColor\"></path>")?;
    let length = (end.0 - before.0).hypot(end.1 - before.1).max(1.0);
    let (along_x, along_y) = ((end.0 - before.0) / length, (end.1 - before.1) / length);
    let (base_x, base_y) = (end.0 - along_x * HEAD_LENGTH, end.1 - along_y * HEAD_LENGTH);
    writeln!(
        svg,
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z\"></path>",
        end.0,
        end.1,
        base_x - along_y * HEAD,
        base_y + along_x * HEAD,
        base_x + along_y * HEAD,
        base_y - along_x * HEAD,
    )?;
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
