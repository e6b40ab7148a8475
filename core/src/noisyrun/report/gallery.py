"""gallery.html: one page, opened offline, on which a person judges the labels that look most wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisyrun.api.labels import PAD
from noisyrun.data.samples import Samples
from noisyrun.engine.corrections import corrected_labels
from noisyrun.engine.label_state import LabelState
from noisyrun.files import write_text
from noisyrun.report.pictures import as_image

#: Labels on a page: so many in all, and of each class at least FEW and at most its share.
MOST, FEW, CEILING = 1000, 10, 5000
#: Longest side of an image on the page, in pixels; images up to SMALL are kept as they are.
SIDE, SMALL = 144, 64
#: Images decoded at a time.
_BLOCK = 256


def write_page(samples: Samples, state: LabelState, path: Path, *, run: str, title: str) -> bool:
    """Write the page; False for data without images or without labels.

    Everything that comes from the data stands in a JSON block, which the page reads as text alone; nothing is loaded
    from anywhere, and a content security policy lets no other script run.

    Parameters
    ----------
    run
        Identifier of the run: a browser keeps verdicts under it.
    title
        What the page is called.
    """
    if samples.images is None or len(samples) == 0:
        return False
    rows, slots = most_suspicious(samples, state)
    if len(rows) == 0:
        return False
    small = max(samples.images.shape[1:]) <= SMALL
    content = {
        "run": run,
        "classes": list(samples.task.classes),
        "multi": samples.task.multi,
        "small": small,
        "items": list(_items(samples, state, rows, slots)),
    }
    write_text(path, _page(title, content))
    return True


def most_suspicious(samples: Samples, state: LabelState) -> tuple[Tensor, Tensor]:
    """The labels to judge, as positions of samples and slots of their observed labels, int64 [n] each, worst first.

    Labels called wrong come first, then by score; in multi-label data both belong to the (sample, label) pair. Samples
    that have a verification label come after all others: nobody should judge a label twice. Of every class the worst
    are there, so that a class with little noise can be searched as well.
    """
    classes = samples.labels.classes
    rows, slots = (classes != PAD).nonzero(as_tuple=True)
    scores, wrong = judged_pairs(state)
    order = scores.expand_as(classes)[rows, slots].argsort(stable=True)
    if wrong is not None:
        called = wrong.expand_as(classes)[rows[order], slots[order]]
        order = order[(~called).int().argsort(stable=True)]
    order = order[(samples.verified[rows[order]] >= 0).int().argsort(stable=True)]
    labels = classes[rows[order], slots[order]]
    share = max(FEW, MOST // samples.task.num_classes)
    kept = order[_place_in_class(labels) < share][:CEILING]
    return rows[kept], slots[kept]


def judged_pairs(state: LabelState) -> tuple[Tensor, Tensor | None]:
    """Score and decision of each observed label, [N, k]; [N, 1] where they belong to the sample."""
    if state.pair_score is not None:
        return state.pair_score, state.pair_wrong
    return state.score.unsqueeze(1), None if state.wrong is None else state.wrong.unsqueeze(1)


def _place_in_class(labels: Tensor) -> Tensor:
    """int64 [n]: how many of the same class come before each."""
    by_class = labels.argsort(stable=True)
    ordered = labels[by_class]
    first = torch.searchsorted(ordered, ordered)
    place = torch.empty_like(labels)
    place[by_class] = torch.arange(len(labels)) - first
    return place


def _items(samples: Samples, state: LabelState, rows: Tensor, slots: Tensor) -> Iterator[dict[str, Any]]:
    assert samples.images is not None
    corrected = corrected_labels(samples.labels, state.targets, samples.task.multi).classes
    observed = samples.labels.classes
    scores = judged_pairs(state)[0].expand_as(observed)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        pictures = samples.images.load(block)
        for row, slot, pixels in zip(block.tolist(), slots[start : start + _BLOCK].tolist(), pictures):
            label = int(observed[row, slot])
            yield {
                "index": int(samples.index[row]),
                "label": label,
                "observed": _listed(observed[row]),
                "suggested": _suggested(state, _listed(corrected[row]), _listed(observed[row]), row),
                "score": f"{float(scores[row, slot]):.3g}",
                "truth": None if samples.truth is None else _listed(samples.truth.classes[row]),
                "image": _data_url(pixels),
            }


def _suggested(state: LabelState, corrected: list[int], observed: list[int], row: int) -> list[int] | None:
    """The corrected label, else the classifier's best other guess; None where nothing speaks for another one."""
    if corrected != observed:
        return corrected
    if state.predicted is None or len(observed) != 1:
        return None
    return next(([c] for c in state.predicted[row].tolist() if c not in observed), None)


def _listed(classes: Tensor) -> list[int]:
    return [c for c in classes.tolist() if c != PAD]


def _data_url(pixels: Tensor) -> str:
    """An image uint8 [channels, height, width] as a data URL: PNG where it is small, else JPEG."""
    image = as_image(pixels)
    small = max(image.size) <= SMALL
    if not small:
        image.thumbnail((SIDE, SIDE))
    out = BytesIO()
    image.save(out, format="PNG" if small else "JPEG", quality=85)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(out.getvalue()).decode()}"


def _page(title: str, content: dict[str, Any]) -> str:
    page = files("noisyrun.report").joinpath("gallery.html").read_text(encoding="utf-8")
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    fields = {
        "TITLE": escape(title),
        "STYLE_HASH": _digest(style),
        "SCRIPT_HASH": _digest(script),
        "DATA": _json(content),
    }
    return re.sub(r"@([A-Z_]+)@", lambda found: fields[found[1]], page)


def _json(content: dict[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    told = json.dumps(content, separators=(",", ":"))
    return told.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
