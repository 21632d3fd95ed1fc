//! The figures, in rows: name, value, unit, and how many times the value of a family's first row.

use std::fmt;

/// Rows in families; ratios are within a family.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    ratio: Option<f64>,
}

impl Table {
    /// Adds a family: the first row's value is what the others are compared with.
    pub fn family(&mut self, unit: &'static str, rows: impl IntoIterator<Item = (String, f64)>) {
        let mut first = None;
        for (name, value) in rows {
            let ratio = Some(value / *first.get_or_insert(value));
            self.rows.push(Row { name, value, unit, ratio });
        }
    }

    /// Adds a row that stands alone.
    pub fn row(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { name: name.into(), value, unit, ratio: None });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { name, value, unit, ratio } in &self.rows {
            write!(f, "{name:<64} {value:>10.1} {unit:<9}")?;
            match ratio {
                Some(ratio) => writeln!(f, " {ratio:>6.2} ×")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// The middle one; of none, nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_first_of_the_family() {
        let mut table = Table::default();
        table.family("ns", [("one".to_owned(), 4.0), ("two".to_owned(), 10.0)]);
        table.row("three", 1.0, "MiB");
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert!(lines[0].ends_with("4.0 ns          1.00 ×"), "{text}");
        assert!(lines[1].ends_with("10.0 ns          2.50 ×"), "{text}");
        assert!(lines[2].ends_with("1.0 MiB"), "{text}");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert!((median(vec![9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
    }
}
