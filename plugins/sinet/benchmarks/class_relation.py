"""Print the nearest classes of some classes by SINet's class relation.

    python plugins/sinet/benchmarks/class_relation.py CLASSES.tsv --relation HW
    python plugins/sinet/benchmarks/class_relation.py CLASSES.tsv --relation CD+HW --model FOLDER-OR-HUB-ID

CLASSES.tsv has the columns label, wnid, words. WordNet is found through NLTK_DATA. CN and CD need the text plugin.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch

from noisyrun.api import Phase, SideInfo, Task, Text
from noisyrun_sinet.config import SinetSideInfoConfig
from noisyrun_sinet.side_info import SinetSideInfo

CLASSES = ("koala", "school bus", "cliff", "espresso", "Persian cat")


def read(path: Path) -> Text:
    """Names and wnids of the classes."""
    with path.open(newline="") as file:
        rows = sorted(csv.DictReader(file, delimiter="\t"), key=lambda row: int(row["label"]))
    return Text(tuple(row["words"].split(",")[0] for row in rows), tuple(row["wnid"] for row in rows))


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", type=Path)
    parser.add_argument("--relation", default="HW")
    parser.add_argument("--similarity", default="path")
    parser.add_argument("--model", help="text model for CN and CD")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of", nargs="+", default=CLASSES, help="classes whose neighbours to print")
    given = parser.parse_args()
    text, phase = read(given.classes), Phase(seed=given.seed)
    task, before = Task(text.names), SideInfo()
    if given.model:
        from noisyrun_text.config import TransformerConfig
        from noisyrun_text.transformer import TransformerSideInfo

        before = TransformerSideInfo(TransformerConfig(model=given.model))(task, text, before, phase)
    config = SinetSideInfoConfig(relation=given.relation, similarity=given.similarity, steps=given.steps)
    start = time.perf_counter()
    similarity = SinetSideInfo(config)(task, text, before, phase).class_similarity
    assert similarity is not None
    print(f"{given.relation} over {len(text.names)} classes: {time.perf_counter() - start:.1f} s")
    for name in given.of:
        c = text.names.index(name)
        row = similarity.take(torch.tensor([c]))[0]
        row[c] = -torch.inf
        best = row.topk(5)
        near = ", ".join(
            f"{text.names[i]} {value:.2f}" for i, value in zip(best.indices.tolist(), best.values.tolist())
        )
        print(f"{name}: {near}")


if __name__ == "__main__":
    main()
