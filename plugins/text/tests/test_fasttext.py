from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from noisyrun.api import Phase, SideInfo, Text, UserError
from noisyrun_text.config import FastTextConfig
from noisyrun_text.fasttext import FastTextSideInfo, WordVectors

LINES = (
    "cat 1 0 0",
    "dog 0.9 0.1 0",
    "car 0 0 1",
    "Engine 0 0.1 0.9",
    "fur 0.8 0.2 0",
)


def vec(path: Path, header: bool = True, lines: tuple[str, ...] = LINES) -> Path:
    text = "\n".join(([f"{len(lines)} 3"] if header else []) + list(lines)) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def encode(path: Path | None, task, text: Text, phase: Phase) -> SideInfo:
    return FastTextSideInfo(FastTextConfig(vectors=path))(task, text, SideInfo(), phase)


@pytest.mark.parametrize(("name", "header"), [("w.vec", True), ("glove.txt", False), ("w.vec.gz", True)])
def test_nearest_classes_follow_the_word_vectors(name: str, header: bool, tmp_path: Path, task, text, phase) -> None:
    side = encode(vec(tmp_path / name, header), task, text, phase)
    likeness = side.class_similarity.dense().fill_diagonal_(-1)
    assert likeness[0].argmax() == 1
    assert likeness[3].max() < 0.5
    assert side.class_embeddings.shape == (4, 3)


@pytest.mark.parametrize("name", ["w.vec", "w.vec.gz"])
def test_words_asked_for_later_are_found_as_well(name: str, tmp_path: Path) -> None:
    vectors = WordVectors(vec(tmp_path / name), "side_info.fasttext")
    vectors.look_up(["cat"])
    later = vectors.look_up(["Engine", "unheard", "cat"])
    assert sorted(later) == ["Engine", "cat"]
    np.testing.assert_allclose(later["Engine"], [0, 0.1, 0.9], rtol=1e-6)


def test_only_words_that_were_asked_for_are_kept(tmp_path: Path) -> None:
    vectors = WordVectors(vec(tmp_path / "w.vec"), "k")
    vectors.look_up(["cat", "unheard"])
    assert set(vectors._found) == {"cat", "unheard"}


def test_a_word_not_found_as_written_is_looked_up_in_lower_case(tmp_path: Path, task, text, phase) -> None:
    encoder = encode(vec(tmp_path / "w.vec"), task, text, phase).text_encoder
    made = encoder.vectors(["CAT", "Engine", "ENGINE", "cat car"])
    torch.testing.assert_close(
        made, torch.tensor([[1.0, 0, 0], [0, 0.1, 0.9], [0, 0, 0], [0.5, 0, 0.5]]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ((793712314).to_bytes(4, "little") + b"\x0c\x00\x00\x00", "binary format"),
        (b"\x80\x04\x95pickled", "no text file"),
        (b"hello\nworld\n", "no file of word vectors"),
        (b"", "no file of word vectors"),
        (b"2 3\ncat 1 2 3\ndog 1 2\n", "line 3"),
        (b"2 3\ncat 1 2 3\ndog 1 nan 2\n", "line 3"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(
    content: bytes, problem: str, tmp_path: Path, task, text, phase
) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        encode(path, task, text, phase)
    assert "w.bin" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_archive_is_refused_in_one_line(tmp_path: Path, task, text, phase) -> None:
    path = vec(tmp_path / "w.vec.gz", lines=LINES * 200)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"w\.vec\.gz cannot be read"):
        encode(path, task, text, phase)


def test_missing_file_and_missing_setting_say_which_flag_to_give(tmp_path: Path, task, text, phase) -> None:
    with pytest.raises(UserError, match="no file"):
        encode(tmp_path / "absent.vec", task, text, phase)
    with pytest.raises(UserError, match=r"--side-info\.vectors"):
        encode(None, task, text, phase)


def test_vectors_that_know_no_class_are_refused(tmp_path: Path, task, text, phase) -> None:
    with pytest.raises(UserError, match="knows no word"):
        encode(vec(tmp_path / "w.vec", lines=("maison 1 2 3", "chat 1 2 3")), task, text, phase)


def test_a_missing_file_is_known_before_training(tmp_path: Path) -> None:
    encoder = FastTextSideInfo(FastTextConfig(vectors=tmp_path / "absent.vec"))
    with pytest.raises(UserError, match="no file"):
        encoder.preflight()
