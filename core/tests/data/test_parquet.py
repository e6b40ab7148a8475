import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import arrow, load
from noisyrun.data.sources import read

NAMES = ["cat", "dog", "bird"]


@pytest.fixture
def write(tmp_path, image, encode_image):
    """Writes rows of images in the Hugging Face layout."""

    def make(name="train.parquet", rows=9, names=NAMES, cells=None, **columns):
        columns = columns or {"label": [n % 3 for n in range(rows)]}
        if cells is None:
            cells = [{"bytes": encode_image(image(n)), "path": f"{n}.png"} for n in range(rows)]
        table = pa.table({"image": cells, **columns})
        if names is not None:
            features = {"image": {"_type": "Image"}}
            for column, values in columns.items():
                if isinstance(values[0], (int, list)):
                    kind = {"names": names, "_type": "ClassLabel"}
                    features[column] = {"feature": kind, "_type": "List"} if isinstance(values[0], list) else kind
            metadata = {"huggingface": json.dumps({"info": {"features": features}})}
            table = table.replace_schema_metadata(metadata)
        path = tmp_path / "set" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        pq.write_table(table, path)
        return path

    return make


def _load(path, **data):
    return load(RunSettings(dataset=str(path), data=DataSettings(**{"val": 0, **data})))


def test_class_names_come_from_the_metadata_and_the_test_set_from_beside(write):
    path = write()
    write("test.parquet", rows=4)
    for given in (path, path.parent):
        data = _load(given)
        assert data.task.classes == ("cat", "dog", "bird")
        assert data.name == "set"
        assert (len(data.train), len(data.test)) == (9, 4)
        assert data.task.image_size == (10, 12)


def test_observed_and_clean_labels_are_told_apart(write):
    path = write(worse=[0, 1, 2] * 3, label=[0] * 9)
    write("val.parquet", rows=3)
    data = _load(path, label="worse", clean_label="label")
    assert data.train.labels.single.tolist() == [0, 1, 2] * 3
    assert data.train.truth.single.tolist() == [0] * 9
    assert data.test.labels.single.tolist() == [0, 1, 2]


def test_numbered_shards_are_one_data_set(write):
    for shard in range(3):
        path = write(f"train-{shard:05d}-of-00003.parquet")
    data = _load(path.parent)
    assert len(data.train) == 27
    assert data.train.index.tolist() == list(range(27))


def test_a_column_of_lists_is_multi_label_with_known_classes_when_given(write):
    path = write(labels=[[0, 1], [2], []] * 3, known=[[0, 1, 2], [2], [0]] * 3)
    data = _load(path)
    assert data.task.labels == "multi"
    assert data.task.loss == "binary-cross-entropy"
    assert data.task.classes == ("cat", "dog", "bird")
    assert data.train.labels.classes[:3].tolist() == [[0, 1], [2, -1], [-1, -1]]
    assert data.train.labels.known[:3].tolist() == [[0, 1, 2], [2, -1, -1], [0, -1, -1]]


def test_a_label_beyond_the_names_is_out_of_range_and_its_row_named(write):
    path = write(label=[0, 1, 2, 3, 0, 1, 2, 0, 1])
    with pytest.raises(
        UserError, match=r"label 3 in row 3 of .*\(3.png\) is out of range: there are 3 classes, 0 to 2"
    ):
        _load(path)


def test_a_label_out_of_range_in_a_list_names_its_row(write):
    path = write(labels=[[0, 1], [], [2, 7]] * 3)
    with pytest.raises(UserError, match=r"label 7 in row 2"):
        _load(path)


def test_a_table_of_classes_beside_the_data_gives_names_and_wordnet_ids(write):
    path = write(names=["n02121620", "n02084071", "n01503061"])
    (path.parent / "classes.tsv").write_text(
        "label\twnid\twords\tdescription\n0\tn02121620\tcat, true cat\tpurrs\n"
        "1\tn02084071\tdog\tbarks\n2\tn01503061\tbird\tsings\n"
    )
    text = _load(path).train.text
    assert text.names == ("cat", "dog", "bird")
    assert text.wnids == ("n02121620", "n02084071", "n01503061")
    assert text.descriptions == ("purrs", "barks", "sings")


def test_names_that_are_wordnet_ids_are_taken_as_such(write):
    assert _load(write(names=["n02121620", "n02084071", "n01503061"])).train.text.wnids[1] == "n02084071"


def test_a_table_of_classes_in_another_order_is_refused(write, tmp_path):
    path = write()
    table = tmp_path / "classes.tsv"
    table.write_text("label\twords\n0\tdog\n1\tcat\n2\tbird\n")
    with pytest.raises(UserError, match=r"gives 'cat' as class 1, the data as class 0"):
        _load(path, classes=table)
    table.write_text("label\twords\n0\tdog\n1\tcat\n")
    with pytest.raises(UserError, match=r"has 2 classes, the data has 3"):
        _load(path, classes=table)


def test_a_tree_gives_parents_and_may_have_no_circle(write, tmp_path):
    path, tree = write(), tmp_path / "tree.tsv"
    tree.write_text("child\tparent\ncat\tmammal\ndog\tmammal\nmammal\tanimal\nbird\tanimal\n")
    assert _load(path, tree=tree).train.text.parents["mammal"] == "animal"
    tree.write_text("cat\tmammal\nmammal\tcat\n")
    with pytest.raises(UserError, match=r"has a circle through"):
        _load(path, tree=tree)


def test_a_test_set_of_other_classes_is_refused(write):
    path = write()
    write("test.parquet", names=["dog", "cat", "bird"])
    with pytest.raises(UserError, match=r"names other classes, or in another order"):
        _load(path)


def test_truncated_bytes_are_named_by_file_and_row(write, image, encode_image):
    cells = [{"bytes": encode_image(image(n)), "path": f"{n}.png"} for n in range(9)]
    cells[4]["bytes"] = cells[4]["bytes"][:100]
    path = write(cells=cells)
    with pytest.raises(UserError, match=r"row 4 of .*train.parquet \(4.png\)"):
        _load(path)
    assert _load(path, on_bad_image="skip").train.index.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    cells[4]["bytes"] = None
    with pytest.raises(UserError, match=r"row 4 of .*: no bytes in this row"):
        _load(write(cells=cells))


def test_rows_with_paths_alone_are_read_from_files(write, image):
    path = write(cells=[{"bytes": None, "path": f"{n}.png"} for n in range(9)])
    for n in range(9):
        image(n).save(path.parent / f"{n}.png")
    assert _load(path).train.images.load(torch.tensor([3])).shape == (1, 3, 10, 12)


def test_what_is_no_parquet_is_one_line(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(UserError, match=r"is no Parquet file"):
        _load(tmp_path)


def test_names_of_classes_may_be_text(write):
    data = _load(write(names=None, label=["dog", "cat", "bird"] * 3))
    assert data.task.classes == ("bird", "cat", "dog")
    assert data.train.labels.single.tolist() == [2, 1, 0] * 3


def test_a_table_of_classes_by_name_may_be_in_any_order(write, tmp_path):
    path, table = write(), tmp_path / "classes.tsv"
    table.write_text("label\tdescription\nbird\tsings\ncat\tpurrs\ndog\tbarks\n")
    text = _load(path, classes=table).train.text
    assert text.names == ("cat", "dog", "bird")
    assert text.descriptions == ("purrs", "barks", "sings")
    table.write_text("label\tdescription\nbird\tsings\ncats\tpurrs\ndog\tbarks\n")
    with pytest.raises(UserError, match=r"has no row for class 'cat'; did you mean 'cats'"):
        _load(path, classes=table)


def test_a_class_that_a_sample_names_twice_counts_once(write):
    data = _load(write(labels=[[0, 0, 1], [2, 2, 2], [1, 0, 1]] * 3))
    assert data.train.labels.classes[:3].tolist() == [[0, 1, -1], [2, -1, -1], [1, 0, -1]]


def test_names_in_one_column_and_numbers_in_another_are_refused(write):
    path = write(names=None, noisy_label=[0, 1, 2] * 3, clean_label=["a", "b", "c"] * 3)
    with pytest.raises(UserError, match=r"'noisy_label' and 'clean_label' must all hold names or all hold numbers"):
        _load(path)


@pytest.mark.parametrize("folded", [True, False])
def test_a_small_file_whose_rows_all_repeat_a_long_value_is_refused(tmp_path: Path, monkeypatch, folded: bool) -> None:
    values = pa.array(["x" * 5000]).take(pa.array([0] * 2000))
    table = pa.table({"path": values.dictionary_encode() if folded else values, "label": [0, 1] * 1000})
    pq.write_table(table, tmp_path / "train.parquet", compression="zstd")
    assert (tmp_path / "train.parquet").stat().st_size < 10_000
    monkeypatch.setattr("noisyrun.data.arrow.free_memory", lambda: 5_000_000)
    with pytest.raises(UserError, match="2,000 rows would fill the memory"):
        read(RunSettings(dataset=str(tmp_path / "train.parquet")))
    monkeypatch.setattr("noisyrun.data.arrow.free_memory", lambda: 11_000_000)
    found = read(RunSettings(dataset=str(tmp_path / "train.parquet")))
    assert len(found.train) == 2000
    monkeypatch.setattr("noisyrun.data.sources.manifest.free_memory", lambda: 11_000_000)
    with pytest.raises(UserError, match="the paths of its 2,000 rows would fill the memory"):
        read(RunSettings(dataset=str(tmp_path / "train.parquet")))


def test_rows_read_in_parts_are_those_read_at_once(tmp_path: Path, monkeypatch) -> None:
    table = pa.table({"path": [f"{n % 7}.jpg" for n in range(3000)], "label": [n % 3 for n in range(3000)]})
    pq.write_table(table.replace_schema_metadata({"a": "b"}), tmp_path / "t.parquet", row_group_size=1000)
    monkeypatch.setattr(arrow, "_SHARE", 1e-9)
    monkeypatch.setattr(arrow, "free_memory", lambda: 100_000_000_000)
    got = arrow.read_parquet(tmp_path / "t.parquet")
    assert got.column(0).num_chunks > 3
    assert got.equals(table)
    assert got.schema.metadata[b"a"] == b"b"
    assert arrow.read_parquet(tmp_path / "t.parquet", ["label"]).column_names == ["label"]


def test_images_in_a_column_of_another_kind_are_no_paths(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([b"x", b"y"]).dictionary_encode(), "label": [0, 1]})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match="column 'image' must hold paths of images"):
        read(RunSettings(dataset=str(tmp_path / "t.parquet")))
