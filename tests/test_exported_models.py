"""Models of plugins leave a run, and come back: other backbones, and heads that parts bring."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import noisyrun
from noisyrun.report.console import Console

QUIET = Console(quiet=True)
FEW = {"tracking": "none", "data.subset": 60, "epochs": 1, "batch_size": 30}


def trained(out: Path, **settings: object) -> Path:
    given = {name.replace("__", "."): value for name, value in settings.items()}
    noisyrun.run(FEW | given | {"out": str(out)}, console=QUIET)
    return out


def same_everywhere(run: Path, where: Path, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Hold safetensors and ONNX against the run's own network; the tensors of the file."""
    own = noisyrun.load_model(run)
    with torch.no_grad():
        expected = own(images)
    noisyrun.export(run, "safetensors", where / "m.safetensors")
    with torch.no_grad():
        assert torch.equal(noisyrun.load_model(where / "m.safetensors")(images), expected)
    runtime = pytest.importorskip("onnxruntime")
    noisyrun.export(run, "onnx", where / "m.onnx")
    session = runtime.InferenceSession(str(where / "m.onnx"), providers=["CPUExecutionProvider"])
    for part, wanted in zip(images.split(3), expected.split(3), strict=True):
        (found,) = session.run(None, {"images": part.numpy()})
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)
    return load_file(where / "m.safetensors")


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_a_timm_model_needs_no_starting_weights_to_come_back(model: str, tmp_path: Path) -> None:
    weights = tmp_path / "start.safetensors"
    save_file(timm.create_model(model, in_chans=1).state_dict(), weights)
    settings = {"backbone": "timm", "backbone__model": model, "backbone__weights": str(weights)}
    run = trained(tmp_path / "run", data__image_size=32, **settings)
    weights.unlink()
    same_everywhere(run, tmp_path, torch.rand(8, 1, 32, 32))
    card = noisyrun.load_model(tmp_path / "m.safetensors").card
    assert card.preprocessing.mean == (0.5,)  # the weights' own, not the data's
    assert card.backbone.settings["weights"] is None
    last = noisyrun.evaluate(run)["plain"]["accuracy"]
    assert noisyrun.predict(tmp_path / "m.safetensors", "digits").measures["accuracy"] == pytest.approx(last, abs=1e-12)


def test_the_head_that_a_part_brings_leaves_and_what_only_its_loss_reads_stays(tmp_path: Path) -> None:
    settings = {"corrector": "noisereg", "clean": "0.3", "backbone": "small-cnn", "backbone__width": 4}
    run = trained(tmp_path / "run", **settings)
    tensors = same_everywhere(run, tmp_path, torch.rand(8, 1, 8, 8))
    assert {name for name in tensors if not name.startswith("extractor.")} == {
        f"parts.corrector/noisereg.clean.{layer}.{kind}" for layer in ("inner", "outer") for kind in ("weight", "bias")
    }
    card = noisyrun.load_model(tmp_path / "m.safetensors").card
    assert (card.head.socket, card.head.name) == ("corrector", "noisereg")
    assert (card.loss, card.scores) == ("cross-entropy", "softmax")
    last = noisyrun.evaluate(run)["plain"]["accuracy"]
    assert noisyrun.predict(run, "digits").measures["accuracy"] == pytest.approx(last, abs=1e-12)


def test_methods_that_only_judge_labels_leave_nothing_in_a_model(tmp_path: Path) -> None:
    settings = {"weighter": "sinet", "prototypes": "smp", "backbone": "small-cnn", "backbone__width": 4}
    run = trained(tmp_path / "run", **settings)
    noisyrun.export(run, "safetensors", tmp_path / "m.safetensors")
    assert {name.split(".")[0] for name in load_file(tmp_path / "m.safetensors")} == {"extractor", "classifier"}
    assert noisyrun.load_model(tmp_path / "m.safetensors").card.head is None


def test_a_model_from_elsewhere_makes_no_plugin_read_or_download_weights(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", backbone="timm", backbone__model="test_resnet", data__image_size=32)
    noisyrun.export(run, "safetensors", tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        card = json.loads(file.metadata()["noisyrun"])
    for change in ({"weights": str(tmp_path / "secret.safetensors")}, {"pretrained": True}):
        settings = {**card["backbone"]["settings"], "small_stem": True, **change}
        changed = {**card, "backbone": {**card["backbone"], "settings": settings}}
        save_file(load_file(tmp_path / "m.safetensors"), tmp_path / "x.safetensors", {"noisyrun": json.dumps(changed)})
        # There is no such file, and no network: had anything been read, this would fail.
        assert noisyrun.load_model(tmp_path / "x.safetensors").classes == tuple(card["classes"])
