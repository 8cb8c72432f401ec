//! Pages of marks become a PDF.

use chrono::{DateTime, Datelike, Timelike, Utc};
use krilla::Document;
use krilla::action::{Action, LinkAction};
use krilla::annotation::{Annotation, LinkAnnotation, Target};
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::{DateTime as PdfDateTime, Metadata};
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::surface::Surface;

use super::layout::{Colour, Mark, PAGE_HEIGHT, PAGE_WIDTH, Page};
use super::text::Typefaces;
use super::{InvoiceDocument, PdfError};

pub(super) fn pdf(
    invoice: &InvoiceDocument,
    pages: &[Page],
    typefaces: &Typefaces,
) -> Result<Vec<u8>, PdfError> {
    let mut document = Document::new();
    for marks in pages {
        let settings = PageSettings::from_wh(PAGE_WIDTH, PAGE_HEIGHT)
            .ok_or_else(|| PdfError::Writing("the page has no size".to_owned()))?;
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        for mark in marks {
            draw(&mut surface, mark, typefaces);
        }
        surface.finish();
        for link in marks.iter().filter_map(link) {
            page.add_annotation(link);
        }
        page.finish();
    }
    document.set_metadata(metadata(invoice));
    document.finish().map_err(|error| PdfError::Writing(format!("{error:?}")))
}

fn draw(surface: &mut Surface<'_>, mark: &Mark, typefaces: &Typefaces) {
    match mark {
        Mark::Text { x, y, size, weight, colour, text } => {
            let face = typefaces.of(*weight);
            let shaped = face.shape(text);
            surface.set_fill(Some(fill(*colour)));
            let start = Point::from_xy(*x, *y);
            surface.draw_glyphs(start, &shaped.glyphs, face.embedded().clone(), text, *size, false);
        }
        Mark::Box { x, y, width, height, colour } => {
            let mut path = PathBuilder::new();
            if let Some(rect) = Rect::from_xywh(*x, *y, *width, *height) {
                path.push_rect(rect);
            }
            if let Some(path) = path.finish() {
                surface.set_fill(Some(fill(*colour)));
                surface.draw_path(&path);
            }
        }
        Mark::Link { .. } => {}
    }
}

fn fill(Colour(red, green, blue): Colour) -> Fill {
    Fill { paint: rgb::Color::new(red, green, blue).into(), ..Fill::default() }
}

fn link(mark: &Mark) -> Option<Annotation> {
    let Mark::Link { x, y, width, height, url } = mark else { return None };
    let area = Rect::from_xywh(*x, *y, *width, *height)?;
    let target = Target::Action(Action::Link(LinkAction::new(url.clone())));
    Some(Annotation::new_link(LinkAnnotation::new(area, target), Some("Pay online".to_owned())))
}

/// Its only date is the invoice's own: the clock would give the same invoice other bytes each time.
fn metadata(invoice: &InvoiceDocument) -> Metadata {
    let number = invoice.number.as_deref();
    let metadata = Metadata::new()
        .title(number.map_or("Draft invoice".to_owned(), |number| format!("Invoice {number}")))
        .authors(vec![invoice.seller.name.clone()])
        .creator("OmniStream".to_owned())
        .language("en".to_owned());
    match invoice.issued_at {
        Some(at) => metadata.creation_date(pdf_date(at)),
        None => metadata,
    }
}

fn pdf_date(at: DateTime<Utc>) -> PdfDateTime {
    let narrow = |part: u32| u8::try_from(part).unwrap_or_default();
    PdfDateTime::new(u16::try_from(at.year()).unwrap_or_default())
        .month(narrow(at.month()))
        .day(narrow(at.day()))
        .hour(narrow(at.hour()))
        .minute(narrow(at.minute()))
        .second(narrow(at.second()))
        .utc_offset_hour(0)
        .utc_offset_minute(0)
}
