"""Noise for several labels a sample."""

import numpy as np
import pytest
import torch

from noisyrun.api import PAD, UserError
from noisyrun.api.labels import Labels
from noisyrun.config.noise import NoiseSpec, parse
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import flips, load, noise
from noisyrun.data.noise_manifest import NoiseManifest
from noisyrun.data.pairs import padded

N, C = 600, 4
INDEX = torch.arange(N) * 2 + 3


def listed(mask):
    rows, classes = mask.nonzero(as_tuple=True)
    return padded(rows, classes, len(mask))


def drawn(share=0.3, seed=0):
    return torch.rand(N, C, generator=torch.Generator().manual_seed(seed)) < share


def rates(*values):
    return torch.tensor(values, dtype=torch.float64)


HOT = drawn()
KNOWN = drawn(0.7, seed=1)


@pytest.mark.parametrize("partial", [False, True])
def test_each_class_loses_and_gets_exactly_its_share_of_known_labels(partial):
    known = KNOWN if partial else torch.ones_like(HOT)
    labels = Labels(listed(HOT & known), listed(known) if partial else None)
    off, on = rates(0.5, 0.25, 0.0, 1.0), rates(0.0, 0.1, 0.5, 0.03)
    after = flips.flips(labels, off, on, INDEX, seed=2).multi_hot(C).bool()
    for c in range(C):
        had, lacked = HOT[:, c] & known[:, c], ~HOT[:, c] & known[:, c]
        assert int((had & ~after[:, c]).sum()) == round(float(off[c]) * int(had.sum()))
        assert int((lacked & after[:, c]).sum()) == round(float(on[c]) * int(lacked.sum()))
    assert not (after & ~known).any()


def test_flips_agree_with_a_plain_loop():
    labels = Labels(listed(HOT))
    after = flips.flips(labels, rates(*[0.4] * C), rates(*[0.2] * C), INDEX, seed=5).multi_hot(C).bool()
    want = HOT.clone()
    for c in range(C):
        for kind, mask, rate in (("off", HOT[:, c], 0.4), ("on", ~HOT[:, c], 0.2)):
            rows = mask.nonzero()[:, 0].tolist()
            draws = noise.order(noise.key("noise", kind, 5, c), INDEX[rows]).tolist()
            for place in draws[: round(rate * len(rows))]:
                want[rows[place], c] = kind == "on"
    assert torch.equal(after, want)


def test_flips_are_seeded_and_follow_the_sample_not_its_place():
    labels, some = Labels(listed(HOT)), torch.randperm(N, generator=torch.Generator().manual_seed(4))
    off = on = rates(*[0.3] * C)
    first = flips.flips(labels, off, on, INDEX, 0).multi_hot(C)
    assert torch.equal(first, flips.flips(labels, off, on, INDEX, 0).multi_hot(C))
    assert not torch.equal(first, flips.flips(labels, off, on, INDEX, 1).multi_hot(C))
    assert torch.equal(first[some], flips.flips(labels.take(some), off, on, INDEX[some], 0).multi_hot(C))


def test_shares_count_pairs():
    before = Labels(torch.tensor([[0, 1], [2, PAD]]), torch.tensor([[0, 1, 2], [2, 3, PAD]]))
    after = Labels(torch.tensor([[0, 2], [2, PAD]]), before.known)
    assert flips.shares(before, after, C) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert flips.shares(Labels(before.classes), Labels(after.classes), C) == (
        pytest.approx(1 / 3),
        pytest.approx(1 / 5),
    )


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("flip-off:0.3", NoiseSpec("flip-off", 0.3)),
        ("flip-on:0.02", NoiseSpec("flip-on", on=0.02)),
        ("flip:0.3,0.02", NoiseSpec("flip", 0.3, 0.02)),
        ("flip:0,0.02", NoiseSpec("flip", 0.0, 0.02)),
        ("flip", NoiseSpec("flip")),
    ],
)
def test_the_grammar_of_flips_reads_back(text, spec):
    assert parse(text) == spec
    assert str(spec) == text


@pytest.mark.parametrize(
    "text", ["flip:0.3", "flip:0.3,", "flip:0,0", "flip:1,0.1", "flip:a,b", "flip:nan,0.1", "flip:-0.1,0.2"]
)
def test_flips_without_two_rates_are_one_clear_line(text):
    with pytest.raises(UserError, match=r"--noise: flip needs the rates of labels switched off and on") as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.fixture
def archive(tmp_path):
    """Features of samples with several labels."""
    draw = np.random.default_rng(0)
    hot = HOT.numpy().astype(np.uint8)
    np.savez(tmp_path / "f.npz", features=draw.normal(size=(N, 3)).astype(np.float32), labels=hot)
    return tmp_path / "f.npz"


def loaded(path, **settings):
    data = {"val": 0.0, **settings.pop("data", {})}
    return load(RunSettings(dataset=str(path), data=DataSettings(**data), **settings))


def test_a_run_switches_labels_off_and_on_and_says_so(archive):
    data = loaded(archive, noise="flip:0.4,0.1", seed=3)
    after = data.train.labels.multi_hot(C).bool()
    assert torch.equal(data.train.truth.multi_hot(C).bool(), HOT)
    assert abs(float((HOT & ~after).sum() / HOT.sum()) - 0.4) < 0.01
    assert abs(float((~HOT & after).sum() / (~HOT).sum()) - 0.1) < 0.01
    assert "of the labels switched off" in data.notes[0]
    assert "of the absent ones on; those given count as clean" in data.notes[0]


def test_rates_by_class_come_from_a_table(archive, tmp_path):
    table = tmp_path / "rates.csv"
    table.write_text("class,off,on\n1,0.5,0\n3,0,0.25\n")
    after = loaded(archive, noise="flip", data={"noise_matrix": table}).train.labels.multi_hot(C).bool()
    lost, got = (HOT & ~after).sum(0), (~HOT & after).sum(0)
    assert lost.tolist() == [0, round(0.5 * int(HOT[:, 1].sum())), 0, 0]
    assert got.tolist() == [0, 0, 0, round(0.25 * int((~HOT[:, 3]).sum()))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class,off\n0,0.5\n", r"must have columns 'class', 'off' and 'on' \(it has class, off\)"),
        ("class,off,on\n0,0.5,0\n7,0.5,0\n", r"row 2 of .* names '7', which is no class"),
        ("class,off,on\n0,0.5,0\n1,0.5,two\n", r"row 2 of .*, column 'on': a rate must be in \[0, 1\] \(got 'two'\)"),
        ("class,off,on\n0,1.5,0\n", r"row 1 of .*, column 'off': a rate must be in \[0, 1\] \(got '1.5'\)"),
    ],
)
def test_a_wrong_table_of_rates_is_one_clear_line(archive, tmp_path, text, words):
    table = tmp_path / "rates.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=words):
        loaded(archive, noise="flip", data={"noise_matrix": table})


def test_rates_are_given_once(archive, tmp_path):
    with pytest.raises(UserError, match=r"--noise flip needs rates"):
        loaded(archive, noise="flip")
    with pytest.raises(UserError, match=r"goes with --noise flip, without rates, not with flip-off:0.2"):
        loaded(archive, noise="flip-off:0.2", data={"noise_matrix": tmp_path / "rates.csv"})


def test_a_manifest_of_several_labels_gives_them_again(archive, tmp_path):
    data = loaded(archive, noise="flip:0.4,0.1", seed=3)
    data.noise.save(tmp_path / "noise.parquet")
    again = loaded(archive, seed=8, data={"noise_file": tmp_path / "noise.parquet", "subset": 200})
    whole = data.train.labels.multi_hot(C)
    assert torch.equal(again.train.labels.multi_hot(C), whole[again.train.index])
    all_again = loaded(archive, seed=8, data={"noise_file": tmp_path / "noise.parquet"})
    assert all_again.digests["noise"] == data.digests["noise"]
    assert all_again.digests["labels"] == data.digests["labels"]


def test_a_manifest_of_several_labels_is_held_against_the_data(archive, tmp_path):
    data = loaded(archive, noise="flip-off:0.4")
    path = tmp_path / "noise.parquet"
    data.noise.save(path)
    with pytest.raises(UserError, match=r"was made for data with several labels a sample; this data has one label"):
        load(RunSettings(dataset="digits", data=DataSettings(noise_file=path)))
    manifest = NoiseManifest.load(path)
    other = manifest.before.clone()
    row = int((other[:, 0] == PAD).nonzero()[0])
    other[row, 0] = 2
    with pytest.raises(UserError, match=rf"sample {row} was without label there and is '2' here \(1 differ\)"):
        manifest.apply(manifest.index, other, tuple(manifest.header["classes"]), "noise.parquet")
    NoiseManifest(manifest.header, manifest.index, manifest.before, manifest.after.flip(0)).save(path)
    with pytest.raises(UserError, match=r"was changed since it was written"):
        NoiseManifest.load(path)


def test_what_was_not_known_before_noise_is_not_known_after(tmp_path):
    known = KNOWN.numpy().astype(np.uint8)
    hot = HOT.numpy().astype(np.uint8)
    np.savez(tmp_path / "f.npz", features=np.ones((N, 2), np.float32), noisy_labels=hot, known=known, clean_labels=hot)
    data = loaded(tmp_path / "f.npz", noise="flip:0.2,0.2")
    assert torch.equal(data.train.labels.known_mask(C), KNOWN)
    assert not (data.train.labels.multi_hot(C).bool() & ~KNOWN).any()
    assert data.train.truth.known is None
