//! Latencies, in microseconds, and the two percentiles that are shown of them.

use std::time::Duration;

#[derive(Default)]
pub(crate) struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.micros.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn count(&self) -> usize {
        self.micros.len()
    }

    /// Milliseconds that `percent` of them do not exceed; 0 if there are none.
    pub(crate) fn percentile(&mut self, percent: usize) -> f64 {
        if self.micros.is_empty() {
            return 0.0;
        }
        let nth = (self.micros.len() * percent).div_ceil(100).saturating_sub(1);
        let (_, found, _) = self.micros.select_nth_unstable(nth);
        f64::from(*found) / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(99), 0.0);
        for n in (1..=200).rev() {
            latencies.add(Duration::from_millis(n));
        }
        assert_eq!(latencies.percentile(50), 100.0);
        assert_eq!(latencies.percentile(99), 198.0);
        assert_eq!(latencies.percentile(100), 200.0);
    }
}
