"""``noisyrun predict``: the classes of images, by a trained model."""

from __future__ import annotations

from typing import Any

from noisyrun.api.errors import UserError
from noisyrun.cli.common import complain, nothing_left, open_registry, wants_help
from noisyrun.config import flags
from noisyrun.engine.interrupt import stopped_at_once

USAGE = """\
noisyrun predict MODEL IMAGES… [--out FILE] [OPTIONS]

Predict the classes of images. MODEL is the folder of a finished run, or a file that noisyrun export wrote
(.safetensors, .onnx); IMAGES is a folder, read at any depth, or files, or one data set in any format that a run takes
(its test set, where it brings one). Each image is shown to the model as in the evaluation of its run.

  --out FILE           a row an image: .parquet, .csv or .jsonl; without it the first images are shown
  --overwrite          FILE may be there already
  --top N              name the N likeliest classes of each image (5)
  --threshold X        several labels an image: predict the classes of at least this probability (0.5)
  --on-bad-image stop  end at the first image that cannot be read; by default it has a row that says why
  --batch-size N       images at a time (128)
  --device, --amp      as --device and --train.amp of a run; the run's own precision by default
  --split train|test   which split of a data set
  --data.FIELD         of a data set, as in a run: noisyrun --help data

Where folders are named after classes, or the data set has labels, it says how many predictions are right.
Exit code: 0 all images were predicted, 1 some could not be read, 2 something is for you to mend."""

_NUMBERS: dict[str, type[int] | type[float]] = {"top": int, "threshold": float, "batch-size": int}
_WORDS = ("out", "device", "amp", "split", "on-bad-image")


@stopped_at_once()  # what is half-written is removed, as after any error
def main(words: list[str]) -> int:
    """Predict."""
    if wants_help(words):
        print(USAGE)
        return 0
    names = words[: next((place for place, word in enumerate(words) if word.startswith("--")), len(words))]
    given = flags.parse(words[len(names) :])
    if len(names) < 2:
        raise UserError("predict: name a model, then images: noisyrun predict runs/NAME photos/ --out predictions.csv")
    options: dict[str, Any] = {"overwrite": flags.take_switch(given, "overwrite")}
    for name, kind in _NUMBERS.items():
        value = flags.take(given, name)
        if value is not None:
            options[name.replace("-", "_")] = _number(name, value, kind)
    for name in _WORDS:
        value = flags.take(given, name)
        if value is not None:
            options[name.replace("-", "_")] = value
    registry = open_registry(given)
    complain(registry)
    of_data = [flag for flag in given if flag.path[0] == "data" or flag.name == "strict"]
    nothing_left(
        [flag for flag in given if flag not in of_data], [*_NUMBERS, *_WORDS, "overwrite", "data.format", "data.root"]
    )
    from noisyrun.prediction import predict
    from noisyrun.prediction.told import tell
    from noisyrun.report.console import Console

    found = predict(names[0], names[1:], **options, args=of_data, registry=registry, console=Console())
    tell(found)
    return 1 if found.unreadable else 0


def _number(name: str, value: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(value)
    except ValueError:
        raise UserError(f"--{name}: must be a number (got {value!r})") from None
