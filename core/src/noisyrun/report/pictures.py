"""Pictures of a run: curves by epoch, and a sheet of the images whose labels look most wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from noisyrun.engine.corrections import corrected_labels
from noisyrun.files import atomic, write_text
from noisyrun.report import metrics

if TYPE_CHECKING:
    from noisyrun.api.labels import Labels
    from noisyrun.data.samples import Samples
    from noisyrun.engine.label_state import LabelState

#: Images of a gallery, and in a row of it.
MOST, ACROSS = 48, 8
#: Pixels of an image in a gallery, of its frame, and of the words below it.
SIDE, FRAME, WORDS = 96, 3, 28

#: What the upper and the lower curves show: key of a record, words, colour.
ACCURACY = (
    ("test_accuracy", "test accuracy", "#1f77b4"),
    ("val_accuracy", "accuracy on noisy validation", "#ff7f0e"),
)
LABELS = (
    ("label_accuracy_after", "right after correction", "#2ca02c"),
    ("auroc", "wrong labels found: AUROC", "#9467bd"),
    ("wrong", "called wrong", "#d62728"),
)

_WIDTH, _HEIGHT, _LEFT, _TOP, _LEGEND = 640, 200, 52, 16, 230

Line = tuple[str, str, bool, list[tuple[float, float]]]


def curves(summary: Mapping[str, Any]) -> str | None:
    """An SVG of accuracy and of the labels by epoch, the baseline dashed; None where there is nothing to draw.

    Parameters
    ----------
    summary
        The content of ``summary.json``.
    """
    baseline = summary.get("baseline") or {}
    # Without a corrector nothing stands "after correction".
    absent = () if any("changed" in record for record in summary.get("rounds") or ()) else ("label_accuracy_after",)
    labels = [line for line in LABELS if line[0] not in absent]
    if (summary.get("data") or {}).get("labels") == "multi":  # what stands as accuracy is mAP
        accuracy = tuple((key, words.replace("accuracy", "mAP"), colour) for key, words, colour in ACCURACY)
    else:
        accuracy = ACCURACY
    panels = [
        [
            *_lines(accuracy, summary.get("history") or ()),
            *_lines(accuracy[:1], baseline.get("history") or (), "cross entropy: ", dashed=True),
        ],
        _lines(labels, summary.get("rounds") or ()),
    ]
    panels = [lines for lines in panels if lines]
    if not panels:
        return None
    last = max(x for lines in panels for *_, points in lines for x, _ in points)
    step = _HEIGHT + 3 * _TOP
    phases = sorted({float(record["epoch"]) for record in summary.get("rounds") or ()})
    drawn = [_panel(lines, at * step + _TOP, max(last, 1.0), phases) for at, lines in enumerate(panels)]
    width, height = _LEFT + _WIDTH + _LEGEND, len(panels) * step
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" font-family="sans-serif" font-size="12">',
            "<title>Accuracy and labels by epoch</title>",
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def write_curves(summary: Mapping[str, Any], path: Path) -> bool:
    """Write the curves; False where there is nothing to draw."""
    drawn = curves(summary)
    if drawn is not None:
        write_text(path, drawn)
    return drawn is not None


def most_doubtful(state: LabelState, most: int = MOST) -> Tensor:
    """int64 [n]: positions of the samples whose labels look most wrong, those called wrong first."""
    order = state.score.argsort(stable=True)
    if state.wrong is not None:
        order = order[(~state.wrong[order]).int().argsort(stable=True)]
    return order[:most]


def write_gallery(samples: Samples, state: LabelState, path: Path) -> bool:
    """Write a sheet of the images whose labels look most wrong; False for data without images.

    Below each stand the observed and, where it is another, the corrected label. Where the clean label is known the
    frame is red around a wrong label and green around a right one.
    """
    from PIL import Image, ImageDraw

    if samples.images is None or len(samples) == 0:
        return False
    rows = most_doubtful(state)
    corrected = corrected_labels(samples.labels, state.targets, samples.task.multi)
    cell, tall = SIDE + 2 * FRAME, SIDE + 2 * FRAME + WORDS
    sheet = Image.new("RGB", (min(ACROSS, len(rows)) * cell, math.ceil(len(rows) / ACROSS) * tall), "white")
    draw = ImageDraw.Draw(sheet)
    for at, (row, pixels) in enumerate(zip(rows.tolist(), samples.images.load(rows))):
        x, y = at % ACROSS * cell, at // ACROSS * tall
        draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=_frame(samples, row))
        sheet.paste(picture(pixels), (x + FRAME, y + FRAME))
        observed, now = (_named(labels, row, samples.task.classes) for labels in (samples.labels, corrected))
        words = [observed] if now == observed else [observed, f"now: {now}"]
        draw.multiline_text((x + FRAME, y + cell), "\n".join(map(short, words)), fill="black", spacing=1)
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")
    return True


def _lines(
    wanted: Sequence[tuple[str, str, str]],
    records: Iterable[Mapping[str, Any]],
    before: str = "",
    dashed: bool = False,
) -> list[Line]:
    """The curves that have a point: words, colour, whether dashed, and points (epoch, value)."""
    kept = list(records)
    found = []
    for key, words, colour in wanted:
        points = [(float(one["epoch"]), float(one[key])) for one in kept if one.get(key) is not None]
        if points:
            found.append((before + words, colour, dashed, points))
    return found


def _panel(lines: Sequence[Line], top: float, last: float, phases: Sequence[float] = ()) -> str:
    """One set of axes, shares from 0 to 100 % over epochs from 0 to `last`; a tick below where a label phase was."""
    made = [
        f'<path class="phase" d="M{_LEFT + _WIDTH * at / last:.1f} {top + _HEIGHT:.1f}v-7" stroke="#888" '
        f'stroke-width="2"><title>label phase after epoch {at:g}</title></path>'
        for at in phases
    ]
    for tick in (0, 25, 50, 75, 100):
        y = top + _HEIGHT * (1 - tick / 100)
        made.append(f'<path d="M{_LEFT} {y:.1f}h{_WIDTH}" stroke="#ddd"/>')
        made.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick} %</text>')
    for tick in sorted({0, round(last / 2), round(last)}):
        x = _LEFT + _WIDTH * tick / last
        made.append(f'<text x="{x:.1f}" y="{top + _HEIGHT + 16:.1f}" text-anchor="middle">{tick}</text>')
    for number, (words, colour, dashed, points) in enumerate(lines):
        style = f'stroke="{colour}" stroke-width="2"' + (' stroke-dasharray="5 4"' if dashed else "")
        way = " ".join(f"{_LEFT + _WIDTH * x / last:.1f},{top + _HEIGHT * (1 - y):.1f}" for x, y in points)
        made.append(f'<polyline points="{way}" fill="none" {style}/>')
        made += [
            f'<circle cx="{point.split(",")[0]}" cy="{point.split(",")[1]}" r="2" fill="{colour}"/>'
            for point in way.split()
        ]
        x, y = _LEFT + _WIDTH + 10, top + 12 + 18 * number
        made.append(f'<path d="M{x} {y - 4}h18" {style}/><text x="{x + 24}" y="{y}">{escape(words)}</text>')
    if phases:
        x, y = _LEFT + _WIDTH + 10, top + 12 + 18 * len(lines)
        made.append(f'<path d="M{x + 9} {y}v-7" stroke="#888" stroke-width="2"/>')
        made.append(f'<text x="{x + 24}" y="{y}">label phase</text>')
    return "\n".join(made)


def _frame(samples: Samples, row: int) -> str:
    """Red around a sample one of whose labels is known to be wrong, green where they are right, else grey."""
    if samples.truth is None:
        return "#bbbbbb"
    one = torch.tensor([row])
    wrong, known = metrics.truly_wrong(samples.labels.take(one), samples.truth.take(one))
    if not bool(known):
        return "#bbbbbb"
    return "#d62728" if bool(wrong) else "#2ca02c"


def as_image(pixels: Tensor) -> Any:
    """A PIL image from uint8 [channels, height, width]; one channel is grey, those beyond three are left out."""
    from PIL import Image

    shown = pixels[:3] if pixels.shape[0] >= 3 else pixels[:1].expand(3, -1, -1)
    return Image.fromarray(shown.permute(1, 2, 0).to(torch.uint8).contiguous().numpy())


def picture(pixels: Tensor) -> Any:
    """A PIL image of SIDE × SIDE from uint8 [channels, height, width]; channels beyond three are left out."""
    from PIL import Image

    image = as_image(pixels)
    small = max(image.size) <= SIDE
    return image.resize((SIDE, SIDE), Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC)


def _named(labels: Labels, row: int, classes: Sequence[str]) -> str:
    return ", ".join(classes[c] for c in labels.classes[row].tolist() if c >= 0) or "no label"


def short(words: str) -> str:
    """Words that fit below an image, in the letters that every build of Pillow can draw."""
    cut = words if len(words) <= 17 else words[:16] + "."
    return cut.encode("latin-1", "replace").decode("latin-1")
