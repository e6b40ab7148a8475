"""The benchmark harness: suites of methods × data × noise × seeds, run once each and compared fairly.

suite → positions → cells (by identity) → work → results → statistics and fairness → report.
"""
