"""Results folders that no run made: a suite, and what each of its cells is to have measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from noisyrun.bench.positions import Position, positions
from noisyrun.bench.store import Expanded, Place, Result, Results, measures
from noisyrun.bench.suite import Suite

#: From a position to its summary; None: the cell has not ended; text: it failed, and why.
Outcome = Callable[[Position], Mapping[str, Any] | str | None]

MACHINE = {"host": "one", "processor": "a processor", "threads": 1}


def suite(**values: Any) -> Suite:
    """A suite of cross entropy and two methods on one data set, but for what is given."""
    return Suite.model_validate(
        {
            "title": "A suite",
            "data": [{"name": "digits"}],
            "method": [{"name": "A", "weighter": "a"}, {"name": "B", "weighter": "b"}],
            **values,
        }
    )


def summary(accuracy: float, /, **parts: Any) -> dict[str, Any]:
    """A summary of a run on two classes, but for what is given; tables are laid over each other."""
    made: dict[str, Any] = {
        "accuracy": {"last": accuracy, "best_noisy_val": accuracy, "oracle": accuracy},
        "seconds": {"train": 1.0, "total": 2.0},
        "data": {
            "classes": 2,
            "labels": "single",
            "train": 100,
            "val": 10,
            "test": 50,
            "digests": {"labels": "l", "inputs": "i"},
        },
        "config": {
            "seed": 0,
            "epochs": 3,
            "batch_size": 64,
            "train": {"label_smoothing": 0.0, "finetune_epochs": 0},
            "augment": {"flip": None},
            "backbone": {"small-cnn": {"width": 32}},
            "weighter": {},
            "corrector": {},
        },
    }
    return laid(made, parts)


def laid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two tables, the second over the first."""
    both = {
        name: laid(below[name], value) if isinstance(value, Mapping) and isinstance(below.get(name), Mapping) else value
        for name, value in above.items()
    }
    return {**below, **both}


def folder(path: Path, of: Suite, outcome: Outcome, what: Mapping[str, Mapping[str, Any]] | None = None) -> Results:
    """A results folder.

    Unless it is said otherwise, the log-likelihood goes with the seed: a run of another seed is another measurement.

    Parameters
    ----------
    what
        By method, the identity of its cells.
    """
    results = Results(path)
    places = []
    for position in positions(of):
        cell = hashlib.sha256(str(position).encode()).hexdigest()[:16]
        places.append(
            Place(
                method=position.method,
                data=position.data,
                noise=position.noise,
                seed=position.seed,
                cell=cell,
                tuned=position.tuned,
                swept=dict(position.swept),
            )
        )
        came = outcome(position)
        if isinstance(came, Mapping):
            came = laid({"calibration": {"nll": {"last": position.seed / 8}}}, came)
        _write(results, cell, came, (what or {}).get(position.method, {}))
    results.save_suite(Expanded(suite=of, command="noisyrun bench suite.toml", places=tuple(places)))
    return results


def _write(results: Results, cell: str, made: Mapping[str, Any] | str | None, what: Mapping[str, Any]) -> None:
    run = results.cell(cell) / "run"
    run.mkdir(parents=True)
    results.describe(cell, what)
    if made is None:
        return
    if isinstance(made, str):
        results.keep(Result(cell=cell, status="failed", error=made, machine=MACHINE))
        return
    summed = {name: value for name, value in made.items() if name != "machine"}
    (run / "summary.json").write_text(json.dumps(summed))
    results.keep(
        Result(
            cell=cell,
            status="finished",
            measures=measures(summed),
            machine={**MACHINE, **made.get("machine", {})},
            started=str(made.get("started", "2026-11-21T00:00:00Z")),
            ended="2026-11-21T00:01:00Z",
        )
    )
