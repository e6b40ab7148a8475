"""``noisyrun detect``: wrong labels on given features, training no backbone."""

from __future__ import annotations

from dataclasses import replace

from noisyrun.api.errors import UserError
from noisyrun.cli.common import configure, wants_help
from noisyrun.config import flags

USAGE = """\
noisyrun detect --features FILE [--prototypes NAME] [--weighter NAME] [--corrector NAME] [OPTIONS]

Find wrong labels on features made elsewhere, and correct them. No backbone is trained.

  --features FILE      .npz with features, noisy_label and, where there are some, logits and clean_label;
                       or .parquet with such columns. Without logits a linear head is fitted on the labels
  --prototypes, --weighter, --corrector, --side-info NAME
                       what judges the labels; their fields: noisyrun --weighter NAME --help
  --out DIR            where labels.parquet and summary.json go; a fresh folder under runs/ by default
  --verify, --clean    simulate verification labels, or a trusted clean subset, for a share of the samples;
                       --verify FILE reads a reviewer's verdicts: columns index, label, verdict
  --seed, --device, --noise, --config
                       as in a run
  --data.FIELD, --bank.FIELD, --weights.FIELD, --corrections.FIELD
                       as in a run: noisyrun --help GROUP

  noisyrun detect --features features.npz --prototypes smp --weighter sinet --corrector smp --out found"""

#: What makes sense without training: settings and groups, and the flags that every verb has.
OPTIONS = (
    ("side-info", "prototypes", "weighter", "corrector", "features", "dataset", "out", "seed", "device", "noise")
    + ("verify", "clean", "data", "bank", "weights", "corrections", "config", "strict", "recipe")
    + ("disable-plugins", "only-plugins")
)


def main(words: list[str]) -> int:
    """Find wrong labels."""
    if wants_help(words):
        print(USAGE)
        return 0
    given = [_renamed(flag) for flag in flags.parse(words)]
    if not any(flag.name == "dataset" for flag in given) and not any(flag.name == "config" for flag in given):
        raise UserError("detect: name the features: --features FILE (.npz or .parquet)")
    config = configure([*given, flags.Flag(("tracking",), "none")])
    from noisyrun.detection import detect_file

    try:
        detect_file(config)
    except UserError as error:
        raise UserError(str(error).replace("--dataset:", "--features:")) from None
    return 0


def _renamed(flag: flags.Flag) -> flags.Flag:
    """Features are the data set of a detection; options of training are refused."""
    from noisyrun.suggest import did_you_mean

    head = flag.path[0].replace("_", "-")
    if head == "features":
        return replace(flag, path=("dataset", *flag.path[1:]))
    if head not in OPTIONS:
        raise UserError(f"{flag.label}: no option of detect, which trains nothing{did_you_mean(head, OPTIONS, '--')}")
    return flag
