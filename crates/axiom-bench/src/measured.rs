//! The figures of one window of load, and what can be said over several windows.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// One window of load on one server.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) requests: u64,
    /// Answers that were not the expected ones, and requests without an answer.
    pub(crate) errors: u64,
    pub(crate) window: Duration,
    /// Nanoseconds, from the moment a request should have been sent.
    pub(crate) latency: Histogram<u64>,
    /// User and system time of the measured processes within the window.
    pub(crate) cpu: Duration,
    /// Resident memory of the measured processes at the end of the window.
    pub(crate) rss_bytes: u64,
}

/// Three significant digits from 100 ns to a minute.
pub(crate) fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("the bounds are constants")
}

/// The figures of one or several windows, as they are printed. Of several windows it is the median of each figure.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) requests_per_second: f64,
    pub(crate) cpu_us_per_request: f64,
    pub(crate) latency_us_p50: f64,
    pub(crate) latency_us_p95: f64,
    pub(crate) latency_us_p99: f64,
    pub(crate) latency_us_p99_9: f64,
    pub(crate) rss_mib: f64,
    /// The sum, not the median.
    pub(crate) errors: u64,
}

impl Figures {
    pub(crate) fn of(measured: &Measured) -> Figures {
        let latency_us = |quantile| as_f64(measured.latency.value_at_quantile(quantile)) / 1000.0;
        let requests = as_f64(measured.requests.max(1));
        Figures {
            requests_per_second: as_f64(measured.requests) / measured.window.as_secs_f64(),
            cpu_us_per_request: measured.cpu.as_secs_f64() * 1e6 / requests,
            latency_us_p50: latency_us(0.5),
            latency_us_p95: latency_us(0.95),
            latency_us_p99: latency_us(0.99),
            latency_us_p99_9: latency_us(0.999),
            rss_mib: as_f64(measured.rss_bytes) / 1024.0 / 1024.0,
            errors: measured.errors,
        }
    }

    pub(crate) fn medians(windows: &[Figures]) -> Figures {
        let of = |figure: fn(&Figures) -> f64| median(windows.iter().map(figure));
        Figures {
            requests_per_second: of(|figures| figures.requests_per_second),
            cpu_us_per_request: of(|figures| figures.cpu_us_per_request),
            latency_us_p50: of(|figures| figures.latency_us_p50),
            latency_us_p95: of(|figures| figures.latency_us_p95),
            latency_us_p99: of(|figures| figures.latency_us_p99),
            latency_us_p99_9: of(|figures| figures.latency_us_p99_9),
            rss_mib: of(|figures| figures.rss_mib),
            errors: windows.iter().map(|figures| figures.errors).sum(),
        }
    }
}

/// The middle value, or the mean of the two middle ones; NaN of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// Counts and nanoseconds stay far below 2^52, where this is exact.
#[allow(
    clippy::cast_precision_loss,
    reason = "the values of a measurement are far below 2^52"
)]
pub(crate) fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_does_not_care_about_order_or_outliers() {
        assert!((median([9.0, 1.0, 1000.0]) - 9.0).abs() < f64::EPSILON);
        assert!((median([4.0, 1.0, 2.0, 1000.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median([]).is_nan());
    }

    #[test]
    fn figures_are_per_request_and_per_second() {
        let mut latency = empty_histogram();
        (1..=1000).for_each(|us| latency.record(us * 1000).expect("within bounds"));
        let measured = Measured {
            requests: 1000,
            errors: 2,
            window: Duration::from_millis(500),
            latency,
            cpu: Duration::from_millis(20),
            rss_bytes: 3 * 1024 * 1024,
        };
        let figures = Figures::of(&measured);
        assert!((figures.requests_per_second - 2000.0).abs() < 1e-9);
        assert!((figures.cpu_us_per_request - 20.0).abs() < 1e-9);
        assert!((figures.latency_us_p50 - 500.0).abs() < 1.0);
        assert!((figures.latency_us_p99_9 - 999.0).abs() < 1.0);
        assert_eq!(Figures::medians(&[figures, figures, figures]).errors, 6);
    }
}
