from dataclasses import replace

import pytest
import torch

from noisyrun.api import BAGS, MIX, UNIFORM
from noisyrun.config.settings import AugmentSettings, DataSettings, RunSettings
from noisyrun.data import images as images_module
from noisyrun.data import load
from noisyrun.data.loader import TrainLoader, eval_batches

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def _loader(samples, batch_size=32, batches=UNIFORM, augment=None, **options):
    return TrainLoader(
        samples,
        batches=batches,
        batch_size=batch_size,
        augment=augment or AugmentSettings(),
        seed=0,
        device="cpu",
        **{"mean": MEAN, "std": STD, **options},
    )


def _by_position(loader, n, epoch=0):
    """What each sample looked like in an epoch."""
    out = {}
    for batch in loader.epoch(epoch):
        for row in batch.mask.nonzero()[:, 0].tolist():
            out[int(batch.positions[row])] = batch.inputs[row]
    assert len(out) == n
    return torch.stack([out[position] for position in range(n)])


@pytest.mark.parametrize("policy", ["none", "randaugment", "autoaugment"])
def test_a_sample_looks_the_same_whatever_the_batches(make_samples, policy):
    samples, augment = make_samples(90), AugmentSettings(policy=policy)
    want = _by_position(_loader(samples, 32, augment=augment), 90)
    assert torch.equal(want, _by_position(_loader(samples, 7, augment=augment), 90))
    assert torch.equal(want, _by_position(_loader(samples, 31, BAGS(3), augment=augment), 90))


def test_a_sample_looks_different_in_another_epoch(make_samples):
    loader = _loader(make_samples(90))
    assert not torch.equal(_by_position(loader, 90, 0), _by_position(loader, 90, 1))


def test_a_clean_sample_that_comes_round_again_looks_different(make_samples):
    loader = _loader(make_samples(90, clean=2), 16, MIX(1, 7))
    seen = [batch.inputs[batch.positions == 0] for batch in loader.epoch(0)]
    looks = torch.cat(seen)
    assert len(looks) > 2
    assert len({tuple(look.flatten().tolist()) for look in looks}) == len(looks)


@pytest.mark.parametrize("batches", [UNIFORM, BAGS(3), MIX(1, 3)])
def test_an_epoch_goes_on_from_any_step_as_if_unbroken(make_samples, batches):
    loader = _loader(make_samples(100, clean=20), 16, batches)
    whole, rest = list(loader.epoch(2)), list(loader.epoch(2, start_step=3))
    assert len(whole) == loader.steps_per_epoch
    assert len(rest) == len(whole) - 3
    for a, b in zip(whole[3:], rest):
        assert torch.equal(a.positions, b.positions)
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.mask, b.mask)


def test_draws_do_not_depend_on_how_many_are_made_at_once(make_samples, monkeypatch):
    samples = make_samples(100)
    want = _by_position(_loader(samples), 100)
    monkeypatch.setattr("noisyrun.data.loader._DRAWN", 40)
    assert torch.equal(want, _by_position(_loader(samples), 100))


def test_without_augmentation_inputs_are_the_normalised_pixels(make_samples):
    samples = make_samples(40)
    got = _by_position(_loader(samples, augment=AugmentSettings(crop=0, flip=False)), 40)
    pixels = samples.images.resident.double() / 255
    want = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert torch.allclose(got.double(), want, atol=1e-5)
    assert got.dtype == torch.float32


def test_evaluation_gives_every_sample_in_order_unaugmented(make_samples):
    samples = make_samples(50)
    parts = list(eval_batches(samples, batch_size=16, device="cpu", mean=MEAN, std=STD))
    assert torch.cat([positions for positions, _ in parts]).tolist() == list(range(50))
    plain = _by_position(_loader(samples, augment=AugmentSettings(crop=0, flip=False)), 50)
    assert torch.equal(torch.cat([inputs for _, inputs in parts]), plain)


def test_evaluation_of_some_samples_gives_those(make_samples):
    parts = list(
        eval_batches(make_samples(50), batch_size=4, device="cpu", mean=(), std=(), positions=torch.tensor([9, 3]))
    )
    assert [positions.tolist() for positions, _ in parts] == [[9, 3]]
    assert float(parts[0][1].max()) <= 1.0


def test_another_resolution_resizes_both_kinds_of_batches(make_samples):
    samples = make_samples(20)
    loader = _loader(samples, resolution=24)
    assert next(iter(loader.epoch(0))).inputs.shape[2:] == (24, 24)
    _, inputs = next(eval_batches(samples, batch_size=5, device="cpu", mean=MEAN, std=STD, resolution=8))
    assert inputs.shape == (5, 3, 8, 8)


def test_features_come_as_they_are(make_samples):
    features = torch.randn(30, 5).half()
    samples = replace(make_samples(30), images=None, features=features)
    got = _by_position(_loader(samples, 8, mean=(), std=()), 30)
    assert got.dtype == torch.float32
    assert torch.equal(got, features.float())


@pytest.mark.parametrize("workers", [None, 0, 1, 3])
def test_images_read_as_needed_give_the_same_batches_for_any_number_of_workers(folder, monkeypatch, workers):
    settings = RunSettings(dataset=str(folder), data=DataSettings(val=0))
    held = load(settings)
    monkeypatch.setattr(images_module, "RESIDENT_BYTES", 0)
    lazy = load(settings)
    assert lazy.train.images.resident is None
    for epoch in (0, 1):
        want = list(_loader(held.train, 5).epoch(epoch))
        got = list(_loader(lazy.train, 5, workers=workers).epoch(epoch))
        assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(want, got, strict=True))


def test_images_read_as_needed_are_decoded_at_the_resolution_asked_for(folder, monkeypatch):
    monkeypatch.setattr(images_module, "RESIDENT_BYTES", 0)
    data = load(RunSettings(dataset=str(folder), data=DataSettings(val=0, image_size=8)))
    _, inputs = next(eval_batches(data.train, batch_size=4, device="cpu", mean=(), std=(), resolution=10))
    assert torch.equal(inputs, data.train.images.at(10).load(torch.arange(4)).float() * torch.tensor(1 / 255))


def test_breaking_off_an_epoch_leaves_no_thread_behind(folder, monkeypatch):
    import threading

    monkeypatch.setattr(images_module, "RESIDENT_BYTES", 0)
    data = load(RunSettings(dataset=str(folder), data=DataSettings(val=0)))
    before = threading.active_count()
    batches = _loader(data.train, 2, workers=2).epoch(0)
    next(batches)
    batches.close()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(5)
    assert threading.active_count() <= before


@pytest.mark.parametrize("batches", [UNIFORM, BAGS(3), MIX(1, 3)])
def test_processes_get_the_parts_of_a_batch_and_all_know_the_whole(make_samples, batches):
    samples = make_samples(101, clean=20)
    alone = _by_epoch(_loader(samples, 24, batches))
    parts = [_by_epoch(_loader(samples, 24, batches, rank=rank, processes=4)) for rank in range(4)]
    looks = {}
    for step, want in enumerate(alone):
        together = [part[step] for part in parts]
        assert len({len(batch.positions) for batch in together}) == 1
        whole = together[0].whole
        assert torch.equal(torch.cat([batch.positions for batch in together]), whole.positions)
        assert torch.equal(torch.cat([batch.mask for batch in together]), whole.mask)
        if whole.bags is not None:
            assert torch.equal(torch.cat([batch.bags for batch in together]), whole.bags)
        assert all(torch.equal(batch.whole.positions, whole.positions) for batch in together)
        for batch in together:
            looks |= {(step, int(p)): x for p, x, m in zip(batch.positions, batch.inputs, batch.mask) if m}
        for p, x, m in zip(want.positions, want.inputs, want.mask):
            if m:
                assert torch.equal(looks.pop((step, int(p))), x)
    assert not looks


def _by_epoch(loader):
    return list(loader.epoch(1))


def test_a_process_goes_on_from_any_step_as_if_unbroken(make_samples):
    loader = _loader(make_samples(101), 16, rank=1, processes=3)
    for one, other in zip(list(loader.epoch(0))[3:], loader.epoch(0, 3), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.positions, other.positions)
