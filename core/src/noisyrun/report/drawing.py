"""All pictures of a finished run, written into its folder."""

from __future__ import annotations

from typing import Any

from noisyrun.data.samples import Data
from noisyrun.engine.outcome import Outcome
from noisyrun.report import charts, exhibits, gallery, pictures
from noisyrun.run_folder import CURVES, GALLERY, PAGE, RunFolder


def draw(data: Data, outcome: Outcome, baseline: Outcome | None, folder: RunFolder, run_id: str) -> dict[str, str]:
    """Curves, and after a label phase: charts, a sheet and a page of doubtful labels, and what methods want looked at.

    Returns
    -------
    dict
        File names by what they are; only those there was something to draw for.
    """
    told: dict[str, Any] = {
        "data": {"labels": data.task.labels},
        "history": outcome.history,
        "rounds": outcome.rounds,
    }
    if baseline is not None:
        told["baseline"] = {"history": baseline.history}
    made = {"curves": CURVES} if pictures.write_curves(told, folder.file(CURVES)) else {}
    if not outcome.rounds:
        return made
    train, state = data.train, outcome.state
    made |= charts.write_charts(train, state, folder.path)
    if pictures.write_gallery(train, state, folder.file(GALLERY)):
        made["gallery"] = GALLERY
    if gallery.write_page(train, state, folder.file(PAGE), run=run_id, title=f"{data.name}: labels to look at"):
        made["page"] = PAGE
    shown = list(state.exhibits.values())
    standing = charts.prototype_exhibit(train, state)
    for exhibit in shown if standing is None else [standing, *shown]:
        if exhibits.write_exhibit(train, exhibit, folder.file(f"{exhibit.name}.png")):
            made[exhibit.name] = f"{exhibit.name}.png"
    return made
