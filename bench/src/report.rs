//! The figures of one run: rows, each beside what it is compared with and what was wanted of it.
//!
//! A report prints as a table and is appended, a JSON line for each row, to `bench/results/`, so that runs of
//! several commits can be compared. A target that is missed is told, never hidden; it fails nothing, because
//! whoever runs this shares the machine.

use std::fmt::{self, Display};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

/// The rows of one run, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was measured: `decide.cold.10m`.
    pub bench: String,
    /// What came out.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it is compared with, measured in the same run and the same unit.
    pub baseline: Option<(String, f64)>,
    /// What is wanted.
    pub target: Option<Target>,
}

/// What is wanted of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// The value, at most.
    AtMost(f64),
    /// So many times the baseline, at most.
    RatioAtMost(f64),
    /// So many times the baseline, at least.
    RatioAtLeast(f64),
    /// So many times the baseline, and so much, at most.
    RatioAndValueAtMost(f64, f64),
    /// So much more than the baseline, at most.
    ExcessAtMost(f64),
}

impl Row {
    /// A figure that stands alone.
    pub fn new(bench: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { bench: bench.into(), value, unit, baseline: None, target: None }
    }

    /// The same, beside what it is compared with.
    #[must_use]
    pub fn beside(self, baseline: impl Into<String>, value: f64) -> Self {
        Self { baseline: Some((baseline.into(), value)), ..self }
    }

    /// The same, with what is wanted of it.
    #[must_use]
    pub fn wanted(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }

    /// How many times the baseline.
    pub fn ratio(&self) -> Option<f64> {
        self.baseline.as_ref().map(|(_, baseline)| self.value / baseline)
    }

    /// Whether the target is met; `None` where there is none.
    pub fn is_met(&self) -> Option<bool> {
        let ratio = self.ratio();
        let baseline = self.baseline.as_ref().map(|(_, baseline)| *baseline);
        Some(match self.target? {
            Target::AtMost(most) => self.value <= most,
            Target::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
            Target::RatioAtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
            Target::RatioAndValueAtMost(ratio_at_most, most) => {
                ratio.is_some_and(|ratio| ratio <= ratio_at_most) && self.value <= most
            }
            Target::ExcessAtMost(most) => {
                baseline.is_some_and(|baseline| self.value <= baseline + most)
            }
        })
    }

    /// Name, value, unit, baseline, its value, ratio, and target, as they stand in the table.
    fn cells(&self) -> [String; 7] {
        let (baseline, baseline_value) = match &self.baseline {
            Some((name, value)) => (name.clone(), figure(*value)),
            None => Default::default(),
        };
        let ratio = self.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2} ×"));
        let target = match (self.target, self.is_met()) {
            (Some(target), Some(true)) => format!("{}: met", Wanted(target, self.unit)),
            (Some(target), _) => format!("{}: MISSED", Wanted(target, self.unit)),
            (None, _) => String::new(),
        };
        let unit = self.unit.to_owned();
        [self.bench.clone(), figure(self.value), unit, baseline, baseline_value, ratio, target]
    }
}

impl Report {
    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// All rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Appends a line for each row to `bench/results/<file>.jsonl`, and returns where that is.
    pub fn append(&self, file: &str) -> io::Result<PathBuf> {
        let path = results().join(format!("{file}.jsonl"));
        self.append_to(&path, &commit(), &machine())?;
        Ok(path)
    }

    fn append_to(&self, path: &Path, commit: &str, machine: &str) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut lines = String::new();
        for row in &self.rows {
            let line = Line {
                bench: &row.bench,
                value: row.value,
                unit: row.unit,
                baseline: row.baseline.as_ref().map(|(name, _)| name.as_str()),
                baseline_value: row.baseline.as_ref().map(|(_, value)| *value),
                ratio: row.ratio(),
                commit,
                machine,
            };
            lines += &serde_json::to_string(&line)?;
            lines.push('\n');
        }
        OpenOptions::new().create(true).append(true).open(path)?.write_all(lines.as_bytes())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 7]> = self.rows.iter().map(Row::cells).collect();
        let mut widths = [0; 7];
        for cells in &rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        let [bench_width, value_width, unit_width, name_width, beside_width, ratio_width, _] =
            widths;
        for [bench, value, unit, baseline, beside, ratio, target] in rows {
            let line = format!(
                "{bench:<bench_width$}  {value:>value_width$} {unit:<unit_width$}  \
                 {baseline:<name_width$}  {beside:>beside_width$}  {ratio:>ratio_width$}  {target}"
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A target of a value in this unit, as it is told.
struct Wanted(Target, &'static str);

impl Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(target, unit) = self;
        match target {
            Target::AtMost(most) => write!(f, "≤ {most} {unit}"),
            Target::RatioAtMost(most) => write!(f, "≤ {most} ×"),
            Target::RatioAtLeast(least) => write!(f, "≥ {least} ×"),
            Target::RatioAndValueAtMost(ratio, most) => {
                write!(f, "≤ {ratio} × and ≤ {most} {unit}")
            }
            Target::ExcessAtMost(most) => write!(f, "≤ + {most} {unit}"),
        }
    }
}

/// A row as it is kept.
#[derive(Serialize)]
struct Line<'a> {
    bench: &'a str,
    value: f64,
    unit: &'a str,
    baseline: Option<&'a str>,
    baseline_value: Option<f64>,
    ratio: Option<f64>,
    commit: &'a str,
    machine: &'a str,
}

/// The middle one; of none, nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The machine that is measured on.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    format!("{cores} × {model}, {}", std::env::consts::OS)
}

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// The commit that is measured, and whether something was changed since; results themselves don't count.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-C", env!("CARGO_MANIFEST_DIR")])
            .args(arguments)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = ["status", "--porcelain", "--untracked-files=no", "--", ":/", ":!results"];
    match (git(&["rev-parse", "--short", "HEAD"]), git(&changed)) {
        (Some(commit), Some(changed)) if changed.is_empty() => commit,
        (Some(commit), _) => format!("{commit}-dirty"),
        (None, _) => "unknown".to_owned(),
    }
}

/// A figure with as many digits as it is worth.
fn figure(value: f64) -> String {
    match value.abs() {
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_an_aligned_table_that_tells_what_was_missed() {
        let mut report = Report::default();
        let map = "a get";
        let cold = Row::new("decide.cold.10m", 500.0, "ns").beside(map, 100.0);
        report.push(cold.wanted(Target::RatioAtMost(3.0)));
        report.push(Row::new("publish.10m", 4.25, "µs").wanted(Target::AtMost(100.0)));
        report.push(Row::new("ask", 0.5, "µs"));
        let expected = "\
decide.cold.10m  500.0 ns  a get  100.0  5.00 ×  ≤ 3 ×: MISSED
publish.10m       4.25 µs                        ≤ 100 µs: met
ask              0.500 µs
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn a_target_is_met_or_missed() {
        use Target::*;
        for (target, value, is_met) in [
            (AtMost(5.0), 5.0, true),
            (AtMost(5.0), 5.1, false),
            (RatioAtMost(2.0), 8.0, true),
            (RatioAtMost(2.0), 8.1, false),
            (RatioAtLeast(0.75), 3.0, true),
            (RatioAtLeast(0.75), 2.9, false),
            (RatioAndValueAtMost(2.0, 6.0), 6.0, true),
            (RatioAndValueAtMost(2.0, 6.0), 7.0, false),
            (RatioAndValueAtMost(2.0, 9.0), 8.5, false),
            (ExcessAtMost(1.0), 5.0, true),
            (ExcessAtMost(1.0), 5.1, false),
        ] {
            let row = Row::new("a", value, "ms").beside("b", 4.0).wanted(target);
            assert_eq!(row.is_met(), Some(is_met), "{row:?}");
        }
        let alone = Row::new("a", 1.0, "ms");
        assert_eq!(alone.is_met(), None, "nothing is wanted");
        assert_eq!(alone.wanted(RatioAtMost(2.0)).is_met(), Some(false), "nothing beside it");
    }

    #[test]
    fn lines_are_appended_in_a_folder_that_is_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results/micro.jsonl");
        let mut report = Report::default();
        report.push(Row::new("decide.hot.10m", 6.5, "ns").beside("a get", 2.0));
        report.append_to(&path, "d5f35d5", "2 × a machine").expect("appended");
        let mut report = Report::default();
        report.push(Row::new("ask", 1.5, "µs"));
        report.append_to(&path, "d5f35d5-dirty", "2 × a machine").expect("appended");
        let expected = concat!(
            r#"{"bench":"decide.hot.10m","value":6.5,"unit":"ns","baseline":"a get","#,
            r#""baseline_value":2.0,"ratio":3.25,"commit":"d5f35d5","machine":"2 × a machine"}"#,
            "\n",
            r#"{"bench":"ask","value":1.5,"unit":"µs","baseline":null,"baseline_value":null,"#,
            r#""ratio":null,"commit":"d5f35d5-dirty","machine":"2 × a machine"}"#,
            "\n"
        );
        assert_eq!(fs::read_to_string(&path).expect("lines"), expected);
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert!((median(vec![9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
    }
}
