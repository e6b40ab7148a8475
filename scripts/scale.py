"""The page on sizes beyond this machine: bytes, operations, memory and hours, from figures that were measured.

python scripts/scale.py     # docs/scale.md, from docs/benchmarks/kept/label-phase-disk.json and the constants below
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "scale.md"
KEPT = ROOT / "docs" / "benchmarks" / "kept" / "label-phase-disk.json"


@dataclass(frozen=True)
class Size:
    """A data set: N training images, features of width D, C classes; E epochs of a usual recipe."""

    name: str
    n: float
    d: int
    c: int
    epochs: int


#: AliProducts: the training set of the challenge of 2020, by its organisers' page.
SETS = (Size("WebVision 2.0", 16e6, 2048, 5000, 100), Size("AliProducts", 2.5e6, 2048, 50_000, 100))


@dataclass(frozen=True)
class Work:
    """A label phase: what it must read and multiply; `case` names the measured one whose share of the floor it has."""

    name: str
    reads: Callable[[Size], float]
    flops: Callable[[Size], float]
    formula: str
    case: str
    #: Whether processes share it out. What one does for all (`build`, `fit`) takes as long however many there are.
    shared: bool = True
    #: Bytes read over and over once they are there, by k-means: the passes that were counted at the measured size.
    passes: Callable[[Size], float] = lambda s: 0.0


def bank_bytes(s: Size) -> float:
    """Features in half precision."""
    return 2 * s.n * s.d


def drawn(s: Size) -> float:
    """Rows of a class that SMP looks at: 1,280 at most."""
    return min(1280.0, s.n / s.c)


WORKS = (
    Work("SINet's prototypes", bank_bytes, lambda s: 2 * s.n * s.c * s.d, "2NCD", "sinet prototypes", False),
    Work("SINet's weights", bank_bytes, lambda s: 0.8 * s.n * s.c * s.d, "0.4 · 2NCD", "sinet weighter"),
    Work("SMP's prototypes", lambda s: 2 * s.c * drawn(s) * s.d, lambda s: 2 * s.c * drawn(s) ** 2 * s.d / 2,
         "C · m² · D, m = min(1280, N/C), in float64", "smp prototypes"),
    Work("SMP's correction", bank_bytes, lambda s: 2 * s.n * s.c * s.d, "2NCD", "smp corrector"),
    Work("CleanNet's references", bank_bytes, lambda s: 12 * 2 * s.n * 50 * s.d, "12 · 2N · 50 · D ²",
         "cleannet references", False, lambda s: 67 * 4 * s.n * s.d),
    Work("CleanNet's weights", bank_bytes, lambda s: 2 * s.n * (s.d * 256 + 256 * 128), "2N(256 D + 256 · 128)",
         "cleannet weighter"),
    Work("URNet's groups", lambda s: 5 * bank_bytes(s), lambda s: 9 * 2 * 5 * s.n * 5 * s.d, "9 · 2 · 5N · 5 · D ²",
         "urnet-cluster", False, lambda s: 14 * 5 * 4 * s.n * s.d),
)  # fmt: skip

#: Data sheet of an NVIDIA H200 (SXM): bytes of memory a second, operations a second in float32, bf16 (dense) and
#: float64 (matrix units), bytes of memory. Nothing here was measured on one.
GPU_READ, GPU_SINGLE, GPU_BF16, GPU_DOUBLE, GPU_MEMORY = 4.8e12, 67e12, 989e12, 67e12, 141e9
#: Share of the floor's speed that a label phase is planned at on a GPU: the project's aim there, not a measurement.
AIM = 0.6
#: Machines of eight, each with a network card (400 Gb/s) and a disk.
GPUS, A_MACHINE, NETWORK, DISK = (1, 8, 64), 8, 50e9, 5e9
#: Images of 375 x 500 that one core decodes and brings to 224 pixels in a second: docs/benchmarks/performance.md.
DECODED, CORES = 494, 16
#: Forward pass of ResNet-50 on 224 x 224 pixels: 4.09 G multiply-adds, two operations each (torchvision's documentation
#: of its weights); a training step takes three times that.
FORWARD = 2 * 4.09e9


@dataclass(frozen=True)
class Measured:
    """What was measured here.

    Attributes
    ----------
    read, single, double
        Bytes read, float32 and float64 operations a second of one core.
    share
        Floor / seconds of each measured label phase at the largest size.
    """

    read: float
    single: float
    double: float
    share: dict[str, float]
    size: tuple[int, int, int]

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Measured:
        most = max(one["samples"] for one in kept["found"])
        largest = [one for one in kept["found"] if one["samples"] == most]
        machine = kept["machine"]
        return cls(
            machine["read"],
            machine["single"],
            machine["double"],
            {one["case"]: one["floor"] / one["cpu"] for one in largest},
            (most, largest[0]["dim"], largest[0]["classes"]),
        )


#: Bytes a sample of what a process holds beside features: index, label, ten predicted classes and probabilities,
#: verification, rows by class (the bank); targets, weights, scores (the label state).
KNOWN = 8 + 8 + 4 + 10 * 12 + 3 + 1 + 8 + 1 + 8 + 8 + 4 + 4 + 4 + 4 + 4 + 4 + 1 + 4 + 1 + 16


def floor(work: Work, size: Size, read: float, again: float, rate: float) -> float:
    """Seconds at best, where bytes come at one rate and come again at another."""
    return max(work.reads(size) / read, work.passes(size) / again, work.flops(size) / rate)


def page() -> str:
    """The page."""
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    return "\n".join(
        [
            INTRO,
            *_rates(Measured.of(kept), kept),
            "",
            *_bytes(),
            "",
            *_phases(Measured.of(kept)),
            "",
            *_networks(),
            "",
            FOLLOWS.format(known=KNOWN),
        ]
    )


def _rates(seen: Measured, kept: dict[str, Any]) -> Iterator[str]:
    n, d, c = seen.size
    yield "## What was measured"
    yield ""
    yield f"{kept['about']}."
    yield ""
    yield f"    {' '.join(kept['command'].split())}"
    yield ""
    yield f"{n:,} × {d} features in {c:,} classes, in half precision on disk. One core reads {_si(seen.read)}B/s"
    yield f"from memory, and multiplies {_si(seen.single)}FLOP/s in float32 and {_si(seen.double)}FLOP/s in float64."
    yield "The *share* of a label phase is the time that those rates would need at best over the time it took: what the"
    yield "hours below are divided by. Other figures stand in [the performance suite](benchmarks/performance.md)."
    yield ""
    yield from _table(
        ("label phase", "share of the floor's speed"), [(w.name, f"{seen.share[w.case]:.0%}") for w in WORKS]
    )


def _bytes() -> Iterator[str]:
    yield "## Bytes"
    yield ""
    rows = [
        ("features on disk, half precision", "2ND", bank_bytes),
        ("one pass over them at 5 GB/s of a disk, seconds", "2ND / 5e9", lambda s: bank_bytes(s) / DISK),
        ("known of every sample, each process", f"{KNOWN} N", lambda s: KNOWN * s.n),
        ("names and places of the images in tar shards, each process", "49 N", lambda s: 49 * s.n),
        ("prototypes, one a class", "4CD", lambda s: 4 * s.c * s.d),
        ("CleanNet's references", "4 · 50 CD", lambda s: 200 * s.c * s.d),
        ("classifier with gradient and momentum", "3 · 4CD", lambda s: 12 * s.c * s.d),
        ("all samples × all classes (never formed)", "4NC", lambda s: 4 * s.n * s.c),
        ("features of all samples in float32 (held only where they fit)", "4ND", lambda s: 4 * s.n * s.d),
    ]
    yield from _table(
        ("", "arithmetic", *(s.name for s in SETS)),
        [
            (what, how, *(f"{of(s):,.0f}" if "seconds" in what else f"{_si(of(s))}B" for s in SETS))
            for what, how, of in rows
        ],
    )


def _phases(seen: Measured) -> Iterator[str]:
    yield "## Label phases"
    yield ""
    yield "*One core*: max(bytes / rate of reading, operations / rate of products) / share, rates and shares as above."
    yield f"*GPUs*: the same from the data sheet of an H200 ({_si(GPU_READ)}B/s, {_si(GPU_SINGLE)}FLOP/s in float32)"
    yield f"at the {AIM:.0%} of the floor's speed that is aimed at there; **no label phase has been timed on a GPU"
    yield "yet**. Features that half a GPU's memory holds in float32 are read there; others come from the disk of each"
    yield f"machine of {A_MACHINE} GPUs, at {_si(DISK)}B/s (its page cache may hold them: then the disk is read once)."
    yield ""
    yield "¹ `build` and `fit` run on one process, for all: more GPUs change nothing. The others are shared out by"
    yield "class or block. ² k-means reads its points in float32 67 times (URNet: 14) for its seeds and"
    yield "its rounds, as counted at the measured size: that bounds it rather than its products."
    for s in SETS:
        yield ""
        yield f"### {s.name}: {_count(s.n)} × {s.d:,} in {s.c:,} classes"
        yield ""
        yield from _table(
            ("label phase", "operations", "", "bytes read", "one core", *(f"{g} GPU" + "s" * (g > 1) for g in GPUS)),
            [_phase_row(work, s, seen) for work in WORKS],
        )


def _phase_row(work: Work, s: Size, seen: Measured) -> tuple[str, ...]:
    double = "float64" in work.formula
    cpu = floor(work, s, seen.read, seen.read, seen.double if double else seen.single) / seen.share[work.case]
    # Every GPU holds all features where half its memory can; else they come from the disk of its machine.
    resident = 4 * s.n * s.d <= GPU_MEMORY / 2
    rate = GPU_DOUBLE if double else GPU_SINGLE
    gpus = []
    for g in GPUS:
        part = g if work.shared else 1
        read = GPU_READ * part if resident else DISK * max(1, part / A_MACHINE)
        gpus.append(floor(work, s, read, GPU_READ * part, rate * part) / AIM)
    return (
        work.name if work.shared else f"{work.name} ¹",
        work.formula,
        f"{work.flops(s):.1e}",
        f"{_si(work.reads(s))}B",
        _time(cpu),
        *map(_time, gpus),
    )


def _networks() -> Iterator[str]:
    yield "## Extraction, exchange and training"
    yield ""
    yield "ResNet-50 at 224 × 224, 8.2 GFLOP an image forward and three times that in a training step. *At best* is all"
    yield f"operations at the data sheet's {_si(GPU_BF16)}FLOP/s in bf16, which no such network reaches:"
    yield "`noisyrun plan` on the machine in question times real steps and multiplies. *Decoding* is one pass over all"
    yield f"images at {DECODED:.0f} a second and core, as measured here for JPEGs of 375 × 500, {CORES} cores a GPU."
    yield f"*Exchange* is one copy of all features to every machine over {_si(NETWORK)}B/s; *gradients*, 102 MB there"
    yield "and back in each step of batch 2,048."
    yield ""
    rows = []
    for s in SETS:
        forward, both, step = FORWARD * s.n, 4 * s.n * s.d, 2 * 4 * 25.6e6
        train = 3 * forward * s.epochs
        rows += [
            (s.name, "decoding, once", f"{s.n:.1e} images", *(_time(s.n / DECODED / CORES / g) for g in GPUS)),
            ("", "extraction, at best", f"{forward:.1e}", *(_time(forward / GPU_BF16 / g) for g in GPUS)),
            ("", f"training, {s.epochs} epochs, at best", f"{train:.1e}", *(_time(train / GPU_BF16 / g) for g in GPUS)),
            ("", "exchange of the features", f"{_si(both)}B", "-", "-", _time(both / NETWORK)),
            ("", "gradients", f"{_si(step)}B a step", "-", "-", _time(step / NETWORK * s.n / 2048 * s.epochs)),
        ]
    yield from _table(("data set", "phase", "operations or bytes", *(f"{g} GPU" + "s" * (g > 1) for g in GPUS)), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _si(value: float) -> str:
    """12.3 G"""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.3g} "


def _count(n: float) -> str:
    return f"{n / 1e6:g} million"


def _time(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.2g} min" if seconds >= 60 else f"{seconds:.2g} s"


INTRO = """\
# Sizes beyond this machine

<!-- made by: python scripts/scale.py -->

What WebVision 2.0 (16 million images, 5,000 classes) and AliProducts (2.5 million, 50,000 classes) take, with features
of 2,048 values: derived from what was measured on two cores and from data sheets, with the arithmetic beside each
figure. It is a plan, not a measurement: no run of this size has been done.
"""


FOLLOWS = """\
## What follows

- **Decoding is what one pays for**, not the label phase: bring images to their training size once
  (`noisyrun data pack SOURCE --to DIR --as shards --image-size 256`), and keep features rather than extract them again.
- **Features of WebVision 2.0 stay on the disk** of each machine in half precision: neither a GPU nor eight processes'
  own memory holds them in float32. Every process of a machine maps the same file.
- **What one process does for all** (¹) bounds many GPUs. URNet's groups, each class with its four most confused, read
  the features five times. Should it matter, `fit` would have to be shared out by class, as `build_class` is: a
  change to the contract.
- **With 50,000 classes** CleanNet's 50 references a class take as much memory as the features of the whole data
  set;  `--prototypes.reference-size 10` is a fifth of that.
- **Ten predicted classes a sample** are over half of what is known of each (120 of {known} bytes): `--bank.top 2`
  where no method asks for more.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
