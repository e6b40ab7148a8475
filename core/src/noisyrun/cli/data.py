"""``noisyrun data``: what a data set holds, and what is wrong with it; and the same in another form."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Literal

from noisyrun.api.errors import UserError
from noisyrun.cli import pack
from noisyrun.cli.common import configure, entries, nothing_left, wants_help
from noisyrun.config import flags
from noisyrun.engine.interrupt import stopped_at_once
from noisyrun.printable import printable

_CHECK = """\
noisyrun data check PATH [--data.format NAME] [--images none|sample|all] [--json]

Say what the data set at PATH holds (classes, splits, verification, words beside the images), and name in one line each
what is wrong with it: another variant, a missing header, labels off by one, images that are missing or cannot be read,
sizes that are not those published. Nothing is trained and nothing is written.

  --data.format NAME   what the data set is; told from its files by default
  --images none        decode no image; those that are missing are told all the same
  --images sample      decode a thousand images of each split, spread over it: all of a small set (default)
  --images all         decode every image: takes as long as an epoch's decoding
  --json               print one JSON object: path, format, title, facts, notes, problems, warnings
  --data.FIELD         as in a run: noisyrun --help data

Exit code: 0 nothing is wrong (there may be warnings), 1 something is."""
USAGE = f"{_CHECK}\n\n{pack.USAGE}"

_DEPTHS: tuple[Literal["none", "sample", "all"], ...] = ("none", "sample", "all")


@stopped_at_once()  # what is half-written is removed, as after any error
def main(words: list[str]) -> int:
    """Check a data set, or pack it."""
    if wants_help(words):
        print({"check": _CHECK, "pack": pack.USAGE}.get(words[0], USAGE))
        return 0
    if words[:1] == ["pack"]:
        return pack.main(words[1:])
    if words[:1] != ["check"]:
        raise UserError("data: say what to do: noisyrun data check PATH, or noisyrun data pack SOURCE --to DIR")
    if len(words) < 2 or words[1].startswith("-"):
        raise UserError("data check: name the data set first: noisyrun data check PATH")
    given = flags.parse(words[2:])
    asked = flags.take(given, "images") or "sample"
    depth = next((one for one in _DEPTHS if one == asked), None)
    if depth is None:
        raise UserError(f"--images: must be one of {', '.join(_DEPTHS)} (got {asked})")
    as_json = flags.take_switch(given, "json")
    nothing_left([flag for flag in given if flag.path[0] != "data"], ["images", "json", "data.format"])
    settings = configure([flags.Flag(("dataset",), words[1]), *given]).settings
    from noisyrun.data.check import check

    report = check(settings, depth)
    if as_json:
        told = {"facts": {term: text for term, text in report.facts if term != "note"}}
        notes = {"notes": [text for term, text in report.facts if term == "note"]}
        print(json.dumps({"path": words[1], **asdict(report), **told, **notes}, indent=2))
        return 1 if report.problems else 0
    print(f"{words[1]}: {report.title}")
    if report.facts:
        print(entries([(term, printable(text)) for term, text in report.facts]))
    for term, lines in (("wrong", report.problems), ("warning", report.warnings)):
        for line in lines:
            print(f"{term}: {printable(line)}")
    print(f"{_count(len(report.problems), 'problem')}, {_count(len(report.warnings), 'warning')}")
    return 1 if report.problems else 0


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}" if count else f"no {what}s"
