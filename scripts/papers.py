"""The page of the papers' tables: which suites there are, and what came of those that were run.

python scripts/papers.py                     # docs/benchmarks/papers.md, from the suites and the stored results
python scripts/papers.py store DIR [DIR …]   # keep what came of results folders, then the page
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from noisyrun.bench.measures import measure
from noisyrun.bench.suite import Suite, load

ROOT = Path(__file__).resolve().parent.parent
SUITES = ROOT / "benchmarks" / "suites" / "papers"
KEPT = ROOT / "docs" / "benchmarks" / "kept"
PAGE = ROOT / "docs" / "benchmarks" / "papers.md"

#: Papers by the head of their suites' names.
PAPERS = {
    "sinet": "SINet",
    "smp": "SMP",
    "cleannet": "CleanNet",
    "noisereg": "Noise regularization",
    "urnet": "URNet",
}

INTRO = """\
# The papers' tables as suites

<!-- made by: python scripts/papers.py -->

Tables and figures of the five papers stand as suites in `benchmarks/suites/papers/`. Each has a *full form*, with the
paper's data, backbone and schedule, and a *small form* (`…-small.toml`) on data that fit on a laptop, in which a cell
takes seconds; some also have a form that asks what the label phase alone says of the labels of given features
(`…-detect.toml`). All forms hold what the paper claims of the rows and the figures it printed; a report sets both
beside what was measured, with what differs.

    noisyrun bench benchmarks/suites/papers/smp-figure4c-small.toml --data DATA --out results/smp-figure4c-small
    noisyrun report results/smp-figure4c-small

`DATA` is the folder of the data sets: `clothing1m`, `webvision1`, `webvision2`, `food-101n`, `aliproducts`, … for the
full forms; `cifar10n`, `imagenet100-32` and `features/` for the small ones. The features of imagenet100-32 are made
by

    python benchmarks/noisy_features.py DATA/imagenet100-32 DATA/features/imagenet100-sym40.npz

Methods that need WordNet find it through `NLTK_DATA`. Rows of a paper's table that noisyrun has no method for are in
the suite as published figures alone. No full form has been run here: they take the data, and GPUs.
"""

SMALL = """\
## What the small forms found

Does what the papers say of their settings hold at this size? *Agrees*: measured as claimed, beyond noise.
*Disagrees*: the contrary, beyond noise. *Within noise*: no difference beyond noise where one is claimed. Noise is the
95 % interval of the difference paired by seed (Student's t), not corrected for the number of claims: of 20 claims
without any truth in them, one would be settled by chance. With few seeds it is wide, and "within noise" says little
more than that the effect is no large one.
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page."""
    return "\n".join([INTRO, *index(), SMALL, *found(), ""]).rstrip() + "\n"


def index() -> Iterator[str]:
    """Every suite: its file, what it compares, how many rows and cells."""
    for head, paper in PAPERS.items():
        files = sorted(SUITES.glob(f"{head}-*.toml"))
        if not files:
            continue
        yield f"## {paper}\n"
        yield "| suite | title | data | methods | cells | what differs from the paper |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for file in files:
            suite = load(file, Path("DATA"))
            yield f"| {' | '.join(map(cell, _row(file.name, suite)))} |"
        yield ""


def _row(name: str, suite: Suite) -> tuple[str, ...]:
    data = ", ".join(one.name for one in suite.data)
    comparisons = sum(len(one.noise) for one in suite.data)
    cells = comparisons * len(suite.methods) * len(suite.seeds)
    return f"`{name}`", suite.title, data, str(len(suite.methods)), str(cells), suite.differs or "–"


def found() -> Iterator[str]:
    """All verdicts in one table, and the command of each suite."""
    kept = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in _kept()}
    judged = [verdict for name, one in kept.items() for verdict in _verdicts(name, one)]
    if not judged:
        return
    counts = Counter(verdict.outcome for verdict in judged)
    yield f"Claims tested: {len(judged)}. {'; '.join(f'{name}: {counts[name]}' for name in OUTCOMES)}.\n"
    yield "| claim | source | verdict | difference | suite |"
    yield "| --- | --- | --- | --- | --- |"
    for one in judged:
        yield f"| {cell(one.text)} | {cell(one.source)} | {one.verdict} | {cell(one.why)} | `{one.suite}` |"
    yield "\nThe figures of each, with machine and versions, stand among the [results of suites](results.md).\n"
    yield from (f"    {one['command']}" for one in kept.values())


def _kept() -> list[Path]:
    """What is kept of the papers' suites, in the order of the papers."""
    heads = list(PAPERS)
    files = [file for file in KEPT.glob("*.json") if file.name.partition("-")[0] in heads]
    return sorted(files, key=lambda file: (heads.index(file.name.partition("-")[0]), file.name))


class Verdict(NamedTuple):
    """What came of a claim; the verdict as the page shows it, with the data sets on which it is another."""

    suite: str
    text: str
    source: str
    outcome: str
    verdict: str
    why: str


def _verdicts(name: str, kept: Mapping[str, Any]) -> Iterator[Verdict]:
    """What came of a suite's claims, as far as it was measured."""
    suite = load(SUITES / f"{name}.toml", Path("DATA"))
    keys = {claim.text: claim.measure or suite.headline for claim in suite.claim}
    for (text, source, outcome, why), parts in zip(kept["claims"], kept["claims_by_comparison"]):
        if outcome == "not measured":
            continue
        told = [f"{data}: {part}" for data, part in parts.items() if part != outcome]
        shown = f"**{outcome}**" + (f" ({cell('; '.join(told))})" if told and len(parts) > 1 else "")
        yield Verdict(name, text, source, outcome, shown, f"{measure(keys[text]).title}: {why}")


#: Verdicts on claims, as they are counted.
OUTCOMES = ("agrees", "disagrees", "within noise")


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    main()
