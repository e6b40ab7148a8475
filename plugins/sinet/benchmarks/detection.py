"""How well SINet's weight and its consistency score find wrong labels, on features made elsewhere.

    python plugins/sinet/benchmarks/detection.py FEATURES.npz --classes airplane automobile ...

The file holds features, logits, noisy_label and clean_label. WordNet is found through NLTK_DATA.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score, roc_auc_score

from noisyrun.api import SideInfo, Text
from noisyrun.testing import make_bank, make_phase
from noisyrun_sinet.config import SinetPrototypesConfig, SinetSideInfoConfig, SinetWeighterConfig
from noisyrun_sinet.prototypes import SinetPrototypes
from noisyrun_sinet.side_info import SinetSideInfo
from noisyrun_sinet.weighter import SinetWeighter

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--classes", nargs="+", default=CIFAR10, help="class names, looked up in WordNet")
    given = parser.parse_args()
    data = np.load(given.features, allow_pickle=False)
    wrong = data["noisy_label"] != data["clean_label"]
    labels = torch.from_numpy(data["noisy_label"])
    names, phase = tuple(given.classes), make_phase()
    logits = torch.from_numpy(data["logits"]).float()
    bank = make_bank(torch.from_numpy(data["features"]), labels, len(names), logits=logits, classes=names)
    side = SinetSideInfo(SinetSideInfoConfig(relation="HW"))(bank.task, Text(names), SideInfo(), phase)
    start = time.perf_counter()
    prototypes = SinetPrototypes(SinetPrototypesConfig())(bank, side, phase)
    print(f"prototypes: {time.perf_counter() - start:.2f} s")
    for score in ("weight", "consistency"):
        method = SinetWeighter(SinetWeighterConfig.model_validate({"score": score}))
        start = time.perf_counter()
        method.fit(bank, prototypes, side, phase)
        made = method(bank.take(torch.arange(len(bank))), labels, prototypes, side)
        seconds = time.perf_counter() - start
        ranked = made.weights if score == "weight" else made.score
        assert ranked is not None
        assert made.wrong is not None
        print(
            f"{score}: AUROC {roc_auc_score(wrong, -ranked.numpy()):.4f}, "
            f"F1 {f1_score(wrong, made.wrong.numpy()):.4f}, {seconds:.2f} s"
        )


if __name__ == "__main__":
    main()
