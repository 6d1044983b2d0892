//! From the files of results to the sides of a comparison: what cannot be compared, and what should not be; pure.

use crate::compare::Side;
use crate::compare::figure::Run;
use crate::report::Report;
use crate::report::agreement::{self, FREE, MINOR};
use crate::report::record::Record;

/// Records by the names of their files, as sides of a comparison; and what to doubt in comparing them.
#[derive(Clone, Debug)]
pub struct Sides {
    /// The sides, the baseline first.
    pub sides: Vec<Side>,
    /// What makes a comparison of them wrong.
    pub objections: Vec<String>,
    /// What makes it doubtful.
    pub warnings: Vec<String>,
}

impl Sides {
    /// The sides that these records make, the baseline first.
    ///
    /// # Errors
    ///
    /// If there is nothing to compare.
    pub fn new(records: &[(String, Record)]) -> Result<Self, String> {
        let mut sides = Self { sides: Vec::new(), objections: Vec::new(), warnings: Vec::new() };
        let empty = records.iter().find(|(_, record)| record.runs.is_empty());
        if let Some((name, _)) = empty {
            return Err(format!("{name}: there is no run in it"));
        }
        for (index, (name, record)) in records.iter().enumerate() {
            sides.objections.extend(record.check_alone(name).err());
            if let Some((twin, _)) = records[..index].iter().find(|(_, other)| other.runs == record.runs) {
                sides.objections.push(format!("{twin} and {name} are the same runs"));
            }
            sides.look_at_runs(name, &record.runs);
            sides.look_at_neighbours((&records[0].0, &records[0].1.runs[0]), (name, &record.runs[0]));
            sides.sides.push(Side { name: name.clone(), runs: record.runs.iter().map(Run::from).collect() });
        }
        Ok(sides)
    }

    /// What is wrong with the runs of one side.
    fn look_at_runs(&mut self, name: &str, runs: &[Report]) {
        for (index, run) in runs.iter().enumerate() {
            let number = index + 1;
            if let Some(defect) = agreement::defect(run) {
                self.objections.push(format!("{name}: run {number} {defect}"));
            }
            for difference in agreement::options(&runs[0].options, &run.options, &FREE) {
                self.objections.push(format!("{name}: run 1 and run {number} differ in {difference}"));
            }
        }
    }

    /// In what a side differs from the baseline.
    fn look_at_neighbours(&mut self, (baseline, one): (&str, &Report), (name, other): (&str, &Report)) {
        let serious = [&FREE[..], &MINOR].concat();
        let differences = agreement::options(&one.options, &other.options, &serious);
        self.objections.extend(differences.iter().map(|what| format!("{baseline} and {name} differ in {what}")));
        let minor = agreement::options(&one.options, &other.options, &FREE).into_iter();
        let minor = minor.filter(|difference| !differences.contains(difference));
        let machines = agreement::environments(&one.environment, &other.environment);
        self.warnings.extend(minor.chain(machines).map(|what| format!("{baseline} and {name} differ in {what}")));
    }
}

impl From<&Report> for Run {
    fn from(report: &Report) -> Self {
        let result = &report.result;
        let response = &result.response;
        let failed = (result.failures.messages() + result.failures.connections()) as f64;
        let values = [
            result.messages_per_s,
            response.mean_ns,
            response.p50_ns as f64,
            response.p99_ns as f64,
            response.p99_9_ns as f64,
        ];
        let [rate, mean, p50, p99, p99_9] = values.map(Some);
        let server_cpu = result.server.as_ref().and_then(|server| server.cpu_ns_per_message);
        Self {
            started_unix_ns: result.started_unix_ns,
            values: [rate, mean, p50, p99, p99_9, server_cpu],
            failed_share: if failed == 0.0 { 0.0 } else { failed / (failed + result.total.replied as f64) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Figure;
    use crate::count::failure::Kind;
    use crate::report::sample;

    fn record(change: impl Fn(&mut Report)) -> Record {
        let mut report = sample::report();
        change(&mut report);
        Record::new(vec![report.clone(), report])
    }

    fn sides(one: Record, other: Record) -> Sides {
        Sides::new(&[("A".to_owned(), one), ("B".to_owned(), other)]).unwrap()
    }

    #[test]
    fn what_was_asked_for_differently_is_objected_to_or_warned_of() {
        let other = record(|report| {
            report.options.connections = 100;
            report.options.target = "tcp://elsewhere:1".to_owned();
            report.options.duration_s = Some(1.0);
            report.environment.cpus = 1_000;
        });
        let found = sides(record(|_| ()), other);
        assert_eq!(found.objections, ["A and B differ in connections: 50 and 100"]);
        assert_eq!(found.warnings.len(), 2);
        assert!(found.warnings[0].contains("duration_s") && found.warnings[1].contains("cpus"), "{found:?}");
    }

    #[test]
    fn runs_that_say_nothing_or_are_not_alike_are_objected_to() {
        let mut other = record(|_| ());
        other.runs[1].invalid.push("it was late".to_owned());
        other.runs[1].options.depth = 7;
        let found = sides(record(|_| ()), other);
        assert_eq!(
            found.objections,
            ["B: run 2 is invalid: it was late", "B: run 1 and run 2 differ in depth: 1 and 7"]
        );
        let none = [("A".to_owned(), record(|_| ())), ("B".to_owned(), Record::new(Vec::new()))];
        assert_eq!(Sides::new(&none).unwrap_err(), "B: there is no run in it");
    }

    #[test]
    fn the_runs_of_a_sweep_are_no_repeats() {
        let mut swept = record(|_| ());
        swept.sweep = Some(crate::scaling::Scaling::new([]));
        let found = sides(record(|report| report.options.seed = 2), swept);
        assert!(found.objections.len() == 1 && found.objections[0].contains("those of a sweep"), "{found:?}");
    }

    #[test]
    fn the_figures_are_those_of_the_report() {
        let mut report = sample::report();
        report.result.failures.add(Kind::Reset, 9, 1, || None);
        report.result.total.replied = 990;
        let run = Run::from(&report);
        assert_eq!(run.value(Figure::Rate), Some(report.result.messages_per_s));
        assert_eq!(run.value(Figure::P99_9), Some(report.result.response.p99_9_ns as f64));
        assert_eq!(run.value(Figure::ServerCpu), report.result.server.as_ref().unwrap().cpu_ns_per_message);
        assert_eq!(run.failed_share, 0.01);
        report.result.server = None;
        assert_eq!(Run::from(&report).value(Figure::ServerCpu), None);
    }
}
