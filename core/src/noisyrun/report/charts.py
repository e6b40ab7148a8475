"""Charts of what a run made of the labels: weights, noise by class, and which labels became which."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import torch
from torch import Tensor

from noisyrun.api.labels import PAD
from noisyrun.api.phase import Exhibit
from noisyrun.data.samples import Samples
from noisyrun.engine.corrections import corrected_labels
from noisyrun.engine.label_state import LabelState
from noisyrun.files import write_text
from noisyrun.report import metrics
from noisyrun.report.gallery import judged_pairs

RIGHT, WRONG, PLAIN, INK = "#2ca02c", "#d62728", "#4c78a8", "#333"
#: Bars of a histogram; classes that a chart has room for.
BARS, MOST_CLASSES = 40, 40

_WIDTH, _HEIGHT, _LEFT, _TOP = 640, 240, 60, 34

#: Characters that no XML may hold, escaped or not.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def write_charts(samples: Samples, state: LabelState, folder: Path) -> dict[str, str]:
    """Write every chart that has something to show; returns file names by what they are."""
    drawn = {
        "weights": weights_chart(samples, state),
        "noise-by-class": noise_chart(samples, state),
        "confusion": confusion_chart(samples, state),
    }
    files = {name: f"{name}.svg" for name, chart in drawn.items() if chart is not None}
    for name, file in files.items():
        write_text(folder / file, drawn[name] or "")
    return files


def weights_chart(samples: Samples, state: LabelState) -> str | None:
    """Histogram of the weights of observed labels, right and wrong ones apart where clean labels are known.

    Where all weights are alike, of the scores; None where these are alike, too.
    """
    rows, slots = (samples.labels.classes != PAD).nonzero(as_tuple=True)
    scores = judged_pairs(state)[0].expand_as(samples.labels.classes)
    candidates = {"Weight": state.weights[rows, slots], "Score": scores[rows, slots]}
    varied = {name: v for name, v in candidates.items() if len(v) and float(v.max()) > float(v.min())}
    if not varied:
        return None
    what, values = next(iter(varied.items()))
    truth = _truth(samples, rows, slots)
    groups = {"labels": (values, PLAIN)}
    if truth is not None:
        groups = {"right": (values[truth[0]], RIGHT), "wrong": (values[truth[1]], WRONG)}
    low, high = float(values.min()), float(values.max())
    counts = {name: torch.histc(part.float(), BARS, low, high) for name, (part, _) in groups.items()}
    tallest = max(float(count.max()) for count in counts.values()) or 1.0
    step, foot = _WIDTH / BARS, _TOP + _HEIGHT
    body = []
    for name, (_, colour) in groups.items():
        bars = [
            f"M{_LEFT + bar * step:.1f} {foot}v{-_HEIGHT * float(count) / tallest:.1f}h{step - 1:.1f}V{foot}"
            for bar, count in enumerate(counts[name])
            if count > 0
        ]
        body.append(f'<path d="{"".join(bars)}" fill="{colour}" fill-opacity="0.55"/>')
    for at in range(5):
        x = _LEFT + _WIDTH * at / 4
        body.append(_text(x, _TOP + _HEIGHT + 18, f"{low + (high - low) * at / 4:.3g}", "middle"))
    body.append(_axis())
    body += _legend([(f"{name}: {len(part)}", colour) for name, (part, colour) in groups.items()])
    return _svg(f"{what} of the observed labels", body, _TOP + _HEIGHT + 30)


def noise_chart(samples: Samples, state: LabelState) -> str | None:
    """Share of each class's labels that the run calls wrong, noisiest class first; a mark stands at the true share."""
    wrong = judged_pairs(state)[1]
    if wrong is None:
        return None
    rows, slots = (samples.labels.classes != PAD).nonzero(as_tuple=True)
    called = wrong.expand_as(samples.labels.classes)[rows, slots]
    labels, count = samples.labels.classes[rows, slots], samples.task.num_classes
    total = torch.bincount(labels, minlength=count).clamp(min=1)
    said = torch.bincount(labels, called.double(), minlength=count) / total
    truth = _truth(samples, rows, slots)
    true = None
    if truth is not None:
        known = torch.bincount(labels, (truth[0] | truth[1]).double(), minlength=count).clamp(min=1)
        true = torch.bincount(labels, truth[1].double(), minlength=count) / known
    order = said.argsort(descending=True, stable=True)[:MOST_CLASSES].tolist()
    body = []
    for place, c in enumerate(order):
        y = _TOP + 20 * place
        body.append(_text(_LEFT + 110, y + 13, _cut(samples.task.classes[c]), "end"))
        body.append(f'<rect x="{_LEFT + 120}" y="{y}" width="{450 * float(said[c]):.1f}" height="15" fill="{PLAIN}"/>')
        if true is not None:
            x = _LEFT + 120 + 450 * float(true[c])
            body.append(f'<path d="M{x:.1f} {y - 2}v19" stroke="{WRONG}" stroke-width="3"/>')
        body.append(_text(_LEFT + 580, y + 13, f"{100 * float(said[c]):.0f} %", "start"))
    body += _legend([("called wrong", PLAIN)] + ([("truly wrong", WRONG)] if true is not None else []))
    left_out = f" ({MOST_CLASSES} noisiest of {count} classes)" if count > MOST_CLASSES else ""
    return _svg(f"Estimated noise by class{left_out}", body, _TOP + 20 * len(order) + 8)


def confusion_chart(samples: Samples, state: LabelState) -> str | None:
    """How often a label (down) became another (across), as a share of its class; None where nothing was changed.

    Only classes that take part in a change are drawn, those of the most changes first.
    """
    if samples.task.multi:
        return None
    observed = samples.labels.single
    corrected = corrected_labels(samples.labels, state.targets, multi=False).single
    moved = (observed != corrected) & (observed != PAD) & (corrected != PAD)
    if not bool(moved.any()):
        return None
    count = samples.task.num_classes
    busy = torch.bincount(observed[moved], minlength=count) + torch.bincount(corrected[moved], minlength=count)
    chosen = busy.argsort(descending=True, stable=True)[:MOST_CLASSES]
    chosen = chosen[busy[chosen] > 0].sort().values
    place = torch.full((count,), PAD)
    place[chosen] = torch.arange(len(chosen))
    inside = (observed != PAD) & (corrected != PAD)
    inside &= (place[observed.clamp(min=0)] != PAD) & (place[corrected.clamp(min=0)] != PAD)
    size = len(chosen)
    cells = torch.bincount(place[observed[inside]] * size + place[corrected[inside]], minlength=size * size)
    totals = torch.bincount(observed[observed != PAD], minlength=count)[chosen].clamp(min=1)
    shares = cells.view(size, size) / totals[:, None]
    side = max(12, min(36, 560 // size))
    body = []
    for down, c in enumerate(chosen.tolist()):
        name, y = _cut(samples.task.classes[c]), _TOP + 90 + side * down
        body.append(_text(_LEFT + 75, y + side * 0.7, name, "end"))
        x = _LEFT + 84 + side * (down + 0.6)
        body.append(f'<text transform="translate({x:.0f} {_TOP + 84}) rotate(-55)">{escape(name)}</text>')
        for across in range(size):
            share = float(shares[down, across])
            if share > 0:
                x = _LEFT + 80 + side * across
                colour = PLAIN if across == down else WRONG
                told = f"{name} to {_cut(samples.task.classes[int(chosen[across])])}: {100 * share:.1f} %"
                body.append(
                    f'<rect x="{x}" y="{y}" width="{side - 1}" height="{side - 1}" fill="{colour}" '
                    f'fill-opacity="{min(1.0, 0.08 + share):.2f}"><title>{escape(told)}</title></rect>'
                )
                if side >= 24 and share >= 0.005:
                    body.append(_text(x + side / 2, y + side * 0.65, f"{100 * share:.0f}", "middle"))
    return _svg("Observed label (down) and corrected label (across), % of the observed class", body, y + side + 12)


def prototype_exhibit(samples: Samples, state: LabelState) -> Exhibit | None:
    """The samples that stand for each class, with their weights; None where prototypes are no samples."""
    prototypes = state.prototypes
    if prototypes is None or prototypes.rows is None or samples.images is None:
        return None
    return Exhibit(
        "prototypes",
        "Samples that stand for each class, and the weight of each",
        tuple(samples.task.classes),
        prototypes.rows.cpu(),
        prototypes.weights.float().cpu(),
    )


def _truth(samples: Samples, rows: Tensor, slots: Tensor) -> tuple[Tensor, Tensor] | None:
    """Which observed labels are known to be right, and which to be wrong, bool [n] each; None without clean labels."""
    if samples.truth is None:
        return None
    if samples.task.multi:
        wrong, known = (pairs[rows, slots] for pairs in metrics.wrong_pairs(samples.labels, samples.truth))
    else:
        wrong, known = (of_sample[rows] for of_sample in metrics.truly_wrong(samples.labels, samples.truth))
    return known & ~wrong, known & wrong


def _svg(title: str, body: Sequence[str], height: float) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 760 {height:.0f}" width="760" '
            f'height="{height:.0f}" font-family="sans-serif" font-size="12" fill="{INK}">',
            f"<title>{escape(title)}</title>",
            f'<rect width="760" height="{height:.0f}" fill="white"/>',
            f'<text x="12" y="18" font-size="14">{escape(title)}</text>',
            *body,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _axis() -> str:
    return f'<path d="M{_LEFT} {_TOP + _HEIGHT}h{_WIDTH}" stroke="{INK}"/>'


def _legend(entries: Sequence[tuple[str, str]]) -> list[str]:
    made = []
    for at, (words, colour) in enumerate(reversed(entries)):
        x = 744 - 130 * at
        made.append(f'<rect x="{x - 12}" y="8" width="12" height="12" fill="{colour}"/>')
        made.append(_text(x - 16, 18, words, "end"))
    return made


def _cut(words: str) -> str:
    words = _NO_XML.sub("\ufffd", words)
    return words if len(words) <= 18 else words[:17] + "…"
