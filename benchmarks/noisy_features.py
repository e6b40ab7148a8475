"""Features of a network trained on noisy labels, as a file for `detect` and for heads.

    python benchmarks/noisy_features.py imagenet100-32 imagenet100-sym40.npz
    python benchmarks/noisy_features.py cifar10n cifar10n-aggre.npz --noise none --label aggre_label --clean-label label

Trains a small network on all training samples, with their labels flipped or with those of people, and writes features
and logits of both splits with the noisy and the clean labels. What docs/benchmarks calls imagenet100-sym40 was made by
the first line.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import noisyrun
from noisyrun.config.resolve import resolve
from noisyrun.data import load
from noisyrun.engine.evaluate import View, predictions
from noisyrun.engine.precision import Precision


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("dataset", type=Path)
    ask.add_argument("out", type=Path, help="npz to write")
    ask.add_argument("--noise", default="symmetric:0.4")
    ask.add_argument("--label", help="column of the noisy labels, with --noise none")
    ask.add_argument("--clean-label", help="column of the clean ones; found by its usual names by default")
    ask.add_argument("--epochs", type=int, default=7)
    ask.add_argument("--subset", type=int, help="so many training samples; all by default")
    ask.add_argument("--width", type=int, default=32)
    ask.add_argument("--amp", default="bf16")
    given = ask.parse_args()
    optimizer = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    settings = {
        "dataset": str(given.dataset),
        "noise": given.noise,
        "epochs": given.epochs,
        "batch_size": 128,
        "backbone": {"small-cnn": {"width": given.width, "depth": 4, "blocks": 1}},
        "train": {"amp": given.amp, "optimizer": optimizer},
        "augment": {"flip": True, "crop": 2},
        "eval": {"every": given.epochs},
        "data": {"val": 0.0, "subset": given.subset, "label": given.label, "clean_label": given.clean_label},
        "device": "cpu",
        "tracking": "none",
        "out": f"{given.out.with_suffix('')}-run",
    }
    folder = Path(settings["out"])
    done = noisyrun.resume(folder) if (folder / "checkpoint.safetensors").exists() else noisyrun.run(settings)
    data, cpu = load(resolve(settings).settings), torch.device("cpu")
    view = View(cpu, Precision(given.amp, cpu), data.mean, data.std)
    assert data.test is not None
    assert data.train.truth is not None
    arrays = {
        "classes": np.array(data.task.classes),
        "noisy_label": data.train.labels.single.numpy(),
        "clean_label": data.train.truth.single.numpy(),
        "test_label": data.test.labels.single.numpy(),
    }
    for prefix, samples in (("", data.train), ("test_", data.test)):
        features = torch.cat([values for _, values in predictions(done.network, samples, view, part="features")])
        with torch.no_grad():
            logits = done.network.eval().head(features)
        arrays |= {f"{prefix}features": features.half().numpy(), f"{prefix}logits": logits.half().numpy()}
    np.savez(given.out, **arrays)


if __name__ == "__main__":
    main()
