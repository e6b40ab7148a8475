"""The same label phase on one, two and four processes: the same weights and targets? And how long does each take?

    python benchmarks/world_sizes.py FEATURES.npz [--classes FILE] [--sizes 1 2 4] [--residence disk] [--method NAME …]

For each number of processes torchrun starts this program (gloo, on the CPU; one thread a process), which runs one label
phase of every paper's method on the same features, labels and logits. Printed is a table: how far weights and targets
are at most from those of one process, how many decisions and corrected labels differ, whether all processes hold the
same to the last bit, and seconds: of the bank, of side information, of the label phase, and of a processor in the
process that worked most in it, which other work on the machine does not lengthen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

#: Settings of each method by name, as flags would give them.
METHODS: dict[str, dict[str, Any]] = {
    "SINet": {"weighter": "sinet", "prototypes": "sinet", "side_info": {"sinet": {"relation": "HW"}}},
    "SINet on SMP's prototypes": {"weighter": "sinet", "prototypes": "smp"},
    "SINet's smoothing": {"corrector": "sinet"},
    "SMP": {"prototypes": "smp", "corrector": "smp"},
    "SMP by k-means": {"prototypes": {"smp": {"selection": "k-means"}}, "corrector": "smp"},
    "CleanNet": {"prototypes": {"cleannet": {"steps": 100}}, "weighter": "cleannet", "verify": "0.05"},
    "CleanNet's average": {"weighter": "average", "verify": "0.05"},
    "URNet's class and cluster": {"weighter": ["urnet-class", "urnet-cluster"]},
    "URNet's instance": {"weighter": "urnet-instance", "side_info": "tfidf"},
    "URNet's label": {"corrector": "urnet-label"},
    "discriminant": {"weighter": "discriminant"},
    "SMP, then SINet": {"prototypes": "smp", "corrector": "smp", "weighter": "sinet"},
}


def work(args: argparse.Namespace) -> None:
    """One process: a label phase of every method; the first writes what came of it."""
    from noisyrun.engine import checkpoint
    from noisyrun.engine.world import World

    world = World.of_environment()
    with world.joined():
        for name in args.method:
            found = phase_of(METHODS[name], args, world)
            if world.first:
                checkpoint.save(args.worker / file_of(name), found)


def file_of(name: str) -> str:
    """Where the outcome of a method stands."""
    return f"{list(METHODS).index(name)}.safetensors"


def phase_of(chosen: Mapping[str, Any], args: argparse.Namespace, world: Any) -> dict[str, Any]:
    """One label phase: what it says of every sample, and seconds."""
    from noisyrun import bank as banks
    from noisyrun import data as datasets
    from noisyrun import plan as plans
    from noisyrun.api import Phase
    from noisyrun.bank.sizes import budget
    from noisyrun.config.resolve import resolve
    from noisyrun.engine.clock import Stopwatch, forget_peak_memory, peak_memory
    from noisyrun.engine.label_phase import run_label_phase
    from noisyrun.engine.sharing import encode_side_info

    cpu = torch.device("cpu")
    files = {} if args.classes is None else {"data.classes": str(args.classes)}
    config = resolve(
        {"dataset": str(args.features), "tracking": "none", "data.val": 0.0, "bank.residence": args.residence}
        | files
        | dict(chosen)
    )
    settings, methods = config.settings, plans.make_methods(config)
    data = datasets.load(settings)
    train = data.train
    assert train.features is not None
    assert train.logits is not None
    top = train.logits.float().softmax(1).topk(5, dim=1)
    kept = {"smoothing": (top.indices, top.values)}
    world.wait()
    clock, start = Stopwatch(), time.perf_counter()
    forget_peak_memory(cpu)
    bank = banks.build(
        train, train.features, train.logits, settings=settings.bank, device=cpu, predictions=kept, world=world
    )
    built = time.perf_counter()
    phase = Phase(device=cpu, memory=budget(settings.bank.memory, world) // 2)
    side = encode_side_info(methods.side_info, data.task, train.labelled_text, phase, world)
    encoded, worked = time.perf_counter(), time.process_time()
    state = run_label_phase(bank, methods, side, phase, settings, None, lambda _: None, clock, world)
    worked = time.process_time() - worked
    world.wait()
    ended = time.perf_counter()
    bank.close()
    found = {
        "weights": state.weights,
        "target_weights": state.target_weights,
        "targets": state.targets.dense(data.task.num_classes) * state.targets.alpha.unsqueeze(1),
        "corrected": torch.where(state.targets.alpha > 0, state.targets.top, train.labels.single),
        "wrong": torch.zeros(len(train), dtype=torch.bool) if state.wrong is None else state.wrong,
        "score": state.score,
    }
    digest = hashlib.sha256(b"".join(value.contiguous().numpy().tobytes() for value in found.values())).digest()
    digests = world.gather(torch.frombuffer(bytearray(digest), dtype=torch.uint8).unsqueeze(0))
    memory = world.gather(torch.tensor([peak_memory(cpu)["process"]]))
    return {
        **found,
        "same": len(digests.unique(dim=0)) == 1,
        "seconds": {
            "bank": built - start,
            "side": encoded - built,
            "phase": ended - encoded,
            "busiest": float(world.gather(torch.tensor([worked], dtype=torch.float64)).max()),
            "methods": dict(clock.seconds),
        },
        "memory": int(memory.max()),
    }


def compare(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """How far apart two outcomes are."""

    def gap(name: str) -> float:
        return float((one[name].double() - other[name].double()).abs().max())

    wide = one["target_weights"].shape == other["target_weights"].shape
    return {
        "weights": max(gap("weights"), gap("target_weights") if wide else float("inf")),
        "targets": gap("targets"),
        "score": gap("score"),
        "decisions": int((one["wrong"] != other["wrong"]).sum()),
        "corrected": int((one["corrected"] != other["corrected"]).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("--classes", type=Path, help="names and wnids of the classes, for SINet's relation")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--residence", choices=("auto", "memory", "disk"), default="auto")
    parser.add_argument("--method", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--json", type=Path, help="write what was found there, too")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        torch.set_num_threads(1)
        return work(args)
    from noisyrun.engine import checkpoint

    made: dict[int, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            results = Path(folder) / str(size)
            results.mkdir()
            words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
            words += [__file__, *sys.argv[1:], "--worker", str(results)]
            subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            made[size] = [checkpoint.load(results / file_of(name)) for name in args.method]
    rows = []
    for at, name in enumerate(args.method):
        for size in args.sizes:
            found = made[size][at]
            gaps = compare(made[args.sizes[0]][at], found)
            rows.append(
                {"method": name, "processes": size, **gaps, **{k: found[k] for k in ("same", "seconds", "memory")}}
            )
    show(rows)
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return None


def show(rows: list[dict[str, Any]]) -> None:
    """The table, as Markdown."""
    names = ("method", "processes", "weights", "targets", "decisions", "corrected", "all alike")
    print(f"| {' | '.join(names)} | bank s | side s | phase s | busiest s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        spent = row["seconds"]
        print(
            f"| {row['method']} | {row['processes']} | {row['weights']:.1e} | {row['targets']:.1e} "
            f"| {row['decisions']} | {row['corrected']} | {'yes' if row['same'] else 'NO'} "
            f"| {spent['bank']:.2f} | {spent['side']:.2f} | {spent['phase']:.2f} "
            f"| {spent['busiest']:.2f} |"
        )


if __name__ == "__main__":
    main()
