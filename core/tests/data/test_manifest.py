import pytest
import torch

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load

LABELS = ["cat", "dog"] * 4


def _load(path, **data):
    return load(RunSettings(dataset=str(path), data=DataSettings(**{"val": 0, **data})))


@pytest.mark.parametrize("name", ["train.csv", "train.tsv", "all.csv"])
def test_names_of_classes_are_sorted_and_rows_keep_their_order(manifest, name):
    data = _load(manifest({"label": LABELS}, name))
    assert data.task.classes == ("cat", "dog")
    assert data.train.labels.single.tolist() == [0, 1] * 4
    assert data.train.index.tolist() == list(range(8))


def test_a_folder_with_a_train_manifest_is_read_with_its_test_manifest(manifest):
    path = manifest({"label": LABELS})
    manifest({"label": LABELS[:4]}, "test.csv", rows=4)
    data = _load(path.parent)
    assert len(data.test) == 4
    assert data.test.labels.single.tolist() == [0, 1, 0, 1]


def test_every_column_finds_its_place(manifest):
    columns = {
        "label": LABELS,
        "clean_label": ["cat"] * 4 + ["dog"] * 4,
        "verified": [1, 0, "", -1, 1, 0, "", ""],
        "trusted_label": ["cat", "", "", "", "dog", "", "", ""],
        "title": ["a cat", "", "x", "y", "z", "u", "v", "w"],
        "description": ["d"] * 8,
        "tags": ["fur|paw", "", "fur", "", "", "", "", ""],
        "source": ["flickr", "google"] * 4,
        "rank": list(range(8)),
    }
    train = _load(manifest(columns)).train
    assert train.truth.single.tolist() == [0] * 4 + [1] * 4
    assert train.verified.tolist() == [1, 0, -1, -1, 1, 0, -1, -1]
    assert train.trusted.single.tolist() == [0, -1, -1, -1, 1, -1, -1, -1]
    assert train.clean.tolist() == [True, False, False, False, True, False, False, False]
    assert train.text.titles[:2] == ["a cat", ""]
    assert train.text.sample_descriptions == ["d"] * 8
    assert train.text.tags[:3] == [("fur", "paw"), (), ("fur",)]
    assert train.source_names == ("flickr", "google")
    assert train.source.tolist() == [0, 1] * 4
    assert train.rank.tolist() == list(range(8))


def test_texts_follow_their_samples_into_the_splits(manifest):
    path = manifest({"label": LABELS, "title": [f"t{n}" for n in range(8)]})
    data = load(RunSettings(dataset=str(path), data=DataSettings(val=0.25)))
    for part in (data.train, data.val):
        assert part.text.titles == [f"t{i}" for i in part.index.tolist()]
        assert len(part.images) == len(part)


def test_a_clean_flag_says_that_the_observed_label_can_be_trusted(manifest):
    train = _load(manifest({"label": LABELS, "is_clean": ["true", "false"] + [""] * 6})).train
    assert train.clean.tolist() == [True] + [False] * 7
    assert train.trusted.single.tolist() == [0] + [-1] * 7


def test_columns_can_be_named(manifest):
    path = manifest({"web": LABELS, "human": ["cat"] * 7 + ["dog"]})
    train = _load(path, label="web", clean_label="human").train
    assert train.labels.single.tolist() == [0, 1] * 4
    assert train.truth.single.tolist() == [0] * 7 + [1]


def test_a_missing_column_names_the_nearest_and_those_present(manifest):
    path = manifest({"web_label": LABELS})
    with pytest.raises(UserError) as caught:
        _load(path, label="web_labl")
    assert "--data.label" in str(caught.value)
    assert "did you mean 'web_label'?" in str(caught.value)
    with pytest.raises(UserError, match=r"no column of labels by a usual name; name it with --data.label"):
        _load(path)


def test_a_test_set_without_two_labels_in_any_row_is_as_multi_label_as_its_training_set(manifest):
    path = manifest({"label": ["cat|dog", *LABELS[1:]]})
    manifest({"label": LABELS}, "test.csv")
    data = _load(path)
    assert data.test.task == data.train.task
    assert data.test.task.labels == "multi"


def test_several_clean_labels_beside_single_observed_ones_are_refused_and_the_row_named(manifest):
    path = manifest({"label": LABELS, "clean_label": [*LABELS[:7], "cat|dog"]})
    with pytest.raises(UserError, match="column 'clean_label' holds several labels in row 7"):
        _load(path)


@pytest.mark.parametrize(("loss", "expected"), [("auto", "cross-entropy"), ("binary-cross-entropy",) * 2])
def test_the_loss_follows_the_labels_unless_the_user_says_otherwise(manifest, loss, expected):
    settings = RunSettings(dataset=str(manifest({"label": LABELS})), train={"loss": loss})
    assert load(settings).task.loss == expected


def test_verification_follows_the_noise_that_is_injected(manifest):
    columns = {"label": LABELS, "verified": [1, 1, 1, 1, 0, 0, "", ""]}
    train = load(RunSettings(dataset=str(manifest(columns)), noise="pair:0.5", data=DataSettings(val=0))).train
    right = (train.labels.single == train.truth.single).tolist()
    assert 0 < sum(right[:6]) < 6
    assert train.verified.tolist() == [*map(int, right[:6]), -1, -1]


def test_several_labels_in_a_cell_make_a_multi_label_task(manifest):
    data = _load(manifest({"label": ["cat|dog", "dog", "cat", "", "cat", "dog", "dog|bird", "bird"]}))
    assert data.task.classes == ("bird", "cat", "dog")
    assert data.task.labels == "multi"
    assert data.task.loss == "binary-cross-entropy"
    assert data.train.labels.classes[[0, 1, 3, 6]].tolist() == [[1, 2], [2, -1], [-1, -1], [2, 0]]


def test_noise_for_single_labels_is_refused_in_several_and_names_those_that_fit(manifest):
    path = manifest({"label": ["cat|dog"] + LABELS[1:]})
    with pytest.raises(UserError, match=r"symmetric is for one label a sample.*flip-off:R"):
        load(RunSettings(dataset=str(path), noise="symmetric:0.2"))


def test_noise_for_several_labels_is_refused_in_single_ones_and_names_those_that_fit(manifest):
    with pytest.raises(UserError, match=r"flip-on is for data with several labels.*symmetric"):
        load(RunSettings(dataset=str(manifest({"label": LABELS})), noise="flip-on:0.2"))


def test_whole_numbers_count_classes_from_zero(manifest):
    assert _load(manifest({"label": [0, 2] * 4})).task.classes == ("0", "1", "2")


def test_a_number_no_data_set_of_that_size_would_have_is_refused(manifest):
    with pytest.raises(UserError, match=r"number classes from 0, or name them"):
        _load(manifest({"label": [0, 10**9] * 4}))


def test_a_negative_label_is_out_of_range_and_its_row_named(manifest):
    with pytest.raises(UserError, match=r"label -1 in row 3 of .*\(3.png\) is out of range"):
        _load(manifest({"label": [0, 1, 1, -1, 0, 0, 0, 0]}))


def test_a_fraction_is_no_class(manifest):
    with pytest.raises(UserError, match=r"column 'label' holds numbers that are no class"):
        _load(manifest({"label": [0, 1, 0.5, 1, 0, 0, 0, 0]}))


def test_a_sample_without_label_needs_a_trusted_one(manifest):
    labels = ["cat", "", *LABELS[2:]]
    with pytest.raises(UserError, match=r"row 1 of .* has no label \(1 such rows\)"):
        _load(manifest({"label": labels}))
    train = _load(manifest({"label": labels, "trusted": ["", "dog"] + [""] * 6})).train
    assert train.labels.single.tolist()[:2] == [0, -1]
    assert train.trusted.single.tolist()[:2] == [-1, 1]


def test_a_label_that_only_the_test_set_has_is_named(manifest):
    path = manifest({"label": LABELS})
    manifest({"label": ["cat", "dog", "dgo", "cat"]}, "test.csv", rows=4)
    with pytest.raises(UserError, match=r"label 'dgo' in row 2 .* none of the 2 classes; did you mean 'dog'"):
        _load(path)


@pytest.mark.parametrize("bad", ["../0.png", "/etc/passwd", "a/../../0.png"])
def test_a_path_outside_the_root_is_refused(manifest, bad):
    path = manifest({"label": LABELS})
    path.write_text(path.read_text().replace("\n2.png", f"\n{bad}"))
    with pytest.raises(UserError, match=rf"row 2 of .*: path '{bad}' leads outside the root"):
        _load(path)


def test_paths_may_be_relative_to_another_root(manifest, tmp_path):
    path = manifest({"label": LABELS})
    elsewhere = tmp_path / "lists" / "train.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text(path.read_text())
    assert len(_load(elsewhere, root=path.parent).train) == 8
    with pytest.raises(UserError, match=r"row 0 of .*\(0.png\): no such file"):
        _load(elsewhere)


def test_a_missing_image_is_named(manifest):
    path = manifest({"label": LABELS})
    (path.parent / "5.png").unlink()
    with pytest.raises(UserError, match=r"row 5 of .*\(5.png\): no such file"):
        _load(path)


def test_quoted_commas_and_line_breaks_stay_in_their_cell(manifest):
    path = manifest({"label": LABELS, "title": ['"one, two"', '"three\nfour"'] + ["x"] * 6})
    assert _load(path).train.text.titles[:2] == ["one, two", "three\nfour"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path,label\n", "is empty"),
        ("", "cannot read"),
        ("path,label\n0.png\n", "cannot read"),
        ("file_path,label\n0.png,cat\n", "has no column 'path'"),
        ("path,label,label\n0.png,cat,dog\n", "has two columns 'label'"),
    ],
)
def test_a_broken_manifest_is_one_line(tmp_path, content, words):
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(UserError) as caught:
        _load(tmp_path / "train.csv")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_class_only_is_an_error(manifest):
    with pytest.raises(UserError, match=r"only class 'cat'"):
        _load(manifest({"label": ["cat"] * 8}))
    with pytest.raises(UserError, match=r"every sample of .* has label 1: training needs two classes"):
        _load(manifest({"label": [1] * 8}))


def test_a_test_set_may_have_one_class_only(manifest):
    train = manifest({"label": LABELS})
    rows = train.read_text().splitlines()
    kept = [rows[0], *(row for row in rows[1:] if row.split(",")[1] == str(LABELS[0]))]
    train.with_name("one.csv").write_text("\n".join(kept) + "\n")
    test = _load(train, test=str(train.with_name("one.csv"))).test
    assert len(test) == len(kept) - 1
    assert len(test.labels.single.unique()) == 1


def test_a_verification_that_is_neither_yes_nor_no_is_named(manifest):
    path = manifest({"label": LABELS, "verified": ["1", "maybe"] + [""] * 6})
    with pytest.raises(UserError, match=r"column 'verified' must hold 1, 0 or nothing .got 'maybe' in row 1"):
        _load(path)


def test_given_verification_is_split_in_halves(manifest):
    train = _load(manifest({"label": LABELS, "verified": [1] * 8})).train
    assert int(train.verified_held.sum()) == 4
    assert torch.bincount(train.labels.single[train.verified_held]).tolist() == [2, 2]
