import numpy as np
import pytest
import torch

from noisyrun.api import UserError
from noisyrun.api.side_info import Text
from noisyrun.config.settings import RunSettings
from noisyrun.data import load
from noisyrun.data.subsets import (
    Selection,
    among_top,
    chosen_classes,
    draw,
    held_half,
    parse_selection,
    same_labels,
    select,
)

NAMES = ("cat", "dog", "red panda")


TEXT = Text(NAMES, wnids=("n1", "n2", "n3"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.05", Selection(0.05)),
        ("0.5:dog, red panda", Selection(0.5, None, "dog, red panda")),
        ("250/class", Selection(1.0, 250)),
        ("250/class:random-2", Selection(1.0, 250, "random-2")),
        ("all", Selection()),
        ("top5", Selection(1.0, None, None, 5)),
        ("250/class:semantic:top5", Selection(1.0, 250, "semantic", 5)),
        ("0.1:top3", Selection(0.1, None, None, 3)),
    ],
)
def test_a_selection_says_how_many_of_which_classes_and_who_judges(text, wanted):
    assert parse_selection("--verify", text) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0", "must be a share"),
        ("1.5", "must be a share"),
        ("nan", "must be a share"),
        ("much", "must be a share"),
        ("-3/class", "must be a share"),
        ("0/class", "0/class is none"),
        ("top0", "top0 judges by no class"),
        ("0.5:", "no class after the colon"),
        ("0.5:dgo", "no class 'dgo'; did you mean 'dog'?"),
        ("0.5:random-4", "random-4, but there are 3 classes"),
        ("0.5:random-0", "random-0, but there are 3 classes"),
        ("0.5:semantic-2", "semantic-2 needs a tree over the classes (--data.tree FILE)"),
        ("0.5:@missing.txt", "cannot read the list of classes missing.txt: No such file"),
    ],
)
def test_a_wrong_selection_is_one_clear_line(text, words):
    with pytest.raises(UserError) as caught:
        chosen_classes("--verify", parse_selection("--verify", text).classes, TEXT, 0)
    assert str(caught.value).startswith("--verify: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_are_named_by_name_or_wordnet_id():
    assert chosen_classes("--verify", "red panda,n1", TEXT, 0) == (0, 2)
    assert chosen_classes("--verify", None, TEXT, 0) is None


def test_classes_are_listed_in_a_file(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# held out\n\ndog\nn3\n")
    assert chosen_classes("--verify", f"@{path}", TEXT, 0) == (1, 2)
    path.write_text("# nothing\n")
    with pytest.raises(UserError, match="names no class"):
        chosen_classes("--verify", f"@{path}", TEXT, 0)


def test_random_classes_depend_on_the_seed_alone():
    text = Text(tuple(str(c) for c in range(100)))
    drawn = [chosen_classes("--verify", "random-50", text, seed) for seed in (0, 0, 1)]
    assert len(drawn[0]) == 50
    assert drawn[0] == drawn[1] != drawn[2]


#: Two steps up: animals for a, b, c; plants for d, e; f's tree is one step high; g is not in it.
TREE = {"a": "cat", "b": "dog", "c": "dog", "d": "oak", "e": "fir", "f": "thing"}
TREE |= {"cat": "animal", "dog": "animal", "oak": "plant", "fir": "plant", "animal": "life", "plant": "life"}
GROUPS = ("abc", "de", "f", "g")


def in_groups(drawn):
    return sorted("".join(("abcdefg"[c] in group and group) or "" for group in GROUPS) for c in drawn)


def test_semantic_classes_are_one_of_every_group_two_levels_up():
    text = Text(tuple("abcdefg"), parents=TREE)
    for seed in range(5):
        assert in_groups(chosen_classes("--verify", "semantic", text, seed)) == sorted(GROUPS)
        assert in_groups(chosen_classes("--verify", "semantic-4", text, seed)) == sorted(GROUPS)
        assert len(set(in_groups(chosen_classes("--verify", "semantic-2", text, seed)))) == 2
        assert in_groups(chosen_classes("--verify", "semantic-6", text, seed)) == sorted((*GROUPS, "abc", "de"))


def test_so_many_of_each_class_are_drawn():
    groups = torch.tensor([0] * 100 + [1] * 50 + [2] * 7)
    among = groups != 1
    mask = select(Selection(1.0, 20), groups, torch.arange(157), 11, among)
    assert torch.bincount(groups[mask], minlength=3).tolist() == [20, 0, 7]


def test_a_models_best_classes_judge_all_labels_of_a_sample():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).repeat(4, 1)
    labels = torch.tensor([[1, -1], [2, -1], [0, 1], [0, 3]])
    assert among_top(labels, logits, 2).tolist() == [True, False, True, False]
    assert among_top(labels, logits, 9).tolist() == [True] * 4


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


@pytest.mark.parametrize("flag", ["verify", "clean"])
def test_so_many_of_each_of_some_random_classes_are_verified_or_clean(flag):
    train = load(RunSettings(**{flag: "12/class:random-4"})).train
    labels = train.labels if flag == "verify" else train.truth
    asked = train.verified >= 0 if flag == "verify" else train.clean
    assert sorted(torch.bincount(labels.single[asked], minlength=10).tolist()) == [0] * 6 + [12] * 4


def test_every_sample_can_be_verified():
    train = load(RunSettings(verify="all")).train
    assert torch.equal(train.verified == 1, train.labels.single == train.truth.single)


def features(tmp_path, **extra):
    generator = np.random.default_rng(0)
    arrays = {"features": generator.random((40, 3), np.float32), "label": np.arange(40) % 4} | extra
    np.savez(tmp_path / "train.npz", **arrays)
    return RunSettings(dataset=str(tmp_path / "train.npz"), data={"val": 0.0})


def test_the_notes_say_how_many_labels_are_verified_and_how_many_samples_are_clean():
    data = load(RunSettings(verify="0.2", clean="0.1"))
    right, wrong = (int((data.train.verified == value).sum()) for value in (1, 0))
    assert right > wrong > 0
    *_, verified, clean = data.notes
    assert verified == f"verification labels: {right + wrong} ({right} right, {wrong} wrong)"
    assert clean == f"trusted clean subset: {int(data.train.clean.sum())}"
    assert not any("verification" in note or "clean subset" in note for note in load(RunSettings()).notes)


@pytest.mark.parametrize(
    ("verdicts", "counts"),
    [("0,right\n1,wrong\n2,right\n3,unsure\n", "3 (2 right, 1 wrong)"), ("3,unsure\n", "0 (0 right, 0 wrong)")],
)
def test_the_notes_count_the_verdicts_of_a_file_be_there_none(tmp_path, verdicts, counts):
    (tmp_path / "verdicts.csv").write_text(f"index,verdict\n{verdicts}")
    settings = features(tmp_path).model_copy(update={"verify": str(tmp_path / "verdicts.csv")})
    assert f"verification labels: {counts}" in load(settings).notes


def test_given_logits_can_verify(tmp_path):
    logits = np.random.default_rng(1).random((40, 4), np.float32)
    settings = features(tmp_path, logits=logits).model_copy(update={"verify": "5/class:top2"})
    train = load(settings).train
    asked = train.verified >= 0
    assert int(asked.sum()) == 20
    among = [label in row for label, row in zip(np.arange(40) % 4, np.argsort(-logits, 1)[:, :2])]
    assert torch.equal(train.verified[asked] == 1, torch.tensor(among)[asked])


def test_without_logits_no_model_can_verify(tmp_path):
    with pytest.raises(UserError, match=r"--verify top5: .* holds no logits"):
        load(features(tmp_path).model_copy(update={"verify": "top5"}))


def test_a_models_best_classes_make_no_clean_subset(tmp_path):
    with pytest.raises(UserError, match="--clean top5: "):
        load(features(tmp_path).model_copy(update={"clean": "top5"}))


def test_verdicts_in_a_file_are_verification_labels(tmp_path):
    path = tmp_path / "verdicts.csv"
    path.write_text("index,label,verdict\n3,3,right\n4,0,wrong\n5,1,unsure\n")
    train = load(features(tmp_path).model_copy(update={"verify": str(path)})).train
    assert train.verified[3:6].tolist() == [1, 0, -1]
    assert int((train.verified >= 0).sum()) == 2


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
