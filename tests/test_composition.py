"""Any fit with any: every weighter × prototypes × corrector × side information runs, or is refused before training."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

import noisyrun
from noisyrun.api import UserError
from noisyrun.runner import Run

WEIGHTERS = (None, "sinet")
PROTOTYPES = (None, "sinet", "smp")
CORRECTORS = (None, "sinet", "smp")
#: No side information; TF-IDF and, on it, SINet's relation of descriptions and the data's own tree.
SIDES: dict[str, dict[str, Any]] = {"bare": {}, "sided": {"tfidf": {}, "sinet": {"steps": 3}}}

#: Methods that work on prototypes only; prototypes that need a class relation.
ON_PROTOTYPES = {("weighter", "sinet"), ("corrector", "smp")}
ON_RELATION = {"sinet"}

#: A stage that keeps predictions for the smoothing corrector, and one with a label phase.
STAGES = [
    {"name": "warmup", "epochs": 1, "keep_predictions": "smoothing"},
    {"name": "rounds", "epochs": 1, "label_phase": "every:1"},
]

TREE = """child\tparent
zero\tround
six\tround
eight\tround
nine\tround
one\tstraight
two\tstraight
three\tstraight
four\tstraight
five\tstraight
seven\tstraight
round\tdigit
straight\tdigit
"""


def settings(folder: Path, **sockets: Any) -> dict[str, Any]:
    """A run of two short epochs on a few digits."""
    tree = folder / "tree.tsv"
    tree.write_text(TREE)
    return {
        "data": {"subset": 150, "tree": str(tree)},
        "backbone": {"small-cnn": {"width": 4, "depth": 2, "blocks": 0}},
        "stages": STAGES,
        "batch_size": 64,
        "device": "cpu",
        "tracking": "none",
        "out": str(folder / "run"),
        **{socket: chosen for socket, chosen in sockets.items() if chosen},
    }


def hold(run: Run, *, judged: bool, corrected: bool) -> None:
    """What every finished run leaves."""
    assert 0 <= run.summary["accuracy"]["last"] <= 1
    assert all(math.isfinite(epoch["loss"]) for epoch in run.summary["history"])
    labels = run.labels
    assert labels["index"].is_monotonic_increasing
    assert labels["weight"].ge(0).all()
    assert labels["quality"].notna().all()
    assert (run.summary["detection"]["auroc"] is not None) == judged
    assert (run.summary["label_accuracy"]["after"] is not None) == corrected
    if not corrected:
        assert (labels["corrected"] == labels["observed"]).all()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("prototypes", "weighter", "corrector"),
    list(itertools.product(PROTOTYPES, WEIGHTERS, CORRECTORS)),
    ids=lambda name: name or "none",
)
def test_every_combination_runs_or_is_refused_before_training(
    prototypes: str | None, weighter: str | None, corrector: str | None, side: str, tmp_path: Path
) -> None:
    config = settings(tmp_path, prototypes=prototypes, weighter=weighter, corrector=corrector, side_info=SIDES[side])
    lacks_prototypes = prototypes is None and ON_PROTOTYPES & {("weighter", weighter), ("corrector", corrector)}
    lacks_relation = prototypes in ON_RELATION and side == "bare"
    if not lacks_prototypes and not lacks_relation:
        hold(noisyrun.run(config), judged=bool(weighter or corrector), corrected=corrector is not None)
        return
    with pytest.raises(UserError) as refused:
        noisyrun.run(config)
    for line in str(refused.value).splitlines():
        assert " needs " in line
        assert "add --" in line
    assert not (tmp_path / "run").exists()


def test_prototypes_take_their_class_relation_from_texts_alone(tmp_path: Path) -> None:
    config = settings(tmp_path, prototypes="sinet", weighter="sinet", side_info="tfidf")
    hold(noisyrun.run(config), judged=True, corrected=False)


def test_correctors_stack_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    runs = {}
    for order in (("sinet", "smp"), ("smp", "sinet")):
        folder = tmp_path / "-".join(order)
        folder.mkdir()
        chosen: dict[str, Any] = {name: {} for name in order}
        runs[order] = noisyrun.run(settings(folder, prototypes="smp", weighter="sinet", corrector=chosen))
        hold(runs[order], judged=True, corrected=True)
    first, second = (run.labels["corrected"] for run in runs.values())
    assert not first.equals(second)


def test_a_backbone_of_a_plugin_takes_any_methods(tmp_path: Path) -> None:
    config = settings(tmp_path, prototypes="smp", weighter="sinet", corrector="smp")
    config["backbone"] = {"timm": {"model": "test_resnet"}}
    hold(noisyrun.run(config), judged=True, corrected=True)


def test_prototypes_from_verified_samples_and_a_clean_subset_run_to_the_end(tmp_path: Path) -> None:
    config = settings(tmp_path, prototypes="smp", weighter="sinet", corrector="smp")
    config |= {"verify": "0.2", "clean": "0.1"}
    config["stages"] = [*STAGES, {"name": "finetune", "epochs": 1, "samples": "clean", "targets": "trusted"}]
    run = noisyrun.run(config)
    hold(run, judged=True, corrected=True)
    assert [epoch["stage"] for epoch in run.summary["history"]] == ["warmup", "rounds", "finetune"]
