"""Checkpoints: what goes in comes out, and what is no checkpoint is refused in one line."""

import json
import pickle
import struct

import pytest
import torch

from noisyrun.api import NoisyrunError, UserError
from noisyrun.engine import checkpoint


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    shared = torch.arange(6.0).reshape(2, 3)
    tree = {
        "a": shared,
        "tied": shared,
        "nested": {"list": [1, None, torch.tensor(3)], "text": "é", "flag": True, "rate": 0.1},
        "empty": torch.zeros(0, 4),
        "transposed": shared.T,
        "bits": torch.tensor([True, False]),
    }
    checkpoint.save(path, tree)
    return path, tree


def test_a_tree_comes_back_as_it_was(saved):
    path, tree = saved
    back = checkpoint.load(path)
    assert torch.equal(back["a"], tree["a"])
    assert torch.equal(back["tied"], tree["a"])
    assert torch.equal(back["transposed"], tree["a"].T)
    assert back["nested"]["list"][:2] == [1, None]
    assert int(back["nested"]["list"][2]) == 3
    assert back["nested"]["text"] == "é"
    assert back["nested"]["rate"] == 0.1
    assert back["empty"].shape == (0, 4)
    assert back["bits"].dtype == torch.bool


def test_no_temporary_file_is_left(saved):
    path, _ = saved
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failed_write_leaves_the_checkpoint_before(saved):
    path, tree = saved
    with pytest.raises(NoisyrunError, match="tensors and JSON"):
        checkpoint.save(path, {"a": object()})
    assert torch.equal(checkpoint.load(path)["a"], tree["a"])


class Trap:
    """Says so when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return (_spring, ())


def _spring():
    Trap.sprung = True


@pytest.mark.parametrize(
    "write", [lambda p: torch.save({"w": Trap()}, p), lambda p: p.write_bytes(pickle.dumps(Trap()))]
)
def test_a_pickle_is_refused_unopened(tmp_path, write):
    path = tmp_path / "checkpoint.safetensors"
    write(path)
    with pytest.raises(UserError, match=r"pickle.*refused unopened"):
        checkpoint.load(path)
    assert not Trap.sprung


@pytest.mark.parametrize("begins", [b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"])
def test_a_checkpoint_whose_length_begins_as_a_pickle_does_is_read(tmp_path, begins):
    path, tree = tmp_path / "checkpoint.safetensors", {"pad": "", "value": torch.arange(3)}
    checkpoint.save(path, tree)
    while not path.read_bytes().startswith(begins):  # the digits of its checksums take more room or less each time
        tree["pad"] += "-" * (
            (int.from_bytes(begins, "little") - int.from_bytes(path.read_bytes()[:2], "little")) % 65536
        )
        checkpoint.save(path, tree)
    assert checkpoint.load(path)["value"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused(saved, share):
    path, _ = saved
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"cut short|not a noisyrun checkpoint") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_safetensors_of_someone_else_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "checkpoint.safetensors"
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="not a checkpoint of this version"):
        checkpoint.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "none")


def damaged(entry, content="{}"):
    header = {"__metadata__": {"format": checkpoint.FORMAT, "content": content}, "a": entry}
    packed = json.dumps(header).encode()
    return struct.pack("<Q", len(packed)) + packed + bytes(4)


WHOLE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "content",
    [
        damaged({**WHOLE, "dtype": "F99"}),
        damaged({"dtype": "F32", "shape": [1]}),
        damaged("text"),
        damaged(WHOLE, content="{"),
        damaged(WHOLE, content='{"b": {"$tensor": "b"}}'),
    ],
)
def test_a_header_that_makes_no_sense_is_a_damaged_checkpoint(tmp_path, content):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="the checkpoint is damaged") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_a_tree_that_is_no_runs_is_refused():
    with pytest.raises(UserError, match="lacks config, digests, network, progress"):
        checkpoint.check_fits({"classes": []}, "c", classes=(), digests={}, config={})


def fits(**changes):
    saved = {"classes": ["a", "b"], "digests": {"labels": "1"}, "config": {"epochs": 3, "train": {"lr": 0.1}}}
    saved |= {"progress": {}, "network": {}}
    now = {"classes": ("a", "b"), "digests": {"labels": "1"}, "config": {"epochs": 3, "train": {"lr": 0.1}}}
    checkpoint.check_fits(saved, "c", **(now | changes))


def test_a_checkpoint_of_this_run_fits():
    fits()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ("a", "b", "c")}, "2 classes, but the data has 3"),
        ({"classes": ("a", "z")}, "class 1 is 'b' there, but 'z'"),
        ({"digests": {"labels": "2"}}, "data changed.*labels"),
        ({"config": {"epochs": 3, "train": {"lr": 0.2}}}, "another configuration.*train.lr"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        fits(**changes)


def test_a_network_of_another_shape_is_refused(tmp_path):
    module = torch.nn.Linear(3, 2)
    with pytest.raises(UserError, match="shape"):
        checkpoint.load_module(module, torch.nn.Linear(3, 5).state_dict(), tmp_path / "c")
    with pytest.raises(UserError, match="another network"):
        checkpoint.load_module(module, {"weight": module.weight}, tmp_path / "c")


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one == other


def test_a_bit_that_flips_anywhere_is_noticed_or_changes_nothing(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    tree = {
        "network": {"w": torch.arange(12.0).reshape(3, 4), "n": torch.tensor(3)},
        "labels": {"clean": torch.tensor([True, False]), "half": torch.ones(2, dtype=torch.bfloat16)},
        "progress": {"steps": 7, "history": [1.5, "ä"]},
    }
    checkpoint.save(path, tree)
    whole, noticed = path.read_bytes(), 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            assert same(checkpoint.load(path), tree), at
        except UserError:
            noticed += 1
        path.write_bytes(whole[:at])
        with pytest.raises(UserError):
            checkpoint.load(path)
    assert noticed > 0.9 * len(whole)


def test_a_checkpoint_from_before_there_were_checksums_is_read(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "checkpoint.safetensors"
    content = json.dumps({"network": {"w": {"$tensor": "network/w"}}})
    save_file({"network/w": torch.ones(2)}, path, metadata={"format": checkpoint.FORMAT, "content": content})
    assert torch.equal(checkpoint.load(path)["network"]["w"], torch.ones(2))


def test_branches_that_are_read_alone_are_held_against_their_own_checksums(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, {"network": {"w": torch.ones(64)}, "labels": {"w": torch.ones(64)}})
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\xff")  # the last tensor by name: that of the network
    assert checkpoint.load(path, only=("labels",))["network"]["w"] is None
    with pytest.raises(UserError, match="checksum of network"):
        checkpoint.load(path, only=("network",))


def test_a_checkpoint_may_be_read_by_whoever_may_read_the_run(tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    checkpoint.save(tmp_path / "checkpoint.safetensors", {"network": {"w": torch.ones(2)}})
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
