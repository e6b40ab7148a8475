"""``noisyrun evaluate``: a finished run on its test set, without training."""

from __future__ import annotations

import json
from pathlib import Path

from noisyrun.api.errors import UserError
from noisyrun.cli.common import complain, open_registry, wants_help
from noisyrun.config import flags

USAGE = """\
noisyrun evaluate DIR [--eval.crops 10] [--eval.ensemble DIR,DIR] [OPTIONS] [--json]

Evaluate the finished run in DIR on its test set, without training: the network as it stood after the last epoch, alone
and on images as they are; and averaged over the views and networks that are asked for. Nothing is written.

  --eval.crops N         5 or 10 crops of each image: corners and centre, and those mirrored
  --eval.crop-share X    side of a crop relative to that of the image
  --eval.flip            each image and its mirror image
  --eval.scales X,Y      each image in several sizes relative to its own, such as 1.0,1.14
  --eval.ensemble A,B    average with the networks in the folders of other finished runs on the same classes
  --data.test PATH       another test set;  --data.root, --data.workers, --device, --train.amp: as in a run
  --json                 as JSON"""


def main(words: list[str]) -> int:
    """Evaluate the run in a folder."""
    if wants_help(words):
        print(USAGE)
        return 0
    if not words or words[0].startswith("-"):
        raise UserError("evaluate: name the folder of the run first: noisyrun evaluate runs/NAME")
    folder = Path(words[0])
    if not folder.is_dir():
        raise UserError(f"evaluate: no folder {folder}")
    given = flags.parse(words[1:])
    as_json = flags.take_switch(given, "json")
    registry = open_registry(given)
    complain(registry)
    from noisyrun.evaluation import evaluate
    from noisyrun.report.console import Console

    record = evaluate(folder, args=given, registry=registry, console=Console(quiet=True) if as_json else Console())
    if as_json:
        print(json.dumps(record, indent=2))
    return 0
