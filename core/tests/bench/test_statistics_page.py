"""What docs/benchmarks/statistics.md says of the rules is what they are."""

from __future__ import annotations

import re
from pathlib import Path

from noisyrun.bench import fairness, stats
from noisyrun.bench.suite import Claim

PAGE = (Path(__file__).parents[3] / "docs" / "benchmarks" / "statistics.md").read_text(encoding="utf-8")


def test_every_sign_is_explained_in_the_order_of_the_rules() -> None:
    assert re.findall(r"^\| ([A-Z1]) \|", PAGE, re.MULTILINE) == list(fairness.SIGNS.values())


def test_every_relation_of_a_claim_is_explained() -> None:
    table = PAGE.partition("| relation |")[2].partition("\n\n")[0]
    relations = Claim.model_json_schema()["properties"]["relation"]["enum"]
    assert sorted(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE)))) == sorted(
        relations
    )


def test_the_smallest_p_and_the_critical_difference_are_right() -> None:
    assert ", ".join(f"{stats.smallest_p(pairs):g}" for pairs in range(1, 7)) in PAGE
    assert f"critical difference of {stats.critical_difference(2, 5):.2f}" in PAGE
