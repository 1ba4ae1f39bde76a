//! The upper limits of the figures of the images.

use crate::Failure;

/// The figures of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Bytes of code.
    pub(crate) text: u64,
    /// Bytes of stack on the deepest path.
    pub(crate) stack: u64,
    /// Functions that may panic.
    pub(crate) panics: u64,
}

impl Figures {
    /// The figures that are above their ceiling: name, figure, ceiling.
    pub(crate) fn above(
        &self,
        ceiling: &Self,
    ) -> impl Iterator<Item = (&'static str, u64, u64)> + use<> {
        [
            ("text", self.text, ceiling.text),
            ("stack", self.stack, ceiling.stack),
            ("panics", self.panics, ceiling.panics),
        ]
        .into_iter()
        .filter(|(_, figure, ceiling)| figure > ceiling)
    }
}

/// The ceilings of all images.
#[derive(Debug)]
pub(crate) struct Ceilings(Vec<(String, Figures)>);

impl Ceilings {
    /// Reads lines of a name and three numbers: text, stack, panics. `#` begins a comment.
    ///
    /// # Errors
    ///
    /// [`Failure`] names the line that is invalid.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let images = lines.filter(|line| !line.is_empty()).map(parse_line);
        images.collect::<Result<_, _>>().map(Self)
    }

    /// The ceilings of an image.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it has none.
    pub(crate) fn of(&self, image: &str) -> Result<Figures, Failure> {
        let found = self.0.iter().find(|(name, _)| name == image);
        Ok(found.ok_or_else(|| format!("the image {image} has no ceilings"))?.1)
    }
}

fn parse_line(line: &str) -> Result<(String, Figures), Failure> {
    let words: Vec<_> = line.split_whitespace().collect();
    let number = |text: &str| text.replace(',', "").parse().ok();
    let figures = match words.as_slice() {
        [_, text, stack, panics] => number(text).zip(number(stack)).zip(number(panics)),
        _ => None,
    };
    let ((text, stack), panics) =
        figures.ok_or_else(|| format!("not a name and three numbers: {line}"))?;
    Ok((words.first().copied().unwrap_or_default().into(), Figures { text, stack, panics }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_above_its_ceiling_is_named() {
        let ceilings = Ceilings::parse("# image text stack panics\ncore 80,000 8192 0 # wanted\n");
        let ceiling = ceilings.unwrap().of("core").unwrap();
        let figures = Figures { text: 80_000, stack: 8_193, panics: 0 };
        assert_eq!(figures.above(&ceiling).collect::<Vec<_>>(), [("stack", 8_193, 8_192)]);
        assert_eq!(ceiling.above(&ceiling).count(), 0);
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        for text in ["core 1 2", "core 1 2 3 4", "core 1 2 x", "core 1 -2 3"] {
            assert!(Ceilings::parse(text).is_err(), "{text}");
        }
        assert!(Ceilings::parse("core 1 2 3").unwrap().of("other").is_err());
    }
}
