//! Text as glyphs: measured, broken into lines and drawn by one and the same shaping.

use harfrust::{Direction, FontRef, ShapeOptions, ShaperData, UnicodeBuffer};
use krilla::text::{Font, GlyphId, KrillaGlyph};

const REGULAR: &[u8] = include_bytes!("../../fonts/IBMPlexSans-Regular.ttf");
const SEMI_BOLD: &[u8] = include_bytes!("../../fonts/IBMPlexSans-SemiBold.ttf");

/// What is cut off is marked.
const ELLIPSIS: char = '\u{2026}';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    SemiBold,
}

/// The typefaces that invoices are set in.
pub(super) struct Typefaces {
    regular: Typeface,
    semi_bold: Typeface,
}

impl Typefaces {
    pub(super) fn load() -> Option<Self> {
        Some(Self { regular: Typeface::load(REGULAR)?, semi_bold: Typeface::load(SEMI_BOLD)? })
    }

    pub(super) const fn of(&self, weight: Weight) -> &Typeface {
        match weight {
            Weight::Regular => &self.regular,
            Weight::SemiBold => &self.semi_bold,
        }
    }
}

pub(super) struct Typeface {
    table: FontRef<'static>,
    shaping: ShaperData,
    /// What goes into the PDF.
    embedded: Font,
    units_per_em: f32,
}

/// A line of text as glyphs; lengths are in ems.
pub(super) struct Shaped {
    pub glyphs: Vec<KrillaGlyph>,
    pub width: f32,
}

impl Typeface {
    fn load(bytes: &'static [u8]) -> Option<Self> {
        let table = FontRef::from_index(bytes, 0).ok()?;
        let embedded = Font::new(bytes.into(), 0)?;
        let units_per_em = embedded.units_per_em();
        Some(Self { shaping: ShaperData::new(&table), table, embedded, units_per_em })
    }

    pub(super) const fn embedded(&self) -> &Font {
        &self.embedded
    }

    /// A line from left to right.
    pub(super) fn shape(&self, text: &str) -> Shaped {
        let mut buffer = UnicodeBuffer::new();
        buffer.push_str(text);
        buffer.guess_segment_properties();
        buffer.set_direction(Direction::LeftToRight);
        let shaper = self.shaping.shaper(&self.table).build();
        let shaped = shaper.shape(buffer, ShapeOptions::new());
        let (infos, positions) = (shaped.glyph_infos(), shaped.glyph_positions());
        let (mut glyphs, mut width) = (Vec::with_capacity(infos.len()), 0.0);
        for (index, (info, position)) in infos.iter().zip(positions).enumerate() {
            let start = info.cluster as usize;
            let after = infos[index..].iter().map(|next| next.cluster as usize).find(|next| *next > start);
            let ems = |units: i32| units as f32 / self.units_per_em;
            width += ems(position.x_advance);
            glyphs.push(KrillaGlyph::new(
                GlyphId::new(info.glyph_id),
                ems(position.x_advance),
                ems(position.x_offset),
                ems(position.y_offset),
                ems(position.y_advance),
                start..after.unwrap_or(text.len()),
                None,
            ));
        }
        Shaped { glyphs, width }
    }

    /// In points.
    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        self.shape(text).width * size
    }

    /// The lines of a text that is `width` points wide at most, `most` of them. Breaks at spaces, within a word only
    /// where the word alone is too long.
    pub(super) fn lines(&self, text: &str, size: f32, width: f32, most: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let (mut line, mut used) = (String::new(), 0.0);
        let space = self.width(" ", size);
        for word in clean(text).split(' ').filter(|word| !word.is_empty()) {
            // Words are measured alone: shaping each longer beginning of a line again would take its square.
            let wide = self.width(word, size);
            if !line.is_empty() && used + space + wide <= width {
                line.push(' ');
                line.push_str(word);
                used += space + wide;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            (line, used) = if wide <= width {
                (word.to_owned(), wide)
            } else {
                let rest = self.broken(word, size, width, &mut lines);
                let wide = self.width(&rest, size);
                (rest, wide)
            };
            if lines.len() > most {
                break;
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
        if lines.len() > most {
            lines.truncate(most);
            if let Some(last) = lines.last_mut() {
                last.push(ELLIPSIS);
                while last.chars().count() > 1 && self.width(last, size) > width {
                    last.truncate(last.char_indices().rev().nth(1).map_or(0, |(at, _)| at));
                    last.push(ELLIPSIS);
                }
            }
        }
        lines
    }

    /// Pushes the full lines of a word that is too long for one; answers the rest.
    fn broken(&self, word: &str, size: f32, width: f32, lines: &mut Vec<String>) -> String {
        let (mut start, mut used) = (0, 0.0);
        for glyph in self.shape(word).glyphs {
            let advance = glyph.x_advance * size;
            // Several glyphs may show one letter, which stays whole.
            if used + advance > width && glyph.text_range.start > start {
                lines.push(word[start..glyph.text_range.start].to_owned());
                (start, used) = (glyph.text_range.start, 0.0);
            }
            used += advance;
        }
        word[start..].to_owned()
    }
}

/// One space for each stretch of white space (but a no-break space stays), and no control characters, which have no
/// glyph.
fn clean(text: &str) -> String {
    let visible = |letter: char| match letter {
        '\u{a0}' => '\u{a0}',
        other if other.is_whitespace() || other.is_control() => ' ',
        other => other,
    };
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regular() -> Typeface {
        Typeface::load(REGULAR).unwrap()
    }

    #[test]
    fn figures_are_equally_wide_so_that_columns_line_up() {
        let face = regular();
        assert_eq!(face.width("1.111.111", 10.0), face.width("8.888.888", 10.0));
        assert!(face.width("Rp\u{a0}1", 10.0) > face.width("Rp1", 10.0));
    }

    #[test]
    fn lines_fit_and_lose_nothing() {
        let face = regular();
        let text = "PT Perusahaan Dagang Sumber Rejeki Makmur Sentosa Abadi Tbk";
        let lines = face.lines(text, 9.0, 90.0, 20);
        assert!(lines.len() > 2, "{lines:?}");
        assert!(lines.iter().all(|line| face.width(line, 9.0) <= 90.0), "{lines:?}");
        assert_eq!(lines.join(" "), text);
        let url = "https://pay.example.com/0123456789012345678901234567890123456789";
        let broken = face.lines(url, 9.0, 90.0, 20);
        assert!(broken.len() > 2 && broken.iter().all(|line| face.width(line, 9.0) <= 90.0), "{broken:?}");
        assert_eq!(broken.concat(), url);
    }

    #[test]
    fn what_is_too_long_is_cut_with_a_mark_and_white_space_is_one_space() {
        let face = regular();
        let cut = face.lines(&"kata ".repeat(500), 9.0, 60.0, 2);
        assert_eq!(cut.len(), 2);
        assert!(cut[1].ends_with(ELLIPSIS) && face.width(&cut[1], 9.0) <= 60.0, "{cut:?}");
        assert_eq!(face.lines("  a \t\n b\u{0}c ", 9.0, 60.0, 2), ["a b c"]);
        assert!(face.lines(" \n ", 9.0, 60.0, 2).is_empty());
    }
}
