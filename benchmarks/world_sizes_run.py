"""The same run on one, two and four processes: the same losses, weights and targets? And how long does each take?

    python benchmarks/world_sizes_run.py [--sizes 1 2 4] [--double] [FLAGS OF A RUN]

For each number of processes torchrun starts this program (gloo, on the CPU; one thread each), which trains with the
flags given: by default ten epochs on digits, augmented, with label phases of SMP and SINet before the last three, a
small network with group normalisation. Printed is a table: how far the losses of the first epoch's steps, their mean,
and at the end the network's weights, the samples' weights and the targets are at most from those of the first number;
and seconds.
In single precision a ReLU or a maximum falls to the other side of a tie now and then; in double precision none does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

NETWORK = (
    "--backbone",
    "small-cnn",
    "--backbone.norm",
    "group",
    "--backbone.width",
    "16",
    "--train.optimizer.lr",
    "0.02",
)
FLAGS = [
    *("--epochs", "10", "--batch-size", "50", "--seed", "1", "--train.warmup-epochs", "7", *NETWORK),
    *("--prototypes", "smp", "--corrector", "smp", "--weighter", "sinet", "--corrections.share", "0.1"),
]
#: In double precision: label phases compute in single precision, and so take no part.
PLAIN = ["--epochs", "2", "--batch-size", "50", "--seed", "1", *NETWORK]


def work(flags: list[str], out: Path, double: bool) -> None:
    """One process: the run, and what came of it, which the first one writes."""
    from noisyrun.config.flags import parse
    from noisyrun.config.resolve import resolve
    from noisyrun.engine import checkpoint
    from noisyrun.engine import trainer as trainers
    from noisyrun.engine.world import World
    from noisyrun.report.console import Console
    from noisyrun.runner import run

    losses: list[torch.Tensor] = []

    class Noted(trainers.LossWatch):
        def add(self, *step: Any) -> None:
            super().add(*step)
            losses.append(step[2].detach())

    def in_double(*args: Any, **options: Any) -> Any:
        network = build(*args, **options).double()
        network.extractor.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
        return network

    build = trainers.build_network
    trainers.LossWatch = Noted  # type: ignore[misc]
    trainers.build_network = in_double if double else build
    world = World.of_environment()
    with world.joined():
        config = resolve(args=parse([*flags, "--tracking", "none", "--out", str(out / "run")]))
        done = run(config, console=Console(quiet=True))
        every = world.total(torch.stack(losses)) / world.size
        if world.first:
            saved = checkpoint.load(done.folder / checkpoint.NAME, only=("network", "labels"))
            checkpoint.save(
                out / "found",
                {
                    "losses": every[: done.summary["history"][0]["step"]],
                    "network": saved["network"],
                    "weights": saved["labels"]["weights"],
                    "targets": saved["labels"]["targets"],
                    "accuracy": done.summary["accuracy"]["last"],
                    "seconds": dict(done.summary["seconds"]),
                },
            )


def compare(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """How far apart two outcomes are, and the seconds of the second."""

    def gap(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a.double() - b.double()).abs().max())

    network = max(gap(one["network"][name], value) for name, value in other["network"].items())
    labels = int((one["targets"]["classes"] != other["targets"]["classes"]).sum())
    seconds = other["seconds"]
    epoch = gap(one["losses"].double().mean(), other["losses"].double().mean())
    numbers = [gap(one["losses"], other["losses"]), epoch, network, gap(one["weights"], other["weights"])]
    return [
        *(f"{number:.1e}" for number in numbers),
        f"{labels} of {len(one['weights'])}",
        f"{100 * other['accuracy']:.1f} %",
        *(f"{seconds.get(name, 0):.1f}" for name in ("data", "train", "label_phase", "evaluate")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--double", action="store_true", help="train in double precision, without label phases")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args, flags = parser.parse_known_args()
    if args.worker is not None:
        work(flags, args.worker, args.double)
        return
    head = ["processes", "losses, epoch 1", "their mean", "network", "weights", "other labels", "test accuracy"]
    rows = [[*head, "data s", "train s", "labels s", "evaluate s"]]
    first = None
    words = ["--double", *(flags or PLAIN)] if args.double else flags or FLAGS
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
            subprocess.run([*command, __file__, "--worker", folder, *words], check=True)
            from noisyrun.engine import checkpoint

            found = checkpoint.load(Path(folder) / "found")
        first = first or found
        rows.append([str(size), *compare(first, found)])
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
