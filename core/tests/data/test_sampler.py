import pytest
import torch

from noisyrun.api import BAGS, MIX, UNIFORM, UserError
from noisyrun.api.labels import Labels
from noisyrun.data.sampler import Sampler


def _batches(sampler, epoch=0):
    rows = sampler.epoch(epoch)
    parts = rows.positions.split(sampler.rows_per_batch)
    assert len(parts) == sampler.steps_per_epoch
    return rows, parts


def test_uniform_batches_show_every_sample_once(make_samples):
    rows, parts = _batches(Sampler(make_samples(100), UNIFORM, 32, seed=0))
    assert sorted(rows.positions.tolist()) == list(range(100))
    assert [len(part) for part in parts] == [32, 32, 32, 4]
    assert rows.mask is None


def test_a_last_batch_of_one_gets_a_masked_second_row(make_samples):
    rows, parts = _batches(Sampler(make_samples(65), UNIFORM, 32, seed=0))
    assert [len(part) for part in parts] == [32, 32, 2]
    assert rows.mask.tolist() == [True] * 65 + [False]
    assert sorted(rows.positions[rows.mask].tolist()) == list(range(65))


def test_order_changes_with_epoch_and_seed_and_nothing_else(make_samples):
    samples = make_samples(100)
    first = Sampler(samples, UNIFORM, 32, seed=0).epoch(0).positions
    assert torch.equal(first, Sampler(samples, UNIFORM, 7, seed=0).epoch(0).positions)
    assert not torch.equal(first, Sampler(samples, UNIFORM, 32, seed=0).epoch(1).positions)
    assert not torch.equal(first, Sampler(samples, UNIFORM, 32, seed=1).epoch(0).positions)


def test_a_choice_of_samples_keeps_their_order(make_samples):
    samples, chosen = make_samples(100), torch.arange(0, 100, 3)
    whole = Sampler(samples, UNIFORM, 32, seed=0).epoch(4).positions
    some = Sampler(samples, UNIFORM, 32, seed=0, positions=chosen).epoch(4).positions
    assert some.tolist() == [p for p in whole.tolist() if p % 3 == 0]


def test_no_samples_at_all_is_an_error(make_samples):
    with pytest.raises(UserError, match=r"no samples to train on"):
        Sampler(make_samples(10), UNIFORM, 4, seed=0, positions=torch.zeros(0, dtype=torch.int64))


def test_bags_hold_one_class_each_and_show_every_sample_once(make_samples):
    samples = make_samples(101, classes=5)
    sampler = Sampler(samples, BAGS(3), 32, seed=0)
    rows, _ = _batches(sampler)
    assert sampler.rows_per_batch == 30
    assert sorted(rows.positions[rows.mask].tolist()) == list(range(101))
    labels = samples.labels.single[rows.positions].reshape(-1, 3)
    assert bool((labels == labels[:, :1]).all())
    assert bool(rows.mask.reshape(-1, 3)[:, 0].all())
    for bags in rows.bags.split(sampler.rows_per_batch):
        assert bags.tolist() == [n // 3 for n in range(len(bags))]


def test_at_most_one_bag_a_class_is_filled_up(make_samples):
    samples = make_samples(101, classes=5)
    rows = Sampler(samples, BAGS(4), 32, seed=0).epoch(2)
    short = ~rows.mask.reshape(-1, 4).all(1)
    classes = samples.labels.single[rows.positions].reshape(-1, 4)[short, 0]
    assert len(classes) == len(classes.unique())


def test_bags_are_drawn_anew_each_epoch(make_samples):
    sampler = Sampler(make_samples(101), BAGS(3), 32, seed=0)
    assert not torch.equal(sampler.epoch(0).positions, sampler.epoch(1).positions)


def test_a_sample_of_several_classes_is_in_a_bag_of_one_of_them(make_samples):
    from dataclasses import replace

    samples = make_samples(60)
    first = torch.arange(60) % 4
    labels = torch.stack([first, (first + 1) % 4, torch.full((60,), -1)], 1)
    samples = replace(samples, labels=Labels(labels))
    rows = Sampler(samples, BAGS(2), 8, seed=0).epoch(0)
    assert sorted(rows.positions[rows.mask].tolist()) == list(range(60))
    for bag, mask in zip(rows.positions.reshape(-1, 2), rows.mask.reshape(-1, 2)):
        if bool(mask.all()):
            assert set(labels[bag[0], :2].tolist()) & set(labels[bag[1], :2].tolist())


def test_a_mix_has_its_ratio_in_every_full_batch(make_samples):
    samples = make_samples(100, clean=20)
    sampler = Sampler(samples, MIX(1, 3), 16, seed=0)
    rows, parts = _batches(sampler)
    assert sampler.steps_per_epoch == 7  # 80 noisy samples, 12 a batch
    for part in parts[:-1]:
        assert int(samples.clean[part].sum()) == 4
    noisy = rows.positions[~samples.clean[rows.positions]]
    assert sorted(noisy.tolist()) == list(range(20, 100))


def test_clean_samples_come_round_again_only_when_all_have_been_shown(make_samples):
    samples = make_samples(100, clean=5)
    rows = Sampler(samples, MIX(1, 3), 16, seed=0).epoch(0)
    clean = samples.clean[rows.positions]
    shown = rows.positions[clean].tolist()
    for start in range(0, len(shown) - 4, 5):
        assert sorted(shown[start : start + 5]) == [0, 1, 2, 3, 4]
    assert rows.repeats[clean].tolist() == [n // 5 for n in range(len(shown))]


def test_a_mix_needs_both_kinds_and_room_for_both(make_samples):
    with pytest.raises(UserError, match=r"need a trusted clean subset: --clean 0.05"):
        Sampler(make_samples(20), MIX(1, 9), 10, seed=0)
    with pytest.raises(UserError, match=r"need samples outside the clean subset"):
        Sampler(make_samples(20, clean=20), MIX(1, 9), 10, seed=0)
    with pytest.raises(UserError, match=r"--batch-size 1"):
        Sampler(make_samples(20, clean=4), MIX(1, 9), 1, seed=0)


def test_a_mix_with_fewer_noisy_samples_than_a_batch_holds_is_one_short_batch(make_samples):
    samples = make_samples(10, clean=4)
    rows, parts = _batches(Sampler(samples, MIX(1, 3), 16, seed=0))
    assert len(parts) == 1
    assert sorted(rows.positions.tolist()) == list(range(10))


def _parts(rows, sampler):
    """The rows of each process, batch by batch: (positions, mask, bags) of [processes, n]."""
    for positions, mask, bags in zip(
        rows.positions.split(sampler.rows_per_batch),
        rows.mask.split(sampler.rows_per_batch),
        (rows.positions if rows.bags is None else rows.bags).split(sampler.rows_per_batch),
    ):
        yield tuple(one.view(sampler.processes, -1) for one in (positions, mask, bags))


@pytest.mark.parametrize("processes", [2, 3, 4, 7])
@pytest.mark.parametrize(("batches", "size"), [(UNIFORM, 16), (UNIFORM, 7), (BAGS(3), 24), (MIX(1, 3), 16)])
def test_processes_share_the_batches_of_one_and_have_as_many_rows_each(make_samples, batches, size, processes):
    samples = make_samples(101, clean=20)
    alone = Sampler(samples, batches, size, seed=0)
    shared = Sampler(samples, batches, size, seed=0, processes=processes)
    rows, whole = shared.epoch(1), alone.epoch(1)
    parts = list(_parts(rows, shared))
    assert len(parts) == alone.steps_per_epoch == shared.steps_per_epoch
    masks = torch.ones(len(whole.positions), dtype=torch.bool) if whole.mask is None else whole.mask
    for (positions, mask, _), want, counts in zip(
        parts, whole.positions.split(alone.rows_per_batch), masks.split(alone.rows_per_batch), strict=True
    ):
        assert sorted(positions[mask].tolist()) == sorted(want[counts].tolist())
        assert set(positions.flatten().tolist()) <= set(want.tolist())  # padding shows samples of the batch
        many = mask.sum(1)
        assert int(many.max() - many.min()) <= (5 if batches.kind == "bags" else 1)  # bags may be short


def test_a_bag_stays_with_one_process_and_keeps_a_number_of_its_own(make_samples):
    sampler = Sampler(make_samples(101, classes=5), BAGS(3), 30, seed=0, processes=4)
    rows = sampler.epoch(0)
    classes = make_samples(101, classes=5).labels.single
    for positions, _, bags in _parts(rows, sampler):
        assert bags.flatten().tolist() == [n // 3 for n in range(bags.numel())]
        of_bag = classes[positions].view(-1, 3)
        assert bool((of_bag == of_bag[:, :1]).all())


def test_clean_and_noisy_samples_of_a_mix_are_spread_evenly(make_samples):
    samples = make_samples(100, clean=20)
    sampler = Sampler(samples, MIX(1, 3), 16, seed=0, processes=4)
    for positions, mask, _ in _parts(sampler.epoch(0), sampler):
        clean = (samples.clean[positions] & mask).sum(1)
        assert int(clean.max() - clean.min()) <= 1


def test_a_process_may_have_padding_alone_and_never_one_row(make_samples):
    sampler = Sampler(make_samples(33), UNIFORM, 16, seed=0, processes=4)
    (_, mask, _) = list(_parts(sampler.epoch(0), sampler))[-1]
    assert mask.shape == (4, 2)
    assert mask.sum(1).tolist() == [1, 0, 0, 0]
