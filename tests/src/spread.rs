//! The figures of several runs.

/// How a figure came out in several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least of all.
    pub least: f64,
    /// The one in the middle; of an even number the mean of the two there.
    pub median: f64,
    /// The most of all.
    pub most: f64,
}

impl Spread {
    /// A figure of each run; `None` without runs.
    #[must_use]
    pub fn of<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> Option<Self> {
        let mut values: Vec<_> = runs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { least, median: f64::midpoint(below, above), most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle_of_the_runs() {
        let spread = |runs: &[f64]| Spread::of(runs, |run| *run);
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.5]), Some(Spread { least: 1.0, median: 2.5, most: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { least: 1.0, median: 2.5, most: 4.0 }));
    }
}
