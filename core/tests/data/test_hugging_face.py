"""Data sets as the `datasets` library writes and fetches them, also those larger than the memory."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load, parquet_refs
from noisyrun.data.parquet_refs import ParquetRefs
from noisyrun.data.sources import hub, parquet, read

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()
NAMES = ["cat", "dog", "bird"]


@pytest.fixture
def made(image, encode_image):
    """Makes a data set of some images with labels."""

    def make(rows: int = 12, first: int = 0):
        features = datasets.Features(
            {
                "image": datasets.Image(),
                "label": datasets.ClassLabel(names=NAMES),
                "clean_label": datasets.Value("int64"),
            }
        )
        cells = [{"bytes": encode_image(image(n)), "path": f"{n}.png"} for n in range(first, first + rows)]
        columns = {"image": cells, "label": [n % 3 for n in range(rows)], "clean_label": [0] * rows}
        return datasets.Dataset.from_dict(columns, features=features)

    return make


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine in whose memory no images fit."""
    monkeypatch.setattr(parquet, "_MEMORY_SHARE", 0)


def _read(path, **data):
    return read(RunSettings(dataset=str(path), data=DataSettings(**data)))


def _load(path, **data):
    return load(RunSettings(dataset=str(path), data=DataSettings(**{"val": 0, **data})))


def _bytes(raw) -> list[bytes]:
    return [raw.images.open(n).read() for n in range(len(raw))]


def test_a_folder_of_save_to_disk_is_mapped(tmp_path: Path, made, image, encode_image) -> None:
    datasets.DatasetDict(train=made(), test=made(4)).save_to_disk(tmp_path / "pets", num_shards={"train": 3, "test": 1})
    before = pa.total_allocated_bytes()
    data = _load(tmp_path / "pets")
    assert data.lineage["format"] == "arrow"
    assert data.name == "pets"
    assert data.task.classes == tuple(NAMES)
    assert data.train.index.tolist() == list(range(12))
    assert data.train.truth.single.tolist() == [0] * 12
    assert len(data.test) == 4
    raw = _read(tmp_path / "pets").train
    assert _bytes(raw) == [encode_image(image(n)) for n in range(12)]
    assert raw.images.name(7) == "7.png"
    assert pa.total_allocated_bytes() - before < sum(map(len, _bytes(raw)))


def test_one_split_is_read_with_another_folder_as_test_set(tmp_path: Path, made) -> None:
    made().save_to_disk(tmp_path / "a")
    made(3).save_to_disk(tmp_path / "b")
    assert len(_load(tmp_path / "a", test=str(tmp_path / "b")).test) == 3
    assert _load(tmp_path / "a").test is None
    (tmp_path / "c").mkdir()
    with pytest.raises(UserError, match=r"--data\.test: .* is no folder that save_to_disk"):
        _load(tmp_path / "a", test=str(tmp_path / "c"))


def _state(folder: Path, **changes) -> None:
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, **changes}))


@pytest.mark.parametrize("name", ["../other.arrow", "/etc/passwd", "", ".", 7, None])
def test_data_files_elsewhere_are_refused(tmp_path: Path, made, name) -> None:
    made().save_to_disk(tmp_path / "a")
    _state(tmp_path / "a", _data_files=[{"filename": name}])
    with pytest.raises(UserError, match="does not list data files in its folder"):
        _read(tmp_path / "a")


def test_damaged_folders_are_told_in_a_line(tmp_path: Path, made) -> None:
    made().save_to_disk(tmp_path / "a")
    file = next((tmp_path / "a").glob("*.arrow"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cannot read .*arrow: "):
        _read(tmp_path / "a")
    file.unlink()
    with pytest.raises(UserError, match=r"cannot read .*arrow: "):
        _read(tmp_path / "a")
    _state(tmp_path / "a", _indices_files=[{"filename": "indices.arrow"}])
    with pytest.raises(UserError, match="flatten_indices"):
        _read(tmp_path / "a")
    (tmp_path / "a" / "state.json").write_text("[1]")
    with pytest.raises(UserError, match="no JSON object"):
        _read(tmp_path / "a")


def test_a_set_without_a_training_split_names_those_it_has(tmp_path: Path, made) -> None:
    datasets.DatasetDict(one=made(), two=made()).save_to_disk(tmp_path / "a")
    with pytest.raises(UserError, match=r"has no split 'train' \(it has one, two\)"):
        _read(tmp_path / "a")


@pytest.mark.parametrize(
    "place", ["{}-00000-of-00001.parquet", "data/{}-00000-of-00001.parquet", "{}/0000.parquet", "data/{}/0.parquet"]
)
@pytest.mark.parametrize("config", ["", "default/"])
def test_repositories_of_parquet_are_read_in_their_layouts(tmp_path: Path, made, place: str, config: str) -> None:
    for split, rows in (("train", 9), ("validation", 3)):
        path = tmp_path / "pets" / (config + place.format(split))
        path.parent.mkdir(parents=True, exist_ok=True)
        made(rows).to_parquet(path)
    (tmp_path / "pets" / "README.md").write_text("---\nlicense: mit\n---\n")
    data = _load(tmp_path / "pets")
    assert (len(data.train), len(data.test)) == (9, 3)


def test_one_of_several_configurations_has_to_be_chosen(tmp_path: Path, made) -> None:
    for config in ("large", "small"):
        (tmp_path / config).mkdir()
        made(6).to_parquet(tmp_path / config / "train-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"holds 2 configurations \(large, small\): give one of these folders"):
        _read(tmp_path)
    assert len(_read(tmp_path / "small").train) == 6


def test_all_shards_without_a_split_in_their_names_are_read(tmp_path: Path, made) -> None:
    for n in range(3):
        made(4).to_parquet(tmp_path / f"{n:04d}.parquet")
    assert len(_read(tmp_path).train) == 12


@pytest.fixture
def large(tmp_path: Path, made, small_memory) -> Path:
    """Two files of row groups of five images."""
    for n, rows in enumerate((12, 7)):
        table = made(rows, 100 * n).data.table
        pq.write_table(table, tmp_path / f"train-0000{n}-of-00002.parquet", row_group_size=5)
    return tmp_path


def test_parquet_larger_than_the_memory_is_read_by_row_group(large, image, encode_image) -> None:
    raw = _read(large)
    assert isinstance(raw.train.images, ParquetRefs)
    assert "do not fit in memory. They are read by row groups" in raw.notes[0]
    assert "noisyrun data pack" in raw.notes[0]
    expected = [encode_image(image(n)) for n in (*range(12), *range(100, 107))]
    assert _bytes(raw.train) == expected
    assert raw.train.images.name(13) == "101.png"
    assert raw.train.columns["label"].to_pylist() == [n % 3 for n in (*range(12), *range(7))]
    assert _load(large).task.classes == tuple(NAMES)
    taken = raw.train.take(pa.array([1, 14, 18]).to_numpy())
    assert _bytes(taken) == [expected[1], expected[14], expected[18]]


def test_few_row_groups_are_kept(large, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_refs, "CACHE", 0)
    images = _read(large).train.images
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: images.open(n % 19).read(), range(190)))
    assert found == [images.open(n % 19).read() for n in range(190)]
    assert len(images._cache._kept) == 1


def test_in_order_each_row_group_is_read_once(large, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _read(large).train.images
    counted = []
    inner = parquet_refs._Cache._read
    monkeypatch.setattr(parquet_refs._Cache, "_read", lambda self, n: counted.append(n) or inner(self, n))
    for n in range(19):
        images.open(n)
    assert counted == [0, 1, 2, 3, 4]


def test_the_digest_of_large_parquet_follows_its_images(large, made) -> None:
    kept = _read(large).train.images.digest()
    assert _read(large).train.images.digest() == kept
    pq.write_table(made(7, 200).data.table, large / "train-00001-of-00002.parquet", row_group_size=5)
    assert _read(large).train.images.digest() != kept


def test_row_groups_too_large_to_read_are_refused(large, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"row groups are of .* write them again with fewer rows"):
        _read(large)


def test_damaged_row_groups_are_told_in_a_line(large) -> None:
    path = large / "train-00001-of-00002.parquet"
    content = bytearray(path.read_bytes())
    content[8:2000] = b"\xff" * 1992
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*train-00001"):
        _bytes(_read(large).train)


@pytest.fixture
def fetched(tmp_path: Path, made, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The hub is a folder; gives what was asked of it."""
    made().to_parquet(tmp_path / "repository" / "train-00000-of-00001.parquet")
    made(3).to_parquet(tmp_path / "repository" / "test-00000-of-00001.parquet")
    asked: list[tuple[object, ...]] = []
    inner = datasets.load_dataset

    def instead(name, config=None):
        asked.append((name, config))
        return inner(str(tmp_path / "repository"), cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", instead)
    return asked


def test_a_name_on_the_hub_is_fetched_by_the_library(fetched, image, encode_image) -> None:
    data = _load("hf:someone/pets")
    assert (data.name, data.lineage["format"], data.lineage["path"]) == ("someone/pets", "hub", "hf:someone/pets")
    assert (len(data.train), len(data.test)) == (12, 3)
    assert data.task.classes == tuple(NAMES)
    assert _bytes(_read("hf:someone/pets:small").train) == [encode_image(image(n)) for n in range(12)]
    assert fetched == [("someone/pets", None), ("someone/pets", "small")]


@pytest.mark.parametrize("name", ["hf:", "hf:../x", "hf:a/b/c", "hf:a b", "hf:/etc", "hf:a:b:c"])
def test_what_is_no_name_on_the_hub_is_refused(fetched, name: str) -> None:
    with pytest.raises(UserError, match="is no name on the hub"):
        _read(name)
    assert fetched == []


def test_without_the_library_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"hf:a/b needs the datasets library: pip install 'noisyrun\[datasets\]'"):
        _read("hf:a/b")


def _fail(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load_dataset(*_: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("Couldn't reach the hub\nmore"), r"Couldn't reach the hub: the hub cannot be reached"),
        (datasets.exceptions.DatasetNotFoundError("'a/b' doesn't exist."), r"doesn't exist: is the name right\?"),
        (ValueError("Config name is missing.\nPick one"), r"--dataset hf:a/b: Config name is missing$"),
        (RuntimeError("Dataset scripts are no longer supported"), "scripts are no longer supported$"),
        (KeyError(), "KeyError"),
    ],
)
def test_what_keeps_a_name_from_being_fetched_is_one_line(monkeypatch, error: Exception, message: str) -> None:
    _fail(monkeypatch, error)
    with pytest.raises(UserError, match=message) as told:
        _read("hf:a/b")
    assert "\n" not in str(told.value)


def test_offline_the_library_itself_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(UserError, match=r"--dataset hf:nobody/nothing-like-this: .*(hub|name right|reach)"):
        _read("hf:nobody/nothing-like-this")


def test_code_of_a_data_set_is_never_asked_for() -> None:
    assert "trust_remote_code" not in Path(hub.__file__).read_text()


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"_data_files": [{"filename": "\\ud800"}]}', "[]"])
def test_a_state_that_is_broken_is_a_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match=r"state\.json"):
        read(RunSettings(dataset=str(tmp_path)))
