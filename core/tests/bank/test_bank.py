"""The feature bank: blocks, classes, residence, space, and what the classifier says."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from noisyrun import bank as banks
from noisyrun.api import PAD, Labels, Task, Text, UserError
from noisyrun.bank.sizes import choose_residence, parse_memory
from noisyrun.config.settings import BankSettings
from noisyrun.data.samples import Samples, no_labels
from noisyrun.testing import make_bank

CPU = torch.device("cpu")


def samples(n: int = 60, classes: int = 4, seed: int = 0, **fields: object) -> Samples:
    draw = torch.Generator().manual_seed(seed)
    made = Samples(
        task=Task(tuple("abcdefgh"[:classes])),
        index=torch.arange(n) * 3 + 5,
        labels=Labels.of(torch.randint(0, classes, (n,), generator=draw)),
        verified=torch.full((n,), -1, dtype=torch.int8),
        verified_held=torch.zeros(n, dtype=torch.bool),
        trusted=no_labels(n),
        clean=torch.zeros(n, dtype=torch.bool),
        text=Text(tuple("abcdefgh"[:classes])),
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def features_of(n: int = 60, dim: int = 7, seed: int = 1) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def built(folder: Path | None = None, n: int = 60, **settings: object) -> banks.StoredBank:
    logits = torch.randn(n, 4, generator=torch.Generator().manual_seed(2))
    chosen = BankSettings(**settings)  # type: ignore[arg-type]
    return banks.build(samples(n), features_of(n), logits, settings=chosen, device=CPU, folder=folder)


@pytest.mark.parametrize("size", [1, 7, 60, 100])
def test_blocks_of_any_size_put_together_are_all_features_in_order(size: int) -> None:
    bank = built()
    blocks = list(bank.blocks(size=size))
    assert torch.equal(torch.cat([b.features for b in blocks]), features_of())
    assert torch.equal(torch.cat([b.rows for b in blocks]), torch.arange(60))
    assert torch.equal(torch.cat([b.index for b in blocks]), samples().index)


def test_blocks_over_some_rows_keep_their_order_and_repeats() -> None:
    rows = torch.tensor([5, 3, 3, 59, 0])
    blocks = list(built().blocks(rows, size=2))
    assert [len(b) for b in blocks] == [2, 2, 1]
    assert torch.equal(torch.cat([b.features for b in blocks]), features_of()[rows])
    assert torch.equal(torch.cat([b.observed for b in blocks]), samples().labels.single[rows])


def test_neighbouring_rows_in_memory_are_read_without_a_copy() -> None:
    store = built().store
    whole = store.slice(0, 60, CPU)
    part = store.read(torch.arange(10, 20), CPU)
    assert part.data_ptr() == whole[10].data_ptr()


def test_a_block_grows_with_the_memory_it_may_take() -> None:
    assert built(memory="1GB").block_rows > built(memory="4MB").block_rows >= 1


@pytest.mark.parametrize("space", ["raw", "centred", "whitened"])
def test_a_bank_on_disk_gives_what_one_in_memory_gives_to_half_precision(tmp_path: Path, space: str) -> None:
    memory = built(residence="memory", space=space)
    disk = built(tmp_path, residence="disk", space=space)
    rows = torch.tensor([40, 2, 17, 2])
    assert disk.take(rows).features.dtype == torch.float32
    torch.testing.assert_close(disk.take(rows).features, memory.take(rows).features, rtol=5e-3, atol=5e-3)
    torch.testing.assert_close(next(disk.blocks()).features, next(memory.blocks()).features, rtol=5e-3, atol=5e-3)
    assert torch.equal(disk.top_classes, memory.top_classes)


def test_the_file_of_a_bank_on_disk_is_a_half_precision_array(tmp_path: Path) -> None:
    settings = BankSettings(residence="disk")
    bank = banks.build(
        samples(), features_of(), torch.zeros(60, 4), settings=settings, device=CPU, folder=tmp_path, keep=True
    )
    bank.close()
    (file,) = tmp_path.iterdir()
    values = np.load(file, mmap_mode="r", allow_pickle=False)
    assert (values.shape, values.dtype) == ((60, 7), np.float16)


def test_a_bank_on_disk_leaves_no_file_behind_however_its_process_ends(tmp_path: Path) -> None:
    bank = built(tmp_path, residence="disk")
    assert list(tmp_path.iterdir()) == []
    torch.testing.assert_close(bank.take(torch.tensor([59])).features, features_of()[59:], rtol=5e-3, atol=5e-3)
    bank.close()


def test_a_bank_that_the_disk_has_no_room_for_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"no room for a feature bank .*the disk is full.*--bank\.memory"):
        built(tmp_path, residence="disk")
    assert list(tmp_path.iterdir()) == []


def test_a_bank_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    settings = BankSettings(residence="disk")
    features = features_of()
    features[31, 2] = 1e6
    with pytest.raises(UserError, match=r"sample 98 .* too large for a bank on disk"):
        banks.build(samples(), features, torch.zeros(60, 4), settings=settings, device=CPU, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused_by_sample(value: float) -> None:
    features = features_of()
    features[2, 1] = value
    with pytest.raises(UserError, match="sample 11 has a value that is not finite"):
        banks.build(samples(), features, torch.zeros(60, 4), settings=BankSettings(), device=CPU)


def test_features_and_labels_of_different_length_are_refused() -> None:
    with pytest.raises(UserError, match="features: 59 rows, but there are 60 labels"):
        banks.build(samples(), features_of(59), torch.zeros(60, 4), settings=BankSettings(), device=CPU)


def test_logits_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(UserError, match=r"logits: must have shape \[60, 4\]"):
        banks.build(samples(), features_of(), torch.zeros(60, 5), settings=BankSettings(), device=CPU)


def test_half_precision_features_in_memory_stay_half_precision_and_come_as_floats() -> None:
    bank = banks.build(samples(), features_of().half(), torch.zeros(60, 4), settings=BankSettings(), device=CPU)
    assert bank.store.features.dtype == torch.float16  # type: ignore[attr-defined]
    assert torch.equal(next(bank.blocks()).features, features_of().half().float())


def test_rows_of_a_class_are_those_of_its_label_ascending() -> None:
    bank = built()
    for c in range(4):
        assert torch.equal(bank.of_class(c), (bank.labels.single == c).nonzero()[:, 0])
    assert torch.equal(bank.class_counts(), torch.bincount(bank.labels.single, minlength=4))


def test_a_class_without_samples_has_no_rows() -> None:
    bank = make_bank(torch.eye(4), [0, 0, 3, 3], 5)
    assert [len(bank.of_class(c)) for c in range(5)] == [2, 0, 0, 2, 0]


def test_multi_label_rows_of_a_class_are_its_positives() -> None:
    labels = torch.tensor([[0, 2], [2, PAD], [PAD, PAD], [1, 2]])
    bank = make_bank(torch.eye(4), labels, 3, multi=True)
    assert bank.of_class(2).tolist() == [0, 1, 3]
    assert bank.of_class(0).tolist() == [0]
    assert bank.label_probs[2].tolist() == [0, 0]


def test_a_sample_without_a_label_is_in_no_class() -> None:
    bank = make_bank(torch.eye(3), [0, PAD, 1], 2)
    assert bank.of_class(0).tolist() == [0]
    assert bank.of_class(1).tolist() == [2]


def test_shuffled_samples_give_the_same_block_for_the_same_samples() -> None:
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    plain = make_bank(features_of(), samples().labels, 4, space="whitened")
    shuffled = make_bank(features_of()[order], samples().labels.take(order), 4, space="whitened")
    torch.testing.assert_close(shuffled.take(torch.arange(60)).features, plain.take(order).features)
    assert torch.equal(order[shuffled.of_class(1)].sort().values, plain.of_class(1))


def test_centred_features_have_mean_zero() -> None:
    block = next(built(space="centred").blocks())
    torch.testing.assert_close(block.features.mean(0), torch.zeros(7), atol=1e-5, rtol=0)


def test_whitened_features_have_unit_covariance_and_the_axes_of_the_raw_ones() -> None:
    mix = torch.eye(7) + 0.2 * torch.randn(7, 7, generator=torch.Generator().manual_seed(4))
    features = torch.randn(4000, 7, generator=torch.Generator().manual_seed(5)) @ mix + 10
    bank = make_bank(features, torch.zeros(4000, dtype=torch.int64), 1, space="whitened")
    white = next(bank.blocks(size=4000)).features
    torch.testing.assert_close(white.T.cov(), torch.eye(7), atol=0.02, rtol=0)
    assert bool((torch.linalg.eigvalsh(bank.space.matrix) > 0).all())  # type: ignore[union-attr,arg-type]


def test_whitening_survives_fewer_samples_than_features() -> None:
    bank = make_bank(features_of(5, 40), [0, 0, 1, 1, 1], 2, space="whitened")
    assert bool(torch.isfinite(next(bank.blocks()).features).all())


def test_the_classifier_says_the_same_in_blocks_as_at_once() -> None:
    logits = torch.randn(60, 4, generator=torch.Generator().manual_seed(2))
    bank = built(top=3)
    probs = logits.softmax(1)
    torch.testing.assert_close(bank.label_probs[:, 0], probs[torch.arange(60), bank.labels.single])
    best = probs.topk(3)
    assert torch.equal(bank.top_classes, best.indices)
    torch.testing.assert_close(bank.top_probs, best.values)


def test_the_classifier_of_a_multi_label_task_speaks_in_sigmoids() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.0]])
    bank = make_bank(torch.ones(1, 2), torch.tensor([[1, 2]]), 3, logits=logits, multi=True)
    torch.testing.assert_close(bank.label_probs, logits.sigmoid()[:, [1, 2]])


def test_verification_is_split_once_and_for_all() -> None:
    bank = make_bank(torch.eye(4), [0, 0, 1, 1], 2, verified=[1, 0, 1, -1], held=[False, False, True, True])
    assert bank.verified().tolist() == [1, 0, 1, -1]
    assert bank.verified("train").tolist() == [1, 0, -1, -1]
    assert bank.verified("held").tolist() == [-1, -1, 1, -1]
    assert bank.take(torch.tensor([2, 1])).verified.tolist() == [-1, 0]


def test_unknown_predictions_say_which_there_are() -> None:
    kept = {"smooth": (torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1))}
    bank = make_bank(torch.eye(2), [0, 1], 2, predictions=kept)
    assert bank.take(torch.tensor([1])).predictions("smooth")[1].tolist() == [[1.0]]
    with pytest.raises(UserError, match=r"'smoth' \(kept: smooth\)"):
        bank.predictions("smoth")


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("512MiB", 512 << 20), ("1.5 GB", 1_500_000_000), ("4096KB", 4_096_000)]
)
def test_memory_is_read_in_powers_of_1000_and_1024(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["2", "GB", "-1GB", "5B"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--bank\.memory"):
        parse_memory(text)


def test_features_go_to_disk_when_they_take_more_than_half_the_budget() -> None:
    assert choose_residence("auto", 400_000, CPU, 1_000_000) == "memory"
    assert choose_residence("auto", 600_000, CPU, 1_000_000) == "disk"


def test_a_bank_on_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="gpu needs a GPU"):
        choose_residence("gpu", 1, CPU, 1 << 30)


class Net(nn.Module):
    """A network with what a bank must not touch: dropout, and batch norm frozen in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3), nn.BatchNorm1d(3).eval())
        self.head = nn.Linear(3, 4)

    def features(self, inputs: Tensor) -> Tensor:
        return self.body(inputs)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Inputs [60, 6], given in batches in place of the data loader's."""
    loader = pytest.importorskip("noisyrun.data.loader")
    inputs = features_of(60, 6)

    def eval_batches(given: Samples, *, batch_size: int, **_: object) -> object:
        for rows in torch.arange(len(given)).split(batch_size):
            yield rows, inputs[rows]

    monkeypatch.setattr(loader, "eval_batches", eval_batches)
    return inputs


@pytest.mark.parametrize("residence", ["memory", "disk"])
def test_extraction_is_without_dropout_and_leaves_every_module_in_its_mode(
    batches: Tensor, tmp_path: Path, residence: str
) -> None:
    torch.manual_seed(0)
    net = Net().train()
    net.body[2].eval()
    bank = banks.extract(
        net,
        samples(),
        settings=BankSettings(residence=residence),  # type: ignore[arg-type]
        device=CPU,
        folder=tmp_path,
        batch_size=17,
    )
    assert (net.training, net.body[0].training, net.body[2].training) == (True, True, False)
    net.eval()
    with torch.no_grad():
        want = net.features(batches)
        probs = net.head(want).softmax(1)
    torch.testing.assert_close(next(bank.blocks()).features, want, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(bank.label_probs[:, 0], probs[torch.arange(60), bank.labels.single])


def test_a_network_that_gives_nan_is_refused_by_sample(batches: Tensor) -> None:
    batches[20, 0] = float("nan")
    with pytest.raises(UserError, match="sample 65 has a value that is not finite"):
        banks.extract(Net(), samples(), settings=BankSettings(), device=CPU, batch_size=16)
