"""How often a 95 % interval over few seeds contains the truth, and how often a difference is found.

    python benchmarks/interval_coverage.py

Pairs of normal differences with standard deviation 1; `found` is the share whose t interval does not contain 0 where
the true mean is 1 and 2 standard deviations.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import stats

DRAWS, RESAMPLES = 4000, 1999


def main() -> None:
    """Print a row for every number of pairs."""
    print("pairs  t covers  bootstrap covers  found (1 sd)  found (2 sd)")
    for pairs in (2, 3, 5, 10, 20):
        rng = np.random.default_rng(pairs)
        draws = rng.normal(size=(DRAWS, pairs))
        mean, error = draws.mean(1), stats.sem(draws, axis=1)
        reach = stats.t.ppf(0.975, pairs - 1) * error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # BCa of two values has no acceleration
            boot = stats.bootstrap(
                (draws,), np.mean, axis=1, n_resamples=RESAMPLES, method="BCa", batch=100, rng=rng
            ).confidence_interval
        covers = np.mean(np.abs(mean) <= reach), np.mean((boot.low <= 0) & (boot.high >= 0))
        found = [np.mean(np.abs(mean + true) > reach) for true in (1, 2)]
        print(f"{pairs:5}  {covers[0]:8.1%}  {covers[1]:16.1%}  {found[0]:12.1%}  {found[1]:12.1%}")


if __name__ == "__main__":
    main()
