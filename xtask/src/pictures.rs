//! `cargo xtask pictures`: draws the pictures of the documentation from their texts.

mod draw;
mod graph;
mod layout;

use std::fs;
use std::path::Path;

use crate::Failure;
use crate::output::say;
use graph::Graph;

/// Where the texts are.
const TEXTS: &str = "docs/pictures";

/// Draws each picture into the file that its text names; with `check`, only compares.
///
/// # Errors
///
/// [`Failure`] when a text is wrong, a file cannot be read or written, or a file is not what its
/// text gives.
pub(crate) fn run(root: &Path, check: bool) -> Result<(), Failure> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(root.join(TEXTS))? {
        texts.push(entry?.path());
    }
    texts.sort();
    let mut different = 0;
    for path in &texts {
        let name = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let graph = Graph::parse(&text).map_err(|error| format!("{name}: {error}"))?;
        let drawn = draw::svg(&graph).map_err(|error| format!("{name}: {error}"))?;
        let target = root.join(&graph.svg);
        if fs::read_to_string(&target).is_ok_and(|old| old == drawn) {
            continue;
        }
        different += 1;
        say!("{} differs from its text", graph.svg);
        if !check {
            fs::create_dir_all(target.parent().ok_or("no directory")?)?;
            fs::write(&target, drawn)?;
        }
    }
    match (texts.is_empty(), check, different) {
        (true, ..) => Err(format!("no texts in {TEXTS}").into()),
        (_, true, 1..) => Err("run `cargo xtask pictures`".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "title: T\nsvg: t.svg\nbox a 1 1: A & B\nbox b 1 3: B\n";

    fn drawn(more: &str) -> Result<String, String> {
        let graph = Graph::parse(&format!("{TWO}{more}")).map_err(|error| error.to_string())?;
        draw::svg(&graph).map_err(|error| error.to_string())
    }

    #[test]
    fn a_picture_is_one_block_of_html() {
        let svg = drawn("arrow a b: there | and <on>\narrow b a: back\n").unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.lines().all(|line| !line.is_empty()));
        assert!(svg.contains(">A &amp; B</text>") && svg.contains(">and &lt;on&gt;</text>"));
        // Two boxes, and two arrows with a head each.
        assert_eq!((svg.matches("<rect").count(), svg.matches("<path").count()), (2, 4));
    }

    #[test]
    fn there_is_a_place_for_each_text() {
        let graph =
            Graph::parse(&format!("{TWO}arrow a b: a label of a certain length\n")).unwrap();
        let layout = layout::Layout::new(&graph).unwrap();
        let [a, b] = layout.rects.as_slice() else { panic!("two boxes") };
        assert!(b.x - (a.x + a.width) > 27.0 * 7.0);
        assert!(layout.width > b.x + b.width);
    }

    #[test]
    fn arrows_do_not_cross_boxes() {
        let error = drawn("box c 1 2: C\narrow a b: over\n").unwrap_err();
        assert_eq!(error, "the arrow from `a` to `b` crosses `c`");
        let error = drawn("box c 1 2: C\nbox d 2 3: D\narrow a d: over\n").unwrap_err();
        assert!(error.contains("crosses"), "{error}");
    }

    #[test]
    fn an_error_is_reported_with_its_line() {
        for (more, reason) in [
            ("arrow a x: no\n", "line 5: no box `x`"),
            ("arrow a a: no\n", "line 5: an arrow from a box to itself"),
            ("box a 2 2: A\n", "line 5: a second box `a`"),
            ("box c 1 1: C\n", "line 5: `c` is where another box is"),
            ("box c 0 1: C\n", "line 5: a row or column is from 1 to 20, not 0"),
            (
                "\n# comment\ncircle c: C\n",
                "line 7: not `title`, `svg`, `box` or `arrow`: circle c",
            ),
            ("nothing\n", "line 5: no colon"),
        ] {
            assert_eq!(drawn(more).unwrap_err(), reason);
        }
        assert!(Graph::parse("title: T\n").is_err());
    }
}
