"""docs/benchmarks/results.md, made from the result files beside it: what suites found, where, when, by which command.

python scripts/results_page.py keep RESULTS NAME [MEASURE …]   keep what a results folder holds as kept/NAME.json
python scripts/results_page.py                                 write the page
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "results.md"
KEPT = PAGE.parent / "kept"

HEAD = """# Results of suites

<!-- made by: python scripts/results_page.py -->

What suites found, each with the command that ran it, where and when. Mean ± standard deviation over the seeds.
**Bold**: the best mean of a column; ≈: within noise of it (the 95 % interval of the difference paired by seed
contains 0); ▲ and ▼: ahead of and behind plain cross entropy beyond noise; × time: seconds as a multiple of plain
cross entropy's. Letters are marks, whose text stands below the table. [How to read a report](reading-a-report.md)
says more.
"""

#: Options of a command whose value is a folder of whoever ran it.
FOLDERS = {"--out": "results", "--data": "DATA"}

#: Facts of a machine that explain a result.
MACHINE = ("system", "processor", "cores", "threads", "gpu", "device", "memory")


def keep(folder: Path, name: str, measures: Sequence[str] = ()) -> Path:
    """Keep what a results folder holds, by the headline measure and by others that are asked for."""
    from noisyrun.bench.analysis import analyse
    from noisyrun.bench.store import Results
    from noisyrun.report.numbers import size

    found = analyse(Results(folder))
    shown = [found.headline, *(found.measure(key) for key in measures)]
    kept = {
        "format": "noisyrun-kept/1",
        "title": found.suite.title,
        "about": " ".join(found.suite.about.split()),
        "differs": " ".join(found.suite.differs.split()),
        "command": _command(found.command),
        "started": found.started,
        "ended": found.ended,
        "seconds": round(found.seconds, 1),
        "seeds": list(found.suite.seeds),
        "cells": found.cells,
        "finished": found.finished,
        "machines": [
            {
                "facts": {
                    key: size(int(told)) if key == "memory" and told.isdigit() else told
                    for key, told in one.facts.items()
                    if key in MACHINE
                },
                "cells": one.cells,
            }
            for one in found.machines
        ],
        "versions": {key: list(told) for key, told in found.versions.items() if "." not in key},
        "measures": [
            {"key": one.key, "title": one.title, "unit": one.unit_shown, "factor": one.factor, "decimals": one.decimals}
            for one in shown
        ],
        "comparisons": [_comparison(one, [measure.key for measure in shown]) for one in found.comparisons],
        "ranks": {key: round(rank, 3) for key, rank in found.overall.ranks.items()} if found.overall else {},
        "marks": sorted({(one.sign, one.method or "", one.text, one.breaks) for one in found.marks}),
        "claims": [[one.text, one.source, one.outcome, one.why] for one in found.claims],
        "claims_by_comparison": [{part.comparison: part.outcome for part in one.parts} for one in found.claims],
        "published": [
            [one.source, one.data, one.measure, one.method, one.shown, one.where, _ours(one)] for one in found.published
        ],
    }
    path = KEPT / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _ours(row: Any) -> str:
    """Our figure beside a published one."""
    from noisyrun.bench.exports import figure
    from noisyrun.bench.measures import measure

    return figure(measure(row.key), row.ours)


def _comparison(one: Any, keys: Sequence[str]) -> dict[str, Any]:
    rows = []
    for row in one.rows:
        values = {
            key: {"mean": value.mean, "sd": value.sd, "low": value.low, "high": value.high, "n": value.n}
            for key in keys
            if (value := row.values.get(key)) is not None
        }
        against = {
            key: {"mean": value.mean, "low": value.low, "high": value.high, "p": value.holm, "outcome": value.outcome}
            for key in keys
            if (value := row.against.get(key)) is not None
        }
        rows.append(
            {
                "method": row.method,
                "signs": list(dict.fromkeys(mark.sign for mark in row.marks)),
                "best": row.best,
                "within_noise": row.within_noise,
                "rank": row.rank,
                "cost": row.cost,
                "values": values,
                "against": against,
            }
        )
    return {"name": one.name, "signs": list(dict.fromkeys(mark.sign for mark in one.marks)), "rows": rows}


def _command(command: str) -> str:
    """A command as a reader would type it: folders of whoever ran it are named by what they are."""
    words = shlex.split(command)
    for at, word in enumerate(words[:-1]):
        words[at + 1] = FOLDERS.get(word, words[at + 1])
    return shlex.join(words)


def page() -> str:
    """The page."""
    parts = [HEAD]
    for path in sorted(KEPT.glob("*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if "measures" in kept:  # what else is kept there has a page of its own
            parts += _suite(kept)
    return "\n".join(parts).rstrip() + "\n"


def _suite(kept: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {_plain(kept['title'])}\n"
    if kept["about"]:
        yield f"{_words(kept['about'])}\n"
    yield f"    {kept['command']}\n"
    yield f"{_where(kept)}\n"
    if kept["differs"]:
        yield f"What differs from the published protocol: {_words(kept['differs'])}\n"
    for measure in kept["measures"]:
        yield from _table(kept, measure, headline=measure is kept["measures"][0])
    for sign, method, text, breaks in kept["marks"]:
        rule = "breaks a rule: " if breaks else ""
        yield f"- {_plain(sign)}: {rule}{f'{_plain(method)}: ' if method else ''}{_plain(text)}"
    if kept["marks"]:
        yield ""
    if kept["claims"]:
        yield from _rows(("claim", "source", "outcome", "measured"), (map(_plain, one) for one in kept["claims"]))
    if kept["published"]:
        head = ("source", "data", "measure", "method", "published", "ours on", "ours")
        yield from _rows(head, (map(_plain, one) for one in kept["published"]))


def _where(kept: Mapping[str, Any]) -> str:
    day, last = kept["started"][:10], kept["ended"][:10]
    when = day if day == last else f"{day} to {last}"
    machines = "; ".join(", ".join(f"{key} {told}" for key, told in one["facts"].items()) for one in kept["machines"])
    versions = ", ".join(
        f"{key} {' and '.join(told)}" for key, told in kept["versions"].items() if not key.startswith("code of")
    )
    code = ", ".join(
        f"{key.removeprefix('code of ')} {' and '.join(told)}"
        for key, told in kept["versions"].items()
        if key.startswith("code of")
    )
    seeds = ", ".join(map(str, kept["seeds"]))
    told = (
        f"{when or 'not run'}; seeds {seeds}; {kept['finished']} of {kept['cells']} cells finished, "
        f"{kept['seconds']:.0f} seconds in all. Machine: {machines or 'unknown'}. Versions: {versions or 'unknown'}."
    )
    return _plain(told + (f" Digests of the code: {code}." if code else ""))


def _table(kept: Mapping[str, Any], measure: Mapping[str, Any], headline: bool) -> Iterator[str]:
    comparisons, ranks = kept["comparisons"], kept["ranks"]
    several = headline and len(comparisons) > 1
    title = measure["title"] + (f", {measure['unit']}" if measure["unit"] else "")
    yield f"**{_plain(title)}**\n"
    names = list(dict.fromkeys(row["method"] for one in comparisons for row in one["rows"]))
    head = ["method", *(" ".join([one["name"], *one["signs"]]) for one in comparisons)]
    head += ["× time"] * headline + ["average rank"] * several
    rows = []
    for name in names:
        found = [next((row for row in one["rows"] if row["method"] == name), None) for one in comparisons]
        signs = dict.fromkeys(sign for row in found if row for sign in row["signs"])
        row = [_plain(" ".join([name, *signs])), *(_cell(one, measure, headline) for one in found)]
        if headline:
            costs = [one["cost"] for one in found if one and one["cost"] is not None]
            row.append(f"{sum(costs) / len(costs):.1f}" if costs else "–")
        if several:
            row.append(f"{ranks[name]:.2f}" if name in ranks else "–")
        rows.append(row)
    yield from _rows(head, rows)


def _cell(row: Mapping[str, Any] | None, measure: Mapping[str, Any], headline: bool) -> str:
    value = row["values"].get(measure["key"]) if row else None
    if row is None or value is None:
        return "–"

    def shown(number: float) -> str:
        return f"{number * measure['factor']:.{measure['decimals']}f}"

    told = shown(value["mean"]) + ("" if value["sd"] is None else f" ± {shown(value['sd'])}")
    outcome = row["against"].get(measure["key"], {}).get("outcome")
    arrow = {"better": " ▲", "worse": " ▼"}.get(outcome, "")
    if headline and row["best"]:
        return f"**{told}**{arrow}"
    return ("≈ " if headline and row["within_noise"] else "") + told + arrow


def _rows(head: Sequence[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table, of whose rows the cells are Markdown."""
    yield f"| {' | '.join(_plain(one) for one in head)} |"
    yield "| --- |" + " --- |" * (len(head) - 1)
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _plain(text: object) -> str:
    """Text that Markdown leaves as it is."""
    return _spaced(str(text)).strip()


def _words(text: str) -> str:
    """Text of a suite, in which backticks enclose code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _plain(text)
    return "`".join(part if at % 2 else _spaced(part) for at, part in enumerate(parts)).strip()


def _spaced(text: str) -> str:
    """Text that Markdown leaves as it is, with the spaces around it."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$])", r"\\\1", re.sub(r"\s+", " ", text))


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"]:
        print(keep(Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
    PAGE.write_text(page(), encoding="utf-8")
