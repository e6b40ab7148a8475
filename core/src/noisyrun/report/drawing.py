"""All pictures of a finished run, written into its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from noisyrun.api.phase import Exhibit
from noisyrun.data.samples import Data, Samples
from noisyrun.engine.outcome import Outcome
from noisyrun.files import WriteError
from noisyrun.report import charts, exhibits, gallery, pictures
from noisyrun.run_folder import CURVES, GALLERY, PAGE, RunFolder


def draw(
    data: Data,
    outcome: Outcome,
    baseline: Outcome | None,
    folder: RunFolder,
    run_id: str,
    warn: Callable[[str], object],
) -> dict[str, str]:
    """Curves, and after a label phase: charts, a sheet and a page of doubtful labels, and what methods want looked at.

    A picture that fails costs neither the run nor the other pictures: `warn` takes a line.

    Returns
    -------
    dict
        File names by what they are; only those there was something to draw for.

    Raises
    ------
    WriteError
        When a picture was drawn and cannot be written.
    """
    made: dict[str, str] = {}
    for what, one in _pictures(data, outcome, baseline, folder, run_id):
        try:
            made |= one()
        except WriteError:  # not the picture's fault, and the next one would meet it too
            raise
        except Exception as error:
            warn(f"no {what}: {' '.join(str(error).split())[:300] or type(error).__name__}")
    return made


def _pictures(
    data: Data, outcome: Outcome, baseline: Outcome | None, folder: RunFolder, run_id: str
) -> Iterator[tuple[str, Callable[[], dict[str, str]]]]:
    """What each picture is, and what writes it."""
    told: dict[str, Any] = {
        "data": {"labels": data.task.labels},
        "history": outcome.history,
        "rounds": outcome.rounds,
    }
    if baseline is not None:
        told["baseline"] = {"history": baseline.history}
    train, state = data.train, outcome.state
    title = f"{data.name}: labels to look at"
    yield "curves", lambda: _file("curves", CURVES, pictures.write_curves(told, folder.file(CURVES)))
    if not outcome.rounds:
        return
    yield "charts", lambda: charts.write_charts(train, state, folder.path)
    yield "gallery", lambda: _file("gallery", GALLERY, pictures.write_gallery(train, state, folder.file(GALLERY)))
    yield (
        "page",
        lambda: _file("page", PAGE, gallery.write_page(train, state, folder.file(PAGE), run=run_id, title=title)),
    )
    standing = charts.prototype_exhibit(train, state)
    for exhibit in [*([] if standing is None else [standing]), *state.exhibits.values()]:
        yield exhibit.name, partial(_exhibit, train, exhibit, folder)


def _exhibit(train: Samples, exhibit: Exhibit, folder: RunFolder) -> dict[str, str]:
    name = f"{exhibit.name}.png"
    return _file(exhibit.name, name, exhibits.write_exhibit(train, exhibit, folder.file(name)))


def _file(what: str, name: str, written: bool) -> dict[str, str]:
    return {what: name} if written else {}
