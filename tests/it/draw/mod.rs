//! Draws the test sheet: an A4 page as SVG, from the product's own table of its codes.

mod bars;
mod matrix;

use std::fmt::Write as _;

use waypost::decoder::scan::sheet::{Drawn, SHEET, SheetCode};

/// The page. Unit: mm.
const WIDTH: f64 = 210.0;
const HEIGHT: f64 = 297.0;
/// The first row of codes, and the height of a row. Unit: mm.
const TOP: f64 = 46.0;
const ROW: f64 = 31.0;
/// The left edge of what is printed; every code has more than its quiet zone of white around it. Unit: mm.
const LEFT: f64 = 15.0;
/// The height of bars. Unit: mm.
const BARS: f64 = 15.0;

/// How wide a module of a code is. Unit: mm.
fn module(drawn: Drawn) -> f64 {
    match drawn {
        Drawn::Code128 | Drawn::Gs1Code128 => 0.4,
        Drawn::Gs1DataMatrix => 0.85,
        Drawn::Ean13 | Drawn::UpcA => 0.42,
        Drawn::Itf14 => 0.5,
        Drawn::Code39 => 0.375,
    }
}

/// The white that a code needs on each side. Unit: modules.
fn quiet(drawn: Drawn) -> f64 {
    match drawn {
        Drawn::Gs1DataMatrix => 2.0,
        Drawn::Ean13 | Drawn::UpcA => 11.0,
        _ => 10.0,
    }
}

/// The dark rectangles of a code, in modules: left, top, width, height; bars are one high.
fn dark(code: &SheetCode) -> Vec<(u32, u32, u32, u32)> {
    let widths = match code.drawn {
        Drawn::Code128 => bars::code_128(code.text, false),
        Drawn::Gs1Code128 => bars::code_128(code.text, true),
        Drawn::Ean13 => bars::ean_13(code.text),
        Drawn::UpcA => bars::ean_13(&format!("0{}", code.text)),
        Drawn::Itf14 => bars::itf(code.text),
        Drawn::Code39 => bars::code_39(code.text),
        Drawn::Gs1DataMatrix => {
            let rows = matrix::data_matrix(code.text).into_iter().zip(0..);
            let cells = rows.flat_map(|(row, y)| row.into_iter().zip(0..).map(move |(dark, x)| (dark, x, y)));
            return cells.filter(|(dark, ..)| *dark).map(|(_, x, y)| (x, y, 1, 1)).collect();
        }
    };
    let mut at = 0;
    let mut dark = Vec::new();
    for (nth, width) in widths.into_iter().enumerate() {
        if nth.is_multiple_of(2) {
            dark.push((at, 0, width, 1));
        }
        at += width;
    }
    dark
}

/// The box around a code that is white but for it: left, top, width, height. Unit: mm.
pub fn white(code: &SheetCode) -> (f64, f64, f64, f64) {
    let side = module(code.drawn);
    let width = dark(code).iter().map(|(x, _, width, _)| x + width).max().map_or(0.0, f64::from) * side;
    let height = if code.drawn == Drawn::Gs1DataMatrix { matrix::SIDE as f64 * side } else { BARS };
    let margin = quiet(code.drawn) * side;
    let (x, y) = origin(code);
    let above = if code.drawn == Drawn::Gs1DataMatrix { margin } else { 0.5 };
    (x - margin, y - above, width + 2.0 * margin, height + 2.0 * above)
}

/// The upper left corner of a code's modules. Unit: mm.
fn origin(code: &SheetCode) -> (f64, f64) {
    let y = TOP + ROW * f64::from(code.number - 1) + 8.0;
    // Codes in turns left and right: a scanner that aims at one does not see the next.
    let x = match code.drawn {
        Drawn::Gs1DataMatrix => 160.0,
        Drawn::Ean13 | Drawn::Code39 => 100.0,
        _ => LEFT + 5.0,
    };
    (x, y)
}

/// The sheet.
pub fn sheet() -> String {
    let mut svg = String::new();
    let head = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}mm\" height=\"{HEIGHT}mm\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">\n\
         <title>waypost test sheet</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <g font-family=\"sans-serif\" font-size=\"3.6\" fill=\"#000\">\n"
    );
    svg.push_str(&head);
    let mut line = |x: f64, y: f64, style: &str, text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        writeln!(svg, "<text x=\"{x}\" y=\"{y:.1}\"{style}>{text}</text>").unwrap();
    };
    line(LEFT, 18.0, " font-size=\"7\" font-weight=\"bold\"", "waypost test sheet");
    for (nth, text) in [
        "Shows how a scanner is set. Print it, or enlarge one code at a time on a phone.",
        "Begin with code 1, then scan each of the others once. What to change is said by",
        "`waypost sheet` on the gateway, and on its screen as the advice of the source.",
        "These codes make no event, move nothing and are never sent on.",
    ]
    .iter()
    .enumerate()
    {
        line(LEFT, 24.5 + 4.8 * nth as f64, "", text);
    }
    for code in &SHEET {
        let (x, y) = origin(code);
        let title = format!("{}  {}", code.number, code.name);
        line(LEFT, y - 3.0, " font-weight=\"bold\" font-size=\"4.2\"", &title);
        line(LEFT + 45.0, y - 3.0, "", code.tests);
        let below = if code.drawn == Drawn::Gs1DataMatrix { LEFT + 5.0 } else { x };
        line(below, y + BARS + 4.5, " font-family=\"monospace\" xml:space=\"preserve\"", code.shown);
    }
    for code in &SHEET {
        let (x, y) = origin(code);
        let side = module(code.drawn);
        let high = if code.drawn == Drawn::Gs1DataMatrix { side } else { BARS };
        write!(svg, "<path shape-rendering=\"crispEdges\" transform=\"translate({x} {y}) scale({side} {high})\" d=\"")
            .unwrap();
        for (left, top, width, height) in dark(code) {
            write!(svg, "M{left} {top}h{width}v{height}h-{width}z").unwrap();
        }
        svg.push_str("\"/>\n");
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}
