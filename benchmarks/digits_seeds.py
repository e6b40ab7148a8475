"""Four methods on digits with 40 % symmetric noise, paired over seeds.

    uv run python benchmarks/digits_seeds.py --seeds 10

Every method gets the same data, noise, split, network, epochs and augmentation; a seed draws all of them anew. The
settings are the defaults, which were fixed on noisy validation. Reported is the last epoch: no selection at all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import noisyrun

METHODS = {
    "cross entropy": {},
    "sinet prototypes + weighter": {"side_info": "tfidf", "prototypes": "sinet", "weighter": "sinet"},
    "smp prototypes + corrector": {"prototypes": "smp", "corrector": "smp"},
    "sinet weighter on smp prototypes": {"prototypes": "smp", "weighter": "sinet"},
}


def run(method: dict[str, str], seed: int, extra: dict[str, object], folder: Path) -> dict[str, float | None]:
    """One run: its test and label accuracy, and how well it found the wrong labels."""
    config = {"seed": seed, "tracking": "none", "out": str(folder), **method, **extra}
    summary = noisyrun.run(config).summary
    return {
        "test": summary["accuracy"]["last"],
        "oracle": summary["accuracy"]["oracle"],
        "label": summary["label_accuracy"]["after"] or summary["label_accuracy"]["before"],
        "auroc": summary["detection"]["auroc"],
    }


def spread(values: list[float | None]) -> str:
    """Mean ± standard deviation in percent, or a dash where nothing was measured."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    return f"{statistics.mean(known):5.1f} ± {statistics.stdev(known) if len(known) > 1 else 0.0:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for every method")
    parser.add_argument("--out", type=Path, help="write all figures here, as JSON")
    options = parser.parse_args()
    extra: dict[str, object] = dict(pair.split("=", 1) for pair in options.set)

    figures: dict[str, list[dict[str, float | None]]] = {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for number, (name, method) in enumerate(METHODS.items()):
                figures[name].append(run(method, seed, extra, Path(folder) / f"{seed}-{number}"))

    plain = figures["cross entropy"]
    print(f"\n{'method':34} {'test %':>12} {'gain over cross entropy':>24} {'label %':>12} {'AUROC %':>12}")
    for name, rows in figures.items():
        gains = [row["test"] - base["test"] for row, base in zip(rows, plain)]  # type: ignore[operator]
        within = (
            abs(statistics.mean(gains)) <= 2 * statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else True
        )
        verdict = "" if name == "cross entropy" else spread(gains) + (" (within noise)" if within else "")
        columns = [spread([row[key] for row in rows]) for key in ("test", "label", "auroc")]
        print(f"{name:34} {columns[0]:>12} {verdict:>24} {columns[1]:>12} {columns[2]:>12}")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
