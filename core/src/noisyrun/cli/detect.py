"""``noisyrun detect``: find wrong labels on given features."""

from __future__ import annotations

from noisyrun import flags
from noisyrun.cli.common import configure, entries, wants_help

_OPTIONS = [
    ("--features FILE", "features [N, D], labels, optional logits and clean labels: .npz, .npy or .parquet"),
    ("--weighter NAME", "what judges the labels; several stack: --weighter a,b"),
    ("--corrector NAME", "what corrects them"),
    ("--prototypes NAME", "what builds the prototypes of the classes"),
    ("--side-info NAME", "what encodes names, descriptions and hierarchy of the classes"),
    ("--out DIR", "folder for labels.parquet and summary.json; a fresh one under runs/ by default"),
    ("--SOCKET.FIELD VALUE", "a setting of a plugin; noisyrun --weighter NAME --help lists them"),
    ("--bank.space SPACE", "raw, centred or whitened features"),
    ("--corrections.share S", "keep only this share of the changes, the surest"),
    ("--verify SHARE", "simulate verification labels from the clean ones"),
]


def main(words: list[str]) -> int:
    """Find wrong labels."""
    if wants_help(words):
        print("noisyrun detect --features FILE --weighter NAME [--corrector NAME] [--prototypes NAME] [--out DIR]\n")
        print("Finds wrong labels on given features, training no backbone.\n")
        print(entries(_OPTIONS))
        return 0
    given = [_as_setting(flag) for flag in flags.parse(words)]
    if not any(flag.path == ("tracking",) for flag in given):
        given.append(flags.Flag(("tracking",), "none"))
    config = configure(given)
    from noisyrun.detect import detect_file

    detect_file(config)
    return 0


def _as_setting(flag: flags.Flag) -> flags.Flag:
    return flags.Flag(("dataset",), flag.value) if flag.path == ("features",) else flag
