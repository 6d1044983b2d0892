//! Axes: where on one a value is, and which of its values are labelled. The round numbers are 1, 2 and 5 times powers of ten
//! (Heckbert, "Nice numbers for graph labels", Graphics Gems 1990).

/// About how many values of a linear axis are labelled.
const TICKS: f64 = 4.0;

/// The most values of a logarithmic axis that are labelled at 1, 2 and 5; of a longer one only powers of ten are.
const FINE_TICKS_MAX: usize = 10;

/// The steps of a time axis in seconds, where powers of ten would be odd.
const TIME_STEPS: [f64; 10] = [60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 18_000.0, 43_200.0, 86_400.0];

/// One axis, from its lowest to its highest value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
}

impl Scale {
    /// From 0 to a round number that is at least `highest`.
    pub(super) fn linear(highest: f64) -> Self {
        let highest = positive(highest);
        let step = round_up(highest / TICKS);
        let count = (highest / step).ceil();
        let ticks = (0..=count as u32).map(|tick| f64::from(tick) * step).collect();
        Self { low: 0.0, high: count * step, logarithmic: false, ticks }
    }

    /// From 0 to exactly this many seconds.
    pub(super) fn time(seconds: f64) -> Self {
        let high = positive(seconds);
        let fine = round_up(high / (TICKS + 1.0));
        let step = if fine < 30.0 {
            fine
        } else {
            let long_enough = TIME_STEPS.into_iter().find(|step| high / step <= TICKS + 2.0);
            long_enough.unwrap_or(fine)
        };
        let ticks = (0..=(high / step) as u32).map(|tick| f64::from(tick) * step).collect();
        Self { low: 0.0, high, logarithmic: false, ticks }
    }

    /// From a round number that is at most `lowest` to one that is at least `highest`, by orders of magnitude.
    pub(super) fn logarithmic(lowest: f64, highest: f64) -> Self {
        let (lowest, highest) = (positive(lowest), positive(highest));
        let low = round_down(lowest.min(highest));
        let high = round_up(highest.max(low * 2.0));
        let all: Vec<f64> = steps(low, high).collect();
        let ticks =
            if all.len() <= FINE_TICKS_MAX { all } else { all.into_iter().filter(|tick| is_power(*tick)).collect() };
        Self { low, high, logarithmic: true, ticks }
    }

    /// From 0 to `high`, with labels where the caller wants them.
    pub(super) fn with_ticks(high: f64, ticks: Vec<f64>) -> Self {
        Self { low: 0.0, high: positive(high), logarithmic: false, ticks }
    }

    /// Where a value is: 0 at the axis' beginning, 1 at its end. What is outside counts as its end; what is no number stays so.
    pub(super) fn at(&self, value: f64) -> f64 {
        if value.is_nan() {
            return value;
        }
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }

    /// The values to be labelled, in order.
    pub(super) fn ticks(&self) -> &[f64] {
        &self.ticks
    }
}

/// A number that an axis can end with.
fn positive(number: f64) -> f64 {
    if number.is_finite() && number > 0.0 { number } else { 1.0 }
}

/// The powers of ten times 1, 2 and 5 from `low` to `high`.
fn steps(low: f64, high: f64) -> impl Iterator<Item = f64> {
    // Rounding may leave a step a little off its decimal value.
    std::iter::successors(Some(low), |step| Some(round_up(step * 1.01)))
        .take_while(move |step| *step <= high * 1.000_001)
}

fn is_power(number: f64) -> bool {
    let exponent = number.log10();
    (exponent - exponent.round()).abs() < 1e-6
}

/// The smallest round number that is at least `number`.
fn round_up(number: f64) -> f64 {
    let power = 10_f64.powf(number.log10().floor());
    // A round number is its own, in spite of rounding.
    let leading = number / power * (1.0 - 1e-9);
    power * [1.0, 2.0, 5.0].into_iter().find(|round| *round >= leading).unwrap_or(10.0)
}

/// The largest round number that is at most `number`.
fn round_down(number: f64) -> f64 {
    let power = 10_f64.powf(number.log10().floor());
    let leading = number / power * (1.0 + 1e-9);
    power * [5.0, 2.0].into_iter().find(|round| *round <= leading).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rounded(scale: &Scale) -> Vec<i64> {
        scale.ticks().iter().map(|tick| tick.round() as i64).collect()
    }

    #[test]
    fn a_linear_axis_is_labelled_at_round_numbers() {
        assert_eq!(rounded(&Scale::linear(812_345.0)), [0, 500_000, 1_000_000]);
        assert_eq!(rounded(&Scale::linear(20_000.0)), [0, 5_000, 10_000, 15_000, 20_000]);
        assert!((Scale::linear(20_000.0).at(5_000.0) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_time_axis_ends_with_the_run_and_is_labelled_in_whole_minutes_when_it_is_long() {
        assert_eq!(rounded(&Scale::time(10.0)), [0, 2, 4, 6, 8, 10]);
        assert_eq!(rounded(&Scale::time(601.0)), [0, 120, 240, 360, 480, 600]);
        assert!((Scale::time(601.0).at(300.5) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_logarithmic_axis_spaces_orders_of_magnitude_evenly() {
        let scale = Scale::logarithmic(21_000.0, 1_900_000.0);
        assert_eq!(rounded(&scale), [20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000]);
        let long = Scale::logarithmic(1_000.0, 60e9);
        assert!(long.ticks().iter().all(|tick| is_power(*tick)), "{long:?}");
        assert!((long.at(1e6) - long.at(1e5) - (long.at(1e5) - long.at(1e4))).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn every_axis_holds_its_values_and_has_few_labels(low in -1.0..1e11_f64, high in -1.0..1e11_f64) {
            for scale in [Scale::linear(high), Scale::time(high), Scale::logarithmic(low, high)] {
                prop_assert!((0.0..=1.0).contains(&scale.at(high)));
                prop_assert!((1..=13).contains(&scale.ticks().len()), "{:?}", scale);
                prop_assert!(scale.ticks().iter().all(|tick| (0.0..=1.0).contains(&scale.at(*tick))));
            }
        }
    }
}
