"""Images that are decoded as they are needed: batches, the memory they stand in, and images that cannot be read."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from noisyrun.api import Batches, UserError
from noisyrun.cli import main
from noisyrun.config.settings import AugmentSettings, DataSettings, RunSettings
from noisyrun.data import augment, gpu_decode, images, load
from noisyrun.data.augment import Draws, crop_and_flip
from noisyrun.data.buffers import Buffers
from noisyrun.data.images import LazyImages
from noisyrun.data.inputs import Inputs
from noisyrun.data.loader import TrainLoader
from noisyrun.data.raw import Raw
from noisyrun.data.refs import BytesRefs
from noisyrun.data.unreadable import Unreadable

SHAPE = (8, 3, 320, 320)  # above a mebibyte


def test_memory_of_a_batch_is_used_again_once_nobody_holds_it() -> None:
    buffers = Buffers()
    first = buffers.take(SHAPE, torch.uint8)
    place = first.data_ptr()
    second = buffers.take(SHAPE, torch.uint8)
    assert second.data_ptr() != place
    del first
    assert buffers.take((9, *SHAPE[1:]), torch.uint8).data_ptr() not in (place, second.data_ptr())  # too large for it
    assert buffers.take((5, *SHAPE[1:]), torch.uint8).data_ptr() == place


def test_views_and_saved_tensors_keep_a_batch() -> None:
    buffers = Buffers()
    batch = buffers.take(SHAPE, torch.float32).fill_(1)
    place, view = batch.data_ptr(), batch[1:, 0].detach()
    weight = torch.ones(SHAPE[1:], requires_grad=True)
    loss = (batch * weight).sum()
    del batch
    assert buffers.take(SHAPE, torch.float32).data_ptr() != place
    del view
    assert buffers.take(SHAPE, torch.float32).data_ptr() != place  # the graph needs it still
    loss.backward()
    assert float(weight.grad.sum()) == np.prod(SHAPE)
    del loss
    assert buffers.take(SHAPE, torch.float32).data_ptr() == place


def test_few_blocks_are_kept_when_all_batches_are() -> None:
    buffers = Buffers()
    held = [buffers.take(SHAPE, torch.uint8).fill_(n) for n in range(20)]
    assert [int(batch[0, 0, 0, 0]) for batch in held] == list(range(20))
    assert len(buffers._blocks) <= 8


@pytest.mark.parametrize("slack", [(0, 0), (5, 9)])
@pytest.mark.parametrize("pad", [0, 7])
@pytest.mark.parametrize("parts", ["both", "crop", "flip"])
def test_large_images_are_cropped_as_small_ones(pad, slack, parts, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (16, 3, 60, 70), dtype=torch.uint8)
    draws = Draws(
        torch.zeros(16, dtype=torch.int64),
        None if parts == "flip" else torch.randint(0, 2 * pad + slack[0] + 1, (16,)),
        None if parts == "flip" else torch.randint(0, 2 * pad + slack[1] + 1, (16,)),
        None if parts == "crop" else torch.rand(16) < 0.5,
    )
    by_row = crop_and_flip(images, pad, draws, slack)
    monkeypatch.setattr(augment, "_LARGE", 1 << 30)
    assert torch.equal(by_row, crop_and_flip(images, pad, draws, slack))


@pytest.fixture
def streamed(tmp_path: Path, image, encode_image, monkeypatch: pytest.MonkeyPatch):
    """60 training and 20 test images that are not held in memory; some are cut off, some are missing."""
    monkeypatch.setattr(images, "RESIDENT_BYTES", 0)

    def make(
        cut: tuple[int, ...] = (3, 41), absent: tuple[int, ...] = (), kind: str = "manifest", train: int = 60
    ) -> Path:
        root = tmp_path / "set"
        root.mkdir()
        for split, count in (("train", train), ("test", 20)):
            lines = ["path,label"]
            with tarfile.open(root / f"{split}.tar", "w") as archive:
                for n in range(count):
                    content = encode_image(image(n, (40, 40)), "JPEG")
                    content = content[: len(content) // 2] if n in cut else content
                    lines.append(f"{split}{n}.jpg,{n % 2}")
                    if n not in absent:
                        (root / lines[-1].split(",")[0]).write_bytes(content)
                    for name, cell in ((f"{n:03d}.jpg", content), (f"{n:03d}.cls", b"%d" % (n % 2))):
                        info = tarfile.TarInfo(name)
                        info.size = len(cell)
                        archive.addfile(info, io.BytesIO(cell))
            (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
        for path in root.glob("*.tar" if kind == "manifest" else "*.csv"):
            path.unlink()
        return root

    return make


def _load(path: Path, **data):
    return load(RunSettings(dataset=str(path), data=DataSettings(**{"val": 0, **data})))


def _loader(samples, **options) -> TrainLoader:
    return TrainLoader(
        samples,
        batches=Batches(),
        batch_size=16,
        augment=AugmentSettings(),
        seed=0,
        device="cpu",
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        **options,
    )


def _batches(samples, **options) -> list:
    return list(_loader(samples, **options).epoch(0))


@pytest.mark.parametrize("kind", ["manifest", "tar"])
@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_cannot_be_decoded_are_masked_out_of_their_batch(streamed, kind, workers) -> None:
    data = _load(streamed(kind=kind), on_bad_image="skip")
    assert len(data.train) == 60  # they are not looked for before the run
    batches = _batches(data.train, workers=workers)
    masked = torch.cat([batch.positions[~batch.mask] for batch in batches])
    assert sorted(masked.tolist()) == [3, 41]
    assert sum(int(batch.mask.sum()) for batch in batches) == 58
    bad = data.unreadable["train"]
    assert list(bad.lines) == [3, 41]
    assert "row 3 of" in bad.lines[3]
    assert "truncated" in bad.lines[3]
    assert bad.named().startswith("2 images could not be decoded, and count nowhere: row 3")
    # The others are what they are without them.
    whole = torch.cat([batch.inputs[batch.mask] for batch in batches])
    assert bool(torch.isfinite(whole).all())


def test_by_default_the_first_of_them_stops_the_run(streamed) -> None:
    with pytest.raises(UserError, match=r"row 3 .*truncated.*--data.on-bad-image skip"):
        _batches(_load(streamed()).train)


def test_missing_files_are_left_out_before_the_run(streamed) -> None:
    data = _load(streamed(cut=(), absent=(5, 6)), on_bad_image="skip")
    assert data.train.index.tolist() == [n for n in range(60) if n not in (5, 6)]
    assert any("2 images that cannot be read are left out" in note for note in data.notes)


def test_too_many_of_them_stop_the_run(streamed) -> None:
    root = streamed(cut=tuple(range(0, 24, 2)), kind="tar")
    with pytest.raises(
        UserError, match=r"11 of 60 images of .* cannot be decoded, more than --data.bad-images allows: row"
    ):
        _batches(_load(root, on_bad_image="skip").train)
    data = _load(root, on_bad_image="skip", bad_images=0.2)
    assert sum(int(batch.mask.sum()) for batch in _batches(data.train)) == 48


def test_parts_of_a_split_note_them_together(streamed) -> None:
    data = _load(streamed(), on_bad_image="skip", val=0.5)
    for part in (data.train, data.val):
        part.images.load(torch.arange(len(part)))
    assert list(data.unreadable["train"].lines) == [3, 41]


def test_a_run_goes_on_without_them_and_says_so(streamed, tmp_path: Path, capsys) -> None:
    root = streamed(kind="tar")
    out = tmp_path / "run"
    words = [
        "--dataset",
        root,
        "--data.on-bad-image",
        "skip",
        "--weighter",
        "discriminant",
        "--epochs",
        2,
        "--out",
        out,
    ]
    words += ["--train.warmup-epochs", 1, "--batch-size", 16, "--data.image-size", 16, "--tracking", "none"]
    assert main([str(word) for word in words]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["data"]["decode_errors"] == {"train": 2, "test": 1}
    assert "train: 2 images could not be decoded" in " ".join(summary["warnings"])
    assert "truncated" in capsys.readouterr().err
    labels = pd.read_parquet(out / "labels.parquet").set_index("index")
    assert len(labels) == summary["data"]["train"]
    assert labels["weight"].notna().all()


def _by_library(encoded: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """What a GPU would do, done by Pillow: all of a call, or none of it."""
    made = []
    for content in encoded:
        try:
            picture = Image.open(io.BytesIO(content.numpy().tobytes()))
            assert picture.format == "JPEG"
            made.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1).to(device))
        except OSError as error:
            raise RuntimeError("nvJPEG error") from error
    return made


def test_what_one_process_met_the_others_mask_from_the_next_epoch_on(streamed) -> None:
    """Two processes share each batch; each decodes its own rows alone."""
    splits = [_load(streamed(kind="tar"), on_bad_image="skip")]
    splits.append(_load(splits[0].unreadable["train"].where, on_bad_image="skip"))
    bad = [data.unreadable["train"] for data in splits]
    for of in bad:
        of._lines.clear()  # met as the means of channels were taken

    def epoch(number: int) -> list[list]:
        return [list(_loader(data.train, rank=rank, processes=2).epoch(number)) for rank, data in enumerate(splits)]

    first = epoch(0)
    lost = [torch.cat([batch.positions[~batch.mask] for batch in batches]).tolist() for batches in first]
    assert sorted(lost[0] + lost[1]) == [3, 41]
    assert all(bool(batch.whole.mask.all()) for batch in first[0])  # what all agree on
    told = [{str(index): line for index, line in of.lines.items()} for of in bad]
    for of in bad:
        of.share(lambda _: told)
    assert [list(of.lines) for of in bad] == [[3, 41], [3, 41]]
    for batches in epoch(1):
        masked = torch.cat([batch.whole.positions[~batch.whole.mask] for batch in batches])
        assert sorted(masked.tolist()) == [3, 41]


@pytest.fixture
def mixed(image, encode_image):
    """Images of several kinds and sizes: some that a GPU decodes, and some that it does not."""
    smooth = [image(n, (6, 5)).resize((90 + 10 * n, 70), Image.Resampling.BICUBIC) for n in range(8)]
    turned = Image.Exif()
    turned[0x0112] = 6
    contents = [encode_image(one, "JPEG", quality=95) for one in smooth]
    contents[1] = encode_image(smooth[1], "PNG")
    contents[2] = encode_image(smooth[2], "JPEG", exif=turned)
    contents[3] = encode_image(smooth[3].convert("CMYK"), "JPEG", quality=95)
    contents[4] = encode_image(smooth[4].convert("L"), "JPEG", quality=95)

    def make(contents=contents, channels: int = 3) -> LazyImages:
        refs = BytesRefs(pa.chunked_array([pa.array(contents, pa.binary())]), None)
        bad = Unreadable("here", len(contents), 1)
        return LazyImages(Raw("here", np.arange(len(contents)), {}, images=refs), refs, (channels, 32, 32), bad)

    return make, contents


@pytest.mark.parametrize("channels", [3, 1])
def test_images_decoded_on_a_gpu_look_like_those_of_the_cpu(mixed, channels) -> None:
    images, asked = mixed[0](channels=channels), []

    def decoder(encoded, device):
        asked.append(len(encoded))
        return _by_library(encoded, device)

    found = gpu_decode.load(images, torch.arange(8), torch.device("cpu"), decoder)
    assert asked == [4]  # the others are decoded on the CPU
    assert found.dtype == torch.uint8
    difference = (found.float() - images.load(torch.arange(8)).float()).abs()
    assert float(difference.mean()) < 1.5
    assert torch.equal(found[1:5], images.load(torch.arange(1, 5)))


def test_a_broken_image_is_named_and_does_not_spoil_its_batch(mixed) -> None:
    make, contents = mixed
    contents[6] = contents[6][: len(contents[6]) // 2]
    images = make(contents)
    found = gpu_decode.load(images, torch.arange(8), torch.device("cpu"), _by_library)
    assert list(images.bad.lines) == [6]
    assert bool((found[6] == 128).all())
    assert torch.equal(found[7], images.load(torch.tensor([7]))[0])


def test_batches_of_a_gpu_come_in_order(mixed, make_samples, monkeypatch: pytest.MonkeyPatch) -> None:
    images = mixed[0]()
    monkeypatch.setattr(gpu_decode, "_nvjpeg", _by_library)
    inputs = Inputs(replace(make_samples(8), images=images), torch.device("cpu"), (), (), None, 2)
    parts = torch.tensor([7, 0, 3, 1, 2, 6, 5, 4]).split(1)
    found = list(inputs._decoded_there(images, parts))
    assert len(found) == 8
    for part, pixels in zip(parts, found):
        assert float((pixels.float() - images.load(part).float()).abs().mean()) < 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nvjpeg_decodes_as_pillow_does(mixed) -> None:
    images = mixed[0]()
    found = gpu_decode.load(images, torch.arange(8), torch.device("cuda"))
    assert float((found.cpu().float() - images.load(torch.arange(8)).float()).abs().mean()) < 3


def test_the_setting_reaches_the_images(streamed) -> None:
    data = _load(streamed(), on_bad_image="skip", decode="gpu", val=0.5)
    assert data.train.images.gpu
    assert data.val.images.at(16).gpu
