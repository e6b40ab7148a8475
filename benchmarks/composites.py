"""A data set with several labels a sample, made from one with a single label each.

Every composite shows two to four images of different classes in the cells of a 2 × 2 grid; cells left empty are
mid-grey. Its clean labels are the classes shown; its observed ones are those after noise, drawn by the framework's own
injection. Training composites are made of training images, test composites of validation images.

    python benchmarks/composites.py --source ../shared/data/imagenet100-32 --out composites
    noisyrun --dataset composites --backbone small-cnn

With ``--features OUT.npz`` a small backbone is then trained on the noisy labels, and the features, logits and labels of
both splits are written as one file for runs and detections on features alone:

    python benchmarks/composites.py --source ../shared/data/imagenet100-32 --out composites --features composites.npz
    noisyrun --dataset composites.npz --weighter NAME
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from PIL import Image

from noisyrun.api.labels import PAD, Labels
from noisyrun.config.noise import parse
from noisyrun.data import flips
from noisyrun.data.pairs import padded
from noisyrun.data.sources.parquet import class_names

GREY = 128
CELLS = 4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with train.parquet and val.parquet")
    parser.add_argument("--out", type=Path, required=True, help="folder for train.parquet and test.parquet")
    parser.add_argument("--train", type=int, default=12_000, help="training composites")
    parser.add_argument("--test", type=int, default=2_000, help="test composites")
    parser.add_argument("--classes", type=int, default=20, help="classes that take part, drawn by the seed")
    parser.add_argument("--tile", type=int, default=32, help="side of a cell in pixels; the canvas is twice as wide")
    parser.add_argument(
        "--noise", default="flip:0.3,0.05", help="as noisyrun --noise: flip:OFF,ON, flip-off:R, flip-on:R"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--features", type=Path, help="also train a backbone and write its features here (.npz)")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of the backbone")
    parser.add_argument("--width", type=int, default=16, help="width of the backbone")
    parser.add_argument("--amp", default="bf16", help="precision of its training")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    names = class_names(pq.read_schema(given.source / "train.parquet"), "label")
    assert names is not None, "the source must name its classes"
    chosen = np.sort(np.random.default_rng(given.seed).permutation(len(names))[: given.classes])
    kept = [names[c] for c in chosen]
    given.out.mkdir(parents=True, exist_ok=True)
    labels = {}
    for split, source, count in (("train", "train", given.train), ("test", "val", given.test)):
        images, shown = compose(given.source / f"{source}.parquet", chosen, count, given.tile, (given.seed, split))
        clean = Labels(shown)
        noisy = injected(clean, given.noise, len(kept), given.seed) if split == "train" else None
        write(given.out / f"{split}.parquet", images, clean, noisy, kept)
        labels[split] = (clean, noisy)
    clean, noisy = labels["train"]
    assert noisy is not None
    off, on = flips.shares(clean, noisy, len(kept))
    print(
        f"{given.out}: {given.train} + {given.test} composites of {len(kept)} classes; "
        f"{off:.1%} of the labels switched off, {on:.1%} of the absent ones on"
    )
    if given.features is not None:
        extract(given, labels, kept)


def compose(
    file: Path, chosen: np.ndarray, count: int, tile: int, seed: tuple[int, str]
) -> tuple[list[bytes], torch.Tensor]:
    """Composites as JPEG, and the classes each shows, int64 [count, 4] padded, numbered within those chosen."""
    table = pq.read_table(file)
    labels = table["label"].to_numpy()
    data = pc.struct_field(table["image"].combine_chunks(), "bytes")
    members = [np.flatnonzero(labels == c) for c in chosen]
    rng = np.random.default_rng([seed[0], len(seed[1])])
    images, rows, classes = [], [], []
    for number in range(count):
        some = rng.choice(len(chosen), int(rng.integers(2, CELLS + 1)), replace=False)
        canvas = Image.new("RGB", (2 * tile, 2 * tile), (GREY, GREY, GREY))
        for c, cell in zip(some, rng.permutation(CELLS)):
            one = Image.open(io.BytesIO(data[int(rng.choice(members[c]))].as_py())).convert("RGB")
            one = one if one.size == (tile, tile) else one.resize((tile, tile), Image.Resampling.BICUBIC)
            canvas.paste(one, (int(cell % 2) * tile, int(cell // 2) * tile))
        buffer = io.BytesIO()
        canvas.save(buffer, "JPEG", quality=95)
        images.append(buffer.getvalue())
        rows += [number] * len(some)
        classes += some.tolist()
    return images, padded(torch.tensor(rows), torch.tensor(classes), count)


def injected(clean: Labels, wanted: str, count: int, seed: int) -> Labels:
    """The labels after noise, as ``noisyrun --noise`` draws it."""
    spec = parse(wanted)
    if spec is None:
        return clean
    rates = (torch.full((count,), rate, dtype=torch.float64) for rate in (spec.rate, spec.on))
    return flips.flips(clean, *rates, torch.arange(len(clean)), seed)


def write(file: Path, images: list[bytes], clean: Labels, noisy: Labels | None, names: list[str]) -> None:
    """Parquet in the layout of Hugging Face, class names in its metadata."""
    columns = {"image": pa.array([{"bytes": one, "path": None} for one in images])}
    sets = {"noisy_labels": noisy, "clean_labels": clean}
    features: dict[str, object] = {"image": {"_type": "Image"}}
    for name, labels in sets.items():
        if labels is not None:
            columns[name] = pa.array([[c for c in row if c != PAD] for row in labels.classes.tolist()])
            features[name] = {"_type": "List", "feature": {"_type": "ClassLabel", "names": names}}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file)


def extract(given: argparse.Namespace, labels: dict[str, tuple[Labels, Labels | None]], names: list[str]) -> None:
    """Train on the noisy labels by binary cross entropy, and write features, logits and labels of both splits."""
    import noisyrun
    from noisyrun.config.resolve import resolve
    from noisyrun.data import load
    from noisyrun.engine.evaluate import View, predictions
    from noisyrun.engine.precision import Precision

    settings = {
        "dataset": str(given.out),
        "backbone": {"small-cnn": {"width": given.width, "depth": 5, "blocks": 0}},
        "train": {
            "amp": given.amp,
            "optimizer": {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-2},
            "schedule": {"name": "cosine", "warmup": 50},
        },
        "epochs": given.epochs,
        "eval": {"every": given.epochs},
        "seed": given.seed,
        "data": {"val": 0.0},
        "tracking": "none",
        "device": "cpu",
        "out": str(given.features.with_suffix("")) + "-run",
    }
    done = noisyrun.run(settings)
    last = done.summary["history"][-1]
    print("test mAP {test_map:.3f}, AP over all {test_ap_all:.3f}".format(**last))
    data = load(resolve(settings).settings)
    view = View(torch.device("cpu"), Precision("off", torch.device("cpu")), data.mean, data.std)
    arrays: dict[str, np.ndarray] = {"classes": np.array(names)}
    for split, samples, prefix in (("train", data.train, ""), ("test", data.test, "test_")):
        features = torch.cat([values for _, values in predictions(done.network, samples, view, part="features")])
        with torch.no_grad():
            arrays[prefix + "logits"] = done.network.eval().head(features).numpy()
        arrays[prefix + "features"] = features.half().numpy()
        clean, noisy = labels[split]
        arrays[prefix + "clean_labels"] = clean.multi_hot(len(names)).byte().numpy()
        if noisy is not None:
            arrays["noisy_labels"] = noisy.multi_hot(len(names)).byte().numpy()
    np.savez_compressed(given.features, **arrays)


if __name__ == "__main__":
    main()
