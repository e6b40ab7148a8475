"""The page of the papers' tables: which suites there are, and what came of those that were run.

python scripts/papers.py                     # docs/benchmarks/papers.md, from the suites and the stored results
python scripts/papers.py store DIR [DIR …]   # keep what came of results folders, then the page
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from noisyrun.bench.measures import measure
from noisyrun.bench.suite import Suite, load

ROOT = Path(__file__).resolve().parent.parent
SUITES = ROOT / "benchmarks" / "suites" / "papers"
RESULTS = ROOT / "docs" / "benchmarks" / "papers"
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
    words = sys.argv[1:]
    if words[:1] == ["store"]:
        RESULTS.mkdir(exist_ok=True)
        for word in words[1:]:
            kept = store(Path(word))
            (RESULTS / f"{kept['suite']}.json").write_text(
                json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
    PAGE.write_text(page(), encoding="utf-8")


def store(folder: Path) -> dict[str, Any]:
    """What is kept of a results folder: its table and its verdicts."""
    from noisyrun.bench.analysis import analyse
    from noisyrun.bench.store import Results

    found = analyse(Results(folder))
    keys = [found.headline.key, *(claim.measure for claim in found.claims)]
    rows = [
        {
            "comparison": comparison.name,
            "method": row.method,
            "measures": {
                key: {"mean": one.mean, "sd": one.sd, "n": one.n}
                for key in dict.fromkeys([*keys, *ALSO])
                if (one := row.values.get(key)) is not None
            },
        }
        for comparison in found.comparisons
        for row in comparison.rows
    ]
    claims = [
        {"text": one.text, "source": one.source, "measure": one.measure, "outcome": one.outcome, "why": one.why}
        | {"parts": [{"comparison": part.comparison, "outcome": part.outcome} for part in one.parts]}
        for one in found.claims
    ]
    return {
        "suite": re.sub(r".*papers/([\w-]+)\.toml.*", r"\1", found.command),
        "title": found.suite.title,
        "command": found.command,
        "headline": found.headline.key,
        "started": found.started,
        "ended": found.ended,
        "cells": found.finished,
        "seconds": round(found.seconds),
        "machines": [dict(one.facts) for one in found.machines],
        "versions": {name: list(values) for name, values in found.versions.items()},
        "rows": [row for row in rows if row["measures"]],
        "claims": claims,
    }


#: Verdicts on claims, as they are counted.
OUTCOMES = ("agrees", "disagrees", "within noise")

#: Measures kept beside the headline and those of claims.
ALSO = ("accuracy.last", "label_accuracy.before", "label_accuracy.after", "detection.auroc", "detection.f1")


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
    """All verdicts in one table, then what they rest on, suite by suite."""
    kept = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RESULTS.glob("*.json"), key=_order)]
    claims = [(one, claim) for one in kept for claim in one["claims"] if claim["outcome"] != "not measured"]
    counts = Counter(claim["outcome"] for _, claim in claims)
    yield f"Of {len(claims)} claims: {', '.join(f'{counts[name]} {name}' for name in OUTCOMES)}.\n"
    yield "| claim | source | verdict | difference | suite |"
    yield "| --- | --- | --- | --- | --- |"
    for one, claim in claims:
        verdict = f"**{claim['outcome']}**{_by_part(claim['parts'], claim['outcome'])}"
        why = f"{measure(claim['measure']).title}: {claim['why']}"
        yield f"| {cell(claim['text'])} | {cell(claim['source'])} | {verdict} | {cell(why)} | `{one['suite']}` |"
    for one in kept:
        yield f"\n### {one['title']}\n"
        yield f"    {shown(one['command'])}\n"
        yield _made(one) + "\n"
        yield from table(one)


def _order(file: Path) -> tuple[int, str]:
    head = file.name.partition("-")[0]
    return list(PAPERS).index(head), file.name


def _by_part(parts: list[Mapping[str, str]], outcome: str) -> str:
    """What each comparison says alone, where they differ from the whole."""
    told = [f"{part['comparison']}: {part['outcome']}" for part in parts if part["outcome"] != outcome]
    return f" ({cell('; '.join(told))})" if len(parts) > 1 and told else ""


def _made(kept: Mapping[str, Any]) -> str:
    machine = ", ".join(str(value) for value in kept["machines"][0].values()) if kept["machines"] else ""
    versions = ", ".join(
        f"{name} {' and '.join(kept['versions'][name])}" for name in ("noisyrun", "torch") if name in kept["versions"]
    )
    return f"{kept['ended'][:10]}; {machine}; {versions}; {kept['cells']} cells, {kept['seconds']} s of runs."


def table(kept: Mapping[str, Any]) -> Iterator[str]:
    """Methods by comparison: mean ± standard deviation of the measures that the page shows."""
    keys = [
        key for key in dict.fromkeys([kept["headline"], *ALSO]) if any(key in row["measures"] for row in kept["rows"])
    ]
    names = list(dict.fromkeys(row["comparison"] for row in kept["rows"]))
    head = [
        f"{measure(key).title}{unit(key)}" + (f", {name}" if len(names) > 1 else "") for name in names for key in keys
    ]
    yield f"| method | {' | '.join(map(cell, head))} | seeds |"
    yield f"|{' --- |' * (len(head) + 2)}"
    by = {(row["method"], row["comparison"]): row["measures"] for row in kept["rows"]}
    for method in dict.fromkeys(row["method"] for row in kept["rows"]):
        figures = [by.get((method, name), {}).get(key) for name in names for key in keys]
        counts = sorted({one["n"] for one in figures if one})
        cells = [cell(method), *map(_figure, figures, keys * len(names)), "–".join(map(str, counts))]
        yield f"| {' | '.join(cells)} |"


def unit(key: str) -> str:
    return f" ({measure(key).unit_shown})" if measure(key).unit_shown else ""


def _figure(one: Mapping[str, float] | None, key: str) -> str:
    if one is None:
        return ""
    spread = f" ± {measure(key).shown(one['sd'])}" if one["sd"] is not None else ""
    return f"{measure(key).shown(one['mean'])}{spread}"


def shown(command: str) -> str:
    """The command as anyone would type it."""
    return re.sub(r"--data \S+", "--data DATA", command).replace(" --no-cost", "")


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    main()
