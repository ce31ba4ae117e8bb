//! A Markdown table that can also be read as it is, and how figures are written in it.

use std::fmt;

pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: Vec<String>) -> Self {
        Self { rows: vec![head] }
    }

    /// A row with as many cells as the head.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| cell.replace('|', "\\|")).collect())
            .collect();
        let columns = self.rows[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .map(|width| width.max(3))
            .collect();
        for (n, row) in rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(formatter, "| {cell:width$} ")?;
            }
            writeln!(formatter, "|")?;
            if n == 0 {
                for width in &widths {
                    write!(formatter, "| {} ", "-".repeat(*width))?;
                }
                writeln!(formatter, "|")?;
            }
        }
        Ok(())
    }
}

/// Three significant digits, and no less than whole numbers.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        small if small < 9.995 => format!("{value:.2}"),
        middle if middle < 99.95 => format!("{value:.1}"),
        _ => with_commas(value.round()),
    }
}

/// The value in the middle, with the least and the greatest if there are several.
pub(crate) fn median_and_spread(values: &[f64]) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let Some(middle) = median(&values) else { return String::new() };
    match values.as_slice() {
        [least, .., most] => {
            format!("{} ({}–{})", figure(middle), figure(*least), figure(*most))
        }
        _ => figure(middle),
    }
}

/// Of sorted values.
fn median(values: &[f64]) -> Option<f64> {
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}

fn with_commas(whole: f64) -> String {
    let digits = format!("{:.0}", whole.abs());
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if whole < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_markdown() {
        let mut table = Table::new(vec!["scenario".to_owned(), "a".to_owned()]);
        table.push(vec!["idle".to_owned(), "1.5 (1–2)".to_owned()]);
        table.push(vec!["a|b".to_owned(), "".to_owned()]);
        let expected = "\
| scenario | a         |
| -------- | --------- |
| idle     | 1.5 (1–2) |
| a\\|b     |           |
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in [
            (0.0, "0.00"),
            (1.234, "1.23"),
            (9.996, "10.0"),
            (45.67, "45.7"),
            (99.96, "100"),
            (1234.5, "1,235"),
            (1_234_567.0, "1,234,567"),
            (-12_345.0, "-12,345"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn the_median_is_of_sorted_values() {
        assert_eq!(median_and_spread(&[]), "");
        assert_eq!(median_and_spread(&[2.0]), "2.00");
        assert_eq!(median_and_spread(&[3.0, 1.0]), "2.00 (1.00–3.00)");
        assert_eq!(median_and_spread(&[9.0, 1.0, 2.0]), "2.00 (1.00–9.00)");
    }
}
