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


#: What a person read out of the figures, by hand; a table below it holds every verdict.
FINDINGS = """\
**SMP.** More prototypes correct more labels: 76.5 % right with one a class, 79.9 % with eight, 80.1 % with ten. How
many samples they are chosen among matters as little as published. Of the ways to choose them, k-means is the worst by
far, and density peaks by Euclidean distance, which the paper has behind its own selection, are half a point ahead of
it. Noisy labels alone (α = 0) are behind any mixture; between 0.25 and 0.75 the mixture hardly matters. Corrected
labels alone (α = 1) are no stable target: two of five seeds end below chance, since what was corrected wrong is
learnt and then confirmed; all five are behind α = 0.5, but so far apart that the rule calls the difference noise.
Correcting before each epoch brought nothing over correcting once: under one hidden layer on features that stay as
they are, there is little to gain.

**SINet.** Weighting by consistency makes better prototypes than plain means, on both data sets. The shift and
contrast factors do not have their best where the paper has it: sharper weights are better at either end, α of 0.8
(78.0 % against 77.2 % at 1.2) and β of 2.5 (77.6 % against 77.2 % at 1.5). At α = 0.8 the runs leave out 56 % of the
wrong labels and 3 % of the right ones, at 1.2 only 9 % of the wrong ones, at 1.4 none (shares with weight 0 after the
last label phase, mean of five seeds). α is a distance in the space of a network's features, and has to fit that
space; any of these settings is ahead of cross entropy (75.7 %).

Epochs and rate of the small forms were chosen so that cross entropy learns wrong labels by heart, on one seed of
cross entropy and SMP with α of 0.5 and 1; nothing was chosen by the other rows. Of SINet's and SMP's suites, not run:
the effect of p, m and the selection on test accuracy, rows with verification labels where none stand below,
imagenet100-32 where none stands below, the class relations of table 2, and the small forms of SMP's tables 1 and 5
and of SINet's tables 1, 7, 8 and 9.
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page."""
    return "\n".join([INTRO, *index(), SMALL, FINDINGS, *found(), ""]).rstrip() + "\n"


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
