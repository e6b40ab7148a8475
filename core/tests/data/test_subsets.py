import pytest
import torch

from noisyrun.api import UserError
from noisyrun.config.settings import RunSettings
from noisyrun.data import load
from noisyrun.data.subsets import Share, draw, held_half, parse_share, same_labels

NAMES = ("cat", "dog", "red panda")


def test_a_share_may_name_classes():
    assert parse_share("--verify", "0.05", NAMES) == Share(0.05, None)
    assert parse_share("--verify", "0.5:dog, red panda", NAMES) == Share(0.5, (1, 2))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0", "must be a share"),
        ("1.5", "must be a share"),
        ("nan", "must be a share"),
        ("much", "must be a share"),
        ("0.5:", "no class after the colon"),
        ("0.5:dgo", "no class 'dgo'; did you mean 'dog'?"),
    ],
)
def test_a_wrong_share_is_one_clear_line(text, words):
    with pytest.raises(UserError) as caught:
        parse_share("--verify", text, NAMES)
    assert str(caught.value).startswith("--verify: ")
    assert words in str(caught.value)


def test_a_drawn_share_is_exact_and_stratified():
    groups = torch.tensor([0] * 100 + [1] * 50 + [2] * 7)
    mask = draw(groups, 0.3, torch.arange(157), 11)
    assert int(mask.sum()) == round(0.3 * 157)
    counts = torch.bincount(groups[mask], minlength=3).tolist()
    assert all(abs(got - 0.3 * n) <= 1 for got, n in zip(counts, (100, 50, 7)))


def test_a_draw_stays_among_the_samples_it_may_take():
    among = torch.arange(100) % 3 == 0
    mask = draw(torch.zeros(100, dtype=torch.int64), 0.5, torch.arange(100), 1, among)
    assert int(mask.sum()) == 17
    assert not bool((mask & ~among).any())


def test_half_of_the_verification_labels_is_held_in_each_class_and_verdict():
    groups = torch.arange(400) % 2
    verified = torch.tensor([1, 0, 1, -1], dtype=torch.int8).repeat_interleave(2).repeat(50)
    held = held_half(groups, verified, torch.arange(400), seed=0)
    assert not bool(held[verified == -1].any())
    for c in (0, 1):
        for verdict in (0, 1):
            of = (groups == c) & (verified == verdict)
            assert int(held[of].sum()) == int(of.sum()) / 2


def test_sets_of_labels_compare_without_regard_to_order_or_padding():
    a = torch.tensor([[1, 2, -1], [3, -1, -1], [1, 2, 3]])
    b = torch.tensor([[2, 1], [4, -1], [1, 2]])
    assert same_labels(a, b).tolist() == [True, False, False]


def test_simulated_verification_tells_right_from_wrong():
    train = load(RunSettings(verify="0.2")).train
    asked = train.verified >= 0
    assert int(asked.sum()) == round(0.2 * len(train))
    right = train.labels.single == train.truth.single
    assert torch.equal(train.verified[asked] == 1, right[asked])
    assert int(train.verified_held.sum()) == round(int(asked.sum()) / 2)


def test_verification_can_be_limited_to_classes():
    train = load(RunSettings(verify="0.5:three,eight")).train
    asked = train.verified >= 0
    assert set(train.labels.single[asked].tolist()) == {3, 8}


def test_a_simulated_clean_subset_carries_true_labels_and_is_not_held_out():
    data = load(RunSettings(clean="0.1"))
    clean = data.train.clean
    assert int(clean.sum()) == round(0.1 * len(data.train))
    assert torch.equal(data.train.trusted.single[clean], data.train.truth.single[clean])
    assert bool((data.train.trusted.single[~clean] == -1).all())


@pytest.mark.parametrize("flag", ["verify", "clean"])
def test_without_clean_labels_nothing_can_be_simulated(flag):
    with pytest.raises(UserError, match=rf"--{flag}: digits has no clean labels"):
        load(RunSettings(dataset="digits", **{flag: "0.1"}))


def test_a_share_too_small_for_one_sample_is_an_error():
    with pytest.raises(UserError, match=r"is none: ask for a larger share"):
        load(RunSettings(clean="0.0001"))
