"""A model as safetensors: what it holds, what it says, and that it comes back as it was."""

from __future__ import annotations

import io
import json
import shutil
import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import noisyrun
from noisyrun.api import UserError
from noisyrun.cli import main
from noisyrun.data.decode import decode
from noisyrun.data.loader import eval_batches
from noisyrun.exports.card import Card, Preprocessing
from noisyrun.report.console import Console

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a few digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    settings = {"tracking": "none", "data.subset": 200, "epochs": 1, "backbone.small-cnn.width": 4, "seed": 3}
    noisyrun.run({**settings, "backbone": "small-cnn", "out": str(out)}, console=QUIET)
    return out


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    """Its model."""
    path = tmp_path_factory.mktemp("models") / "digits.safetensors"
    noisyrun.export(run, "safetensors", path)
    return path


def card_of(path) -> dict:
    with safe_open(path, "pt") as opened:
        return json.loads(opened.metadata()["noisyrun"])


def rewritten(path, to, tensors=None, **changes):
    """The same model with another card, or other tensors."""
    content = {**card_of(path), **changes}
    save_file(load_file(path) if tensors is None else tensors, to, {"noisyrun": json.dumps(content)})
    return to


def test_a_model_comes_back_as_the_run_left_it(run, file):
    back, left = noisyrun.load_model(file), noisyrun.load_model(run)
    images = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(back(images), left(images))
    assert back.classes == left.classes
    assert not back.training
    assert not any(parameter.requires_grad for parameter in back.parameters())


def test_a_file_holds_the_network_and_nothing_else_of_the_run(run, file):
    names = set(load_file(file))
    assert {name.split(".")[0] for name in names} == {"extractor", "classifier"}
    assert file.stat().st_size < (run / "checkpoint.safetensors").stat().st_size / 2


def test_a_card_says_how_images_are_shown_and_how_good_the_weights_are(run, file):
    card, summary = card_of(file), json.loads((run / "summary.json").read_text())
    assert card["classes"][3] == "three"
    assert card["wnids"][3] == "n13744044"
    assert (card["labels"], card["scores"]) == ("single", "softmax")
    assert card["backbone"]["name"] == "small-cnn"
    assert card["backbone"]["settings"]["width"] == 4
    assert card["backbone"]["package"] == f"noisyrun {noisyrun.__version__}"
    assert card["measured"] == summary["accuracy"]
    assert card["run"]["id"] == summary["run_id"]
    assert card["weights"] == "last"
    how = card["preprocessing"]
    assert (how["channels"], how["height"], how["width"], how["side"]) == (1, 8, 8, None)
    assert 0.2 < how["mean"][0] < 0.4
    assert f"{how['mean'][0]:.9g}" in how["steps"][-1]
    assert "licence" in card


def test_a_loaded_model_shows_images_to_itself_as_the_loader_does(file):
    model = noisyrun.load_model(file)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 17), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    shown = model.preprocess(held.getvalue())
    how = model.card.preprocessing
    expected = torch.from_numpy(decode(io.BytesIO(held.getvalue()), 1, (8, 8)).copy()).float() / 255
    expected = (expected - how.mean[0]) / how.std[0]
    torch.testing.assert_close(shown, expected, atol=1e-5, rtol=0)
    assert torch.equal(model.preprocess(Image.fromarray(pixels)), shown)
    held.seek(0)
    assert torch.equal(model.preprocess(held), shown)


def test_a_pil_image_is_shown_as_its_file_is(file):
    model = noisyrun.load_model(file)
    draw = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, form in (("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "GIF"), ("I;16", "PNG")):
        pixels = draw.integers(0, 256, (14, 9, 4), dtype=np.uint8)
        made = Image.fromarray(pixels, "RGBA").convert("RGB" if mode in ("CMYK", "P") else "L" if "I" in mode else mode)
        held = io.BytesIO()
        made.convert(mode).save(held, form, **({"exif": exif} if form == "JPEG" else {}))
        opened = Image.open(io.BytesIO(held.getvalue()))
        assert torch.equal(model.preprocess(opened), model.preprocess(held.getvalue())), mode


def test_what_is_no_image_is_one_line(file, tmp_path):
    model = noisyrun.load_model(file)
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"cannot read .*x\.png: not an image that Pillow knows"):
        model.preprocess(tmp_path / "x.png")
    with pytest.raises(UserError, match="must be a path, bytes, an open file or a PIL image"):
        model.preprocess(3)


def test_a_file_in_the_way_and_a_wrong_ending_are_refused_and_nothing_is_half_written(run, tmp_path, capsys):
    there = tmp_path / "there.safetensors"
    there.write_text("mine")
    assert main(["export", str(run), "safetensors", "--to", str(there)]) == 2
    assert there.read_text() == "mine"
    assert main(["export", str(run), "safetensors", "--to", str(tmp_path / "model.pt")]) == 2
    assert main(["export", str(run), "safetensors", "--to", str(tmp_path / "m.safetensors"), "--raw"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert ["is there already" in lines[0], "must end in .safetensors" in lines[1], "--raw" in lines[2]] == [True] * 3
    assert len(lines) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.safetensors"]


def test_a_run_that_has_not_finished_has_no_model_yet(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    status = json.loads((run / "status.json").read_text())
    (tmp_path / "run" / "status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    with pytest.raises(UserError, match=r"has not finished.*noisyrun resume"):
        noisyrun.export(tmp_path / "run", "safetensors", tmp_path / "m.safetensors")


def damaged(file, tmp_path):
    """Files that are no model, and what is said of them."""
    whole = file.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    found = {}
    for name, content in (("short", whole[:-40]), ("header", whole[: length // 2]), ("noise", b"\x00\x01" * 90)):
        found[name] = (tmp_path / f"{name}.safetensors", "damaged, or no safetensors file")
        found[name][0].write_bytes(content)
    save_file({"a": torch.ones(1)}, tmp_path / "bare.safetensors")
    found["bare"] = (tmp_path / "bare.safetensors", "not a model that noisyrun exported")
    found["format"] = (rewritten(file, tmp_path / "f.safetensors", format="noisyrun-model/9"), "another format")
    found["field"] = (rewritten(file, tmp_path / "x.safetensors", more=1), "damaged .more: Extra inputs")
    std = {**card_of(file)["preprocessing"], "std": [0.0]}
    found["std"] = (rewritten(file, tmp_path / "s.safetensors", preprocessing=std), "std above 0")
    classes = rewritten(file, tmp_path / "c.safetensors", classes=["a", "b"], wnids=None)
    found["classes"] = (classes, r"classifier\.\w+ is .* in the network it names")
    fewer = load_file(file)
    fewer.pop("classifier.bias")
    found["tensor"] = (
        rewritten(file, tmp_path / "t.safetensors", fewer),
        "1 tensors do not agree; one: classifier.bias",
    )
    other = {**card_of(file)["backbone"], "name": "resnet-of-yore"}
    huge = {**card_of(file)["backbone"], "settings": {"width": 1 << 20}}  # 60 TB
    found["huge"] = (rewritten(file, tmp_path / "h.safetensors", backbone=huge), r"extractor\.\S+ is .* it names")
    beyond = {**card_of(file)["backbone"], "settings": {"width": 1 << 40}}
    found["beyond"] = (rewritten(file, tmp_path / "b.safetensors", backbone=beyond), r"its network cannot be built \(")
    unknown = {**card_of(file)["backbone"], "settings": {"widht": 4}}
    found["setting"] = (rewritten(file, tmp_path / "u.safetensors", backbone=unknown), r"cannot be built: .*widht")
    found["plugin"] = (rewritten(file, tmp_path / "p.safetensors", backbone=other), "no backbone 'resnet-of-yore'")
    (tmp_path / "m.pt").write_bytes(b"\x80\x04.")
    found["pickle"] = (tmp_path / "m.pt", "refused unopened")
    found["absent"] = (tmp_path / "none.safetensors", "no such file")
    return found


@pytest.mark.parametrize(
    "case",
    [
        "short",
        "header",
        "noise",
        "bare",
        "format",
        "field",
        "std",
        "classes",
        "tensor",
        "huge",
        "setting",
        "plugin",
        "pickle",
        "absent",
    ],
)
def test_what_is_damaged_or_strange_is_one_line(case, file, tmp_path):
    path, says = damaged(file, tmp_path)[case]
    with pytest.raises(UserError, match=says) as refused:
        noisyrun.load_model(path)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(str(path))


def assert_loads_or_refuses(path) -> bool:
    """Whether a model loads; if not, it is said in one line."""
    said = None
    try:
        model = noisyrun.load_model(path)
    except UserError as error:
        said = str(error)
    assert said is None or ("\n" not in said and said.startswith(str(path)))
    assert said is not None or model.classes
    return said is None


def test_whatever_stands_in_a_card_it_loads_or_is_refused_in_one_line(file, tmp_path):
    card, loaded = card_of(file), 0
    odd = (None, -1, 0, 10**9, 1e308, "", "\x1b[31m\n", [], {}, [None], True)
    for key in (*card, *(f"preprocessing.{key}" for key in card["preprocessing"]), "backbone.settings", "more"):
        for value in odd:
            changed, _, last = json.loads(json.dumps(card)), *key.rpartition(".")[1:]
            (changed[key.partition(".")[0]] if "." in key else changed)[last] = value
            loaded += assert_loads_or_refuses(rewritten(file, tmp_path / "m.safetensors", **changed))
    assert 10 < loaded < len(odd) * (len(card) + 4)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_is_broken_in_a_file_it_loads_or_is_refused_in_one_line(file, tmp_path, breaks):
    content = bytearray(file.read_bytes())
    for place, byte in breaks:
        content[place] = byte
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert_loads_or_refuses(path)


def test_a_checkpoint_is_told_from_a_model(run):
    with pytest.raises(UserError, match="name the folder of its run"):
        noisyrun.load_model(run / "checkpoint.safetensors")


def shown_as(**changes) -> Preprocessing:
    return Preprocessing(channels=3, height=10, width=20, mean=(0.5,) * 3, std=(0.5,) * 3, **changes)


def test_a_second_size_is_said_in_words_only_where_there_is_one():
    assert shown_as().size == (10, 20)
    assert shown_as(side=15).size == (15, 30)
    assert len(shown_as(side=15).in_words()) == len(shown_as().in_words()) + 1
    assert "15 × 30" in shown_as(side=15).in_words()[3]


def test_a_card_needs_images_or_features(file):
    content = card_of(file)
    with pytest.raises(UserError, match="either features, or preprocessing"):
        Card.read({"noisyrun": json.dumps({**content, "features": 3})}, file)


def test_building_a_model_draws_nothing_from_the_callers_generator(file):
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    noisyrun.load_model(file)
    assert torch.equal(torch.rand(1), before)


def test_normalising_is_that_of_evaluation_bit_for_bit(run):
    from noisyrun.config.resolve import resolve
    from noisyrun.data import load

    data = load(resolve(config=run / "config.json").settings, to_train=False)
    model = noisyrun.load_model(run)
    how = model.card.preprocessing
    (_, shown), *_ = eval_batches(data.test, batch_size=7, device="cpu", mean=how.mean, std=how.std)
    assert torch.equal(model.preprocess.normalise(data.test.images.load(torch.arange(7))), shown)
