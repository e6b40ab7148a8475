"""What crops, sizes, mirror images and ensembles add at test time, on runs of one data set that differ in seed.

    python benchmarks/evaluation.py RUN RUN RUN [--amp bf16]

Each run alone, in several ways to look at an image: mean ± standard deviation over the runs, the gain paired by run.
Then all runs together. Nothing is chosen by these figures.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from noisyrun import data as datasets
from noisyrun.config.resolve import resolve
from noisyrun.engine.device import device_of
from noisyrun.engine.ensemble import load_members
from noisyrun.engine.evaluate import measure, probabilities
from noisyrun.engine.views import Views

LOOKS = (
    Views(),
    Views(flip=True),
    Views(crops=10),
    Views(flip=True, scales=(1.0, 1.14)),
)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("runs", nargs="+", type=Path)
    words.add_argument("--amp", default="auto")
    given = words.parse_args()
    settings = resolve({"train.amp": given.amp}, config=given.runs[0] / "config.json").settings
    data = datasets.load(settings)
    members = load_members(given.runs, data, settings, device_of(settings.device))
    test, device = data.test, device_of(settings.device)
    assert test is not None
    positions = torch.arange(len(test))

    def accuracy(probs: torch.Tensor) -> float:
        return 100 * measure(test, [(positions, probs)], device, logits=False).numbers["accuracy"]

    print(f"{len(test)} test images of {data.name}; {len(members)} runs", flush=True)
    plain: list[float] = []
    for views in LOOKS:
        began = time.perf_counter()
        seen = [torch.cat([probs for _, probs in probabilities([member], test, views)]) for member in members]
        seconds = (time.perf_counter() - began) / len(members)
        alone = [accuracy(probs) for probs in seen]
        plain = plain or alone
        gains = [value - base for value, base in zip(alone, plain, strict=True)]
        together = accuracy(sum(seen[1:], start=seen[0]) / len(seen))  # every network counts the same
        print(
            f"| {views.words or 'images as they are'} | {views.count} | {spread(alone)} | {spread(gains)} "
            f"| {together:.1f} | {together - statistics.mean(plain):+.1f} | {seconds:.0f} s |",
            flush=True,
        )


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}"


if __name__ == "__main__":
    main()
