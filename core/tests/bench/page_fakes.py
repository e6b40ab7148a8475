"""An analysis made up for the page: methods that differ by a little, over comparisons and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from statistics import mean, stdev
from typing import Any

from noisyrun.bench.analysis import Analysis, ClassRow, Comparison, Curve, Machine, Overall, Row
from noisyrun.bench.claims import Part, PublishedRow, Verdict
from noisyrun.bench.fairness import Mark
from noisyrun.bench.measures import MEASURES, Measure
from noisyrun.bench.stats import Estimate, Paired
from noisyrun.bench.suite import CROSS_ENTROPY, Suite

METHODS = (
    "SINet",
    "SMP",
    "CleanNet",
    "noise regularization",
    "URNet",
    "SINet weighter + SMP",
    "ELR",
    "GCE",
    "co-teaching",
)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
NOISE = ("aggre_label", "random_label1", "worse_label")
KEYS = [
    "accuracy.best_noisy_val",
    "accuracy.last",
    "accuracy.oracle",
    "top5.last",
    "calibration.ece.last",
    "calibration.nll.last",
    "label_accuracy.after",
    "detection.auroc",
    "detection.average_precision",
    "detection.f1",
    "detection.best_f1",
    "detection.precision_at_noise_rate",
    "seconds.total",
    "peak_memory.process",
    "samples_per_second",
]
SLOW = Mark("slow", "‡", "took 12.4 times the seconds of plain cross entropy; the suite allows 10", True)
TRUSTED = Mark("trusted-labels", "T", "uses 500 trusted labels, which the suite permits", False)


def estimate(values: Mapping[int, float]) -> Estimate:
    """Mean, deviation and a rough interval."""
    listed = list(values.values())
    middle = mean(listed)
    if len(listed) < 2:
        return Estimate(middle, None, None, None, dict(values))
    sd = stdev(listed)
    half = 4.303 * sd / math.sqrt(len(listed)) if len(listed) == 3 else 2.776 * sd / math.sqrt(len(listed))
    return Estimate(middle, sd, middle - half, middle + half, dict(values))


def paired(one: Estimate, other: Estimate, higher: bool | None = True) -> Paired:
    """One method against another."""
    gaps = estimate({seed: value - other.values[seed] for seed, value in one.values.items()})
    if gaps.low is None or gaps.high is None:
        return Paired(1, gaps.mean, None, None, None, None, None, None, 1.0, "unknown")
    beyond = "better" if (gaps.mean > 0) == (higher is not False) else "worse"
    outcome: Any = "within noise" if gaps.low <= 0 <= gaps.high else beyond
    smallest = 2 * 0.5**gaps.n
    return Paired(
        gaps.n, gaps.mean, gaps.low, gaps.high, gaps.low, gaps.high, smallest, min(1.0, smallest * 4), smallest, outcome
    )


def measure(key: str) -> Measure:
    """A measure of the registry."""
    return MEASURES[key]


def _curve(random: Random, end: float, epochs: int, seeds: int) -> Curve:
    across = tuple(range(1, epochs + 1))
    middle = [end * (1 - 0.8 * math.exp(-4 * e / epochs)) + random.gauss(0, 0.002) for e in across]
    band = [0.012 * random.uniform(0.5, 1) if seeds > 1 else 0.0 for _ in across]
    return Curve(
        across, tuple(middle), tuple(m - b for m, b in zip(middle, band)), tuple(m + b for m, b in zip(middle, band))
    )


def analysis(
    methods: Sequence[str] = METHODS,
    noises: Sequence[str] = NOISE,
    seeds: int = 3,
    epochs: int = 30,
    classes: Sequence[str] = CLASSES,
    failed: Sequence[tuple[str, str, int, str]] = (),
    keys: Sequence[str] = KEYS,
    title: str = "Methods on CIFAR-10N",
    about: str = "Every paper's method on three kinds of human label noise, on a subset of 8,000 training images.",
    marks: Mapping[str, Sequence[Mark]] | None = None,
) -> Analysis:
    """An analysis of made-up results."""
    random = Random(7)
    marks = {"URNet": [SLOW, TRUSTED], "CleanNet": [TRUSTED]} if marks is None else marks
    everyone = (CROSS_ENTROPY, *methods)
    comparisons = []
    for at, noise in enumerate(noises):
        rows = []
        for place, method in enumerate(everyone):
            here = {seed: why for m, n, seed, why in failed if m == method and n == noise}
            kept = [seed for seed in range(seeds) if seed not in here]
            base = 0.84 - 0.07 * at + (0.0 if place == 0 else 0.012 * math.sin(place * 2.1 + at * 0.4) + 0.008)
            values = {}
            for key in keys if kept else ():
                level = {"accuracy": base, "top5": 0.97, "seconds": 20.0 * 1.28**place, "peak_memory": 2.1e9}.get(
                    key.split(".")[0], 0.3 if key.startswith("calibration") else 0.9 - 0.03 * place
                )
                if key.startswith(("detection", "label")) and place == 0:
                    continue
                if key == "samples_per_second":
                    level = 2200.0 / (1 + place)
                spread = 0.0035 if level < 1 else 0.03 * level
                values[key] = estimate({seed: level + random.gauss(0, spread) for seed in kept})
            own = tuple(
                Mark(m.code, m.sign, m.text, m.breaks, f"CIFAR-10N, {noise}", method) for m in marks.get(method, ())
            )
            rows.append(
                Row(
                    method=method,
                    note="as published, on given labels" if method == "SINet" else "",
                    reference=place == 0,
                    settings={} if place == 0 else {"weighter": method.lower(), "alpha": "0.5"},
                    marks=own,
                    cells={seed: f"{place:02d}{at}{seed}" for seed in kept},
                    unfinished=here,
                    values=values,
                    against={},
                    rank=None,
                    best=False,
                    within_noise=None,
                    cost=1.28**place if kept else None,
                    curves={
                        "test_accuracy": _curve(random, base, epochs, len(kept)),
                        "val_accuracy": _curve(random, base - 0.1, epochs, len(kept)),
                    }
                    if kept and epochs
                    else {},
                    classes=tuple(
                        ClassRow(
                            name,
                            base + random.gauss(0, 0.06),
                            800.0,
                            None if place == 0 else 0.2 + random.gauss(0, 0.05),
                            0.2,
                        )
                        for name in (classes if kept else ())
                    ),
                    galleries={seed: f"cells/{place:02d}{at}{seed}/run/gallery.html" for seed in kept} if place else {},
                    phases=(epochs // 3, 2 * epochs // 3) if place in (1, 2, 5) else (),
                )
            )
        comparisons.append(_compared(f"CIFAR-10N, {noise}", noise, rows, keys))
    return _assembled(comparisons, everyone, noises, seeds, keys, failed, title, about)


def _compared(name: str, noise: str, rows: list[Row], keys: Sequence[str]) -> Comparison:
    from dataclasses import replace

    headline = keys[0]
    reference = rows[0]
    measured = sorted((row for row in rows if headline in row.values), key=lambda row: -row.values[headline].mean)
    done = []
    for row in rows:
        best = bool(measured) and row is measured[0]
        versus = {}
        if not row.reference and reference.values:
            versus = {
                key: paired(one, reference.values[key], measure(key).higher)
                for key, one in row.values.items()
                if key in reference.values and set(one.values) <= set(reference.values[key].values)
            }
        near = None
        if row in measured and not best and row.values[headline].n > 1:
            top = measured[0].values[headline]
            shared = {seed: value for seed, value in row.values[headline].values.items() if seed in top.values}
            near = len(shared) > 1 and paired(estimate(shared), top).outcome == "within noise"
        rank = float(measured.index(row) + 1) if row in measured and not row.unfinished else None
        done.append(replace(row, against=versus, best=best, within_noise=near, rank=rank))
    facts = {"classes": "10", "training samples": "8,000", "test": "10,000", "wrong labels": "17.2 %"}
    return Comparison(name, "CIFAR-10N", noise, "", tuple(done), facts, ())


def _assembled(
    comparisons: list[Comparison],
    everyone: Sequence[str],
    noises: Sequence[str],
    seeds: int,
    keys: Sequence[str],
    failed: Sequence[tuple[str, str, int, str]],
    title: str,
    about: str,
) -> Analysis:
    ranks: dict[str, list[float]] = {}
    for one in comparisons:
        for row in one.rows:
            if row.rank is not None:
                ranks.setdefault(row.method, []).append(row.rank)
    whole = {name: mean(found) for name, found in ranks.items() if len(found) == len(comparisons)}
    ordered = dict(sorted(whole.items(), key=lambda item: item[1]))
    gap = 0.55 * len(everyone)
    cliques = []
    names = list(ordered)
    for at, name in enumerate(names):
        clique = tuple(other for other in names[at:] if ordered[other] - ordered[name] < gap)
        if len(clique) > 1 and not (cliques and set(clique) <= set(cliques[-1])):
            cliques.append(clique)
    pooled = {row.method: row.against[keys[0]] for row in comparisons[0].rows if keys[0] in row.against}
    overall = Overall(
        comparisons=tuple(one.name for one in comparisons),
        ranks=ordered,
        left_out={name: "a seed is missing" for name in everyone if name not in ordered},
        friedman_p=0.004,
        critical_difference=gap,
        cliques=tuple(cliques),
        paired=pooled,
    )
    one = next(iter(pooled.values()), None)
    every = [mark for part in comparisons for row in part.rows for mark in row.marks]
    suite = Suite(
        title=title,
        about=about,
        seeds=tuple(range(seeds)),
        data=[{"name": "CIFAR-10N"}],  # type: ignore[arg-type]
        method=[{"name": name} for name in everyone],  # type: ignore[arg-type]
        differs="a subset of the training images; a narrow network; 30 epochs",
    )
    cells = len(everyone) * len(noises) * seeds
    return Analysis(
        suite=suite,
        command="noisyrun bench benchmarks/suites/cifar10n.toml --out results",
        headline=measure(keys[0]),
        measures=tuple(measure(key) for key in keys),
        comparisons=tuple(comparisons),
        overall=overall if len(comparisons) > 1 else None,
        claims=(
            Verdict(
                "SMP's correction beats plain training on human noise.",
                "SMP, table 3",
                keys[0],
                "agrees",
                "+1.9 points, 95 % interval +1.2 to +2.6",
                one,
                tuple(Part(part.name, "agrees", one) for part in comparisons),
            ),
            Verdict(
                "More prototypes a class are better than one.",
                "SMP, table 5",
                keys[0],
                "within noise",
                "+0.1 points (−0.4 to +0.6)",
                one,
            ),
            Verdict("A high α is best.", "SINet, table 4", keys[0], "disagrees", "−1.1 points (−1.9 to −0.3)", one),
            Verdict(
                "Contrast helps.",
                "SINet, table 5",
                keys[0],
                "not measured",
                "no cell of ‘with contrast’ finished",
                None,
            ),
        ),
        published=(
            PublishedRow(
                "SINet, table 2",
                "CIFAR-10N, 50,000 images",
                "top-1, last epoch",
                "SINet",
                91.2,
                keys[0],
                comparisons[0].name,
                comparisons[0].rows[min(1, len(comparisons[0].rows) - 1)].values.get(keys[0]),
                ("ResNet-34 against a narrow network", "300 epochs against 30"),
            ),
            PublishedRow("SMP, table 3", "Food-101N", "top-1", "SMP", 85.11, keys[0], "none", None, ("other data",)),
        ),
        marks=tuple(every),
        machines=(Machine({"processor": "2 × Intel Xeon", "memory": "16 GB", "device": "cpu"}, cells),),
        versions={"noisyrun": ("0.1.0",), "python": ("3.11.4",), "torch": ("2.15.0", "2.15.1")},
        started="2026-11-21T04:00:00+00:00",
        ended="2026-11-21T05:12:31+00:00",
        cells=cells,
        finished=cells - len(failed),
        unfinished=tuple((m, f"CIFAR-10N, {n}", seed, why) for m, n, seed, why in failed),
        seconds=8123.0,
    )
