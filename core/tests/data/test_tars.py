"""Tar shards: an index of their members, and archives that strangers wrote."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from noisyrun.api import UserError
from noisyrun.data import tars
from noisyrun.data.tars import TarRefs, index_shards, unfit


def write(path: Path, members: dict[str, bytes], **options: object) -> Path:
    with tarfile.open(path, "w", **options) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            add(archive, name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(content))


def contents(refs: TarRefs) -> list[bytes]:
    return [refs.open(place).read() for place in range(len(refs))]


def checksummed(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Three shards, some of their names in extended headers of either kind."""
    long = "folder/" + "long" * 60 + ".jpg"
    return [
        write(tmp_path / "b.tar", {"0.jpg": b"b0", "ü.jpg": b"b1" * 300}, format=tarfile.PAX_FORMAT),
        write(tmp_path / "a.tar", {"./0.jpg": b"a0", long: b"a1", "sub/2.png": b""}, format=tarfile.GNU_FORMAT),
        write(tmp_path / "c.tar", {"x" * 90 + "/" + "y" * 60 + ".jpg": b"c0" * 5000}, format=tarfile.USTAR_FORMAT),
    ]


def test_members_are_indexed_in_order_of_shards_then_members(shards: list[Path]) -> None:
    found = index_shards(shards)
    assert [path.name for path in found.shards] == ["a.tar", "b.tar", "c.tar"]
    assert found.shard.tolist() == [0, 0, 0, 1, 1, 2]
    assert contents(TarRefs(found)) == [b"a0", b"a1", b"", b"b0", b"b1" * 300, b"c0" * 5000]
    assert found.names.to_pylist() == [
        "0.jpg",
        "folder/" + "long" * 60 + ".jpg",
        "sub/2.png",
        "0.jpg",
        "ü.jpg",
        "x" * 90 + "/" + "y" * 60 + ".jpg",
    ]


def test_the_index_agrees_with_the_standard_library(shards: list[Path]) -> None:
    for path in shards:
        with tarfile.open(path) as archive:
            expected = [(m.name.removeprefix("./"), m.offset_data, m.size) for m in archive if m.isfile()]
        found = index_shards([path])
        assert list(zip(found.names.to_pylist(), found.offset.tolist(), found.size.tolist())) == expected


def test_only_wanted_members_are_kept(shards: list[Path]) -> None:
    found = index_shards(shards, lambda name: name.endswith(".png"))
    assert found.names.to_pylist() == ["sub/2.png"]


def test_members_are_found_by_name(shards: list[Path]) -> None:
    found = index_shards(shards)
    assert found.find(pa.array(["sub/2.png", "absent", "0.jpg"])).tolist() == [2, -1, 0]


def test_some_images_are_taken_and_named(shards: list[Path]) -> None:
    refs = TarRefs(index_shards(shards)).take(np.array([2, 4]))
    assert [refs.name(0), refs.name(1)] == ["a.tar/sub/2.png", "b.tar/ü.jpg"]
    assert contents(refs) == [b"", b"b1" * 300]


def test_the_digest_follows_names_sizes_and_content(tmp_path: Path) -> None:
    first = TarRefs(index_shards([write(tmp_path / "a.tar", {"0.jpg": b"one", "1.jpg": b"two"})]))
    kept = first.digest()
    assert TarRefs(index_shards([tmp_path / "a.tar"])).digest() == kept
    assert first.take(np.array([0])).digest() != kept
    for changed in ({"0.jpg": b"one", "1.jpg": b"tow"}, {"0.jpg": b"one", "2.jpg": b"two"}):
        assert TarRefs(index_shards([write(tmp_path / "a.tar", changed)])).digest() != kept


def test_threads_share_few_handles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_OPEN", 2)
    paths = [write(tmp_path / f"{n}.tar", {f"{n}.jpg": bytes([n]) * 100}) for n in range(8)]
    refs = TarRefs(index_shards(paths))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda place: refs.open(place % 8).read(), range(400)))
    assert found == [bytes([place % 8]) * 100 for place in range(400)]
    assert len(refs._handles._files) <= 2
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_a_shard_that_changed_after_it_was_indexed_is_not_read(tmp_path: Path) -> None:
    refs = TarRefs(index_shards([write(tmp_path / "a.tar", {"0.jpg": b"one"})]))
    write(tmp_path / "a.tar", {"0.jpg": b"one", "1.jpg": b"x" * 20_000})
    with pytest.raises(OSError, match="not as long"):
        refs.open(0)


def test_a_member_too_large_for_an_image_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_MAX_IMAGE", 100)
    refs = TarRefs(index_shards([write(tmp_path / "a.tar", {"0.jpg": b"x" * 101})]))
    with pytest.raises(OSError, match="101 bytes are too many"):
        refs.open(0)


def test_links_devices_and_pipes_are_skipped_and_counted(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "folder", type=tarfile.DIRTYPE)
        add(archive, "a.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "b.jpg", type=tarfile.LNKTYPE, linkname="c.jpg")
        add(archive, "d.jpg", type=tarfile.CHRTYPE)
        add(archive, "e.jpg", type=tarfile.BLKTYPE)
        add(archive, "f.jpg", type=tarfile.FIFOTYPE)
        add(archive, "g.jpg", b"file")
        add(archive, "h.jpg", b"odd", type=b"Q")
    found = index_shards([tmp_path / "a.tar"])
    assert found.names.to_pylist() == ["g.jpg"]
    assert found.skipped == {
        "symbolic links": 1,
        "hard links": 1,
        "devices": 2,
        "pipes": 1,
        "members of no known kind": 1,
    }


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.jpg", "a/../../x.jpg", "a/.."])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str, form: int) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        add(archive, "good.jpg", b"file")
        # Long names go into an extended header, where the same must hold.
        add(archive, name if form == tarfile.USTAR_FORMAT else name + "/" + "n" * 200 + "ü", b"file")
    with pytest.raises(UserError, match=r"a\.tar, byte \d+: member .* leads outside"):
        index_shards([tmp_path / "a.tar"])


def test_names_that_are_no_utf8_are_kept_apart(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        add(archive, "é.jpg", b"1")
        add(archive, "è.jpg", b"2")
    assert index_shards([tmp_path / "a.tar"]).names.to_pylist() == ["\\xe9.jpg", "\\xe8.jpg"]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (b"-0000000001\0", "no header"),
        (b"\xff" * 12, "no header"),
        (b"77777777777\0", "it is cut off"),
        (b"\x80" + b"\xff" * 11, "it is cut off"),
        (b"0x00000000f\0", "no header"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, size: bytes, message: str) -> None:
    write(tmp_path / "a.tar", {"0.jpg": b"one", "1.jpg": b"two"})
    whole = bytearray((tmp_path / "a.tar").read_bytes())
    header = whole[1024:1536]
    header[124:136] = size
    whole[1024:1536] = checksummed(header)
    (tmp_path / "a.tar").write_bytes(whole)
    with pytest.raises(UserError, match=rf"a\.tar, byte 1024: .*{message}"):
        index_shards([tmp_path / "a.tar"])


def test_sizes_in_base_256_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"0.jpg": b"one"})
    whole = bytearray((tmp_path / "a.tar").read_bytes())
    whole[124:136] = b"\x80" + (3).to_bytes(11, "big")
    (tmp_path / "a.tar").write_bytes(checksummed(whole[:512]) + whole[512:])
    assert index_shards([tmp_path / "a.tar"]).size.tolist() == [3]


def test_damaged_headers_are_told_with_their_place(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"0.jpg": b"one", "1.jpg": b"two"})
    whole = bytearray((tmp_path / "a.tar").read_bytes())
    whole[1024] ^= 1
    (tmp_path / "a.tar").write_bytes(whole)
    with pytest.raises(UserError, match=r"byte 1024: no header of a member: it is damaged"):
        index_shards([tmp_path / "a.tar"])


@pytest.mark.parametrize("length", [100, 700, 1024 + 100, 1024 + 512 + 1])
def test_archives_that_are_cut_off_are_refused(tmp_path: Path, length: int) -> None:
    write(tmp_path / "a.tar", {"0.jpg": b"x" * 400, "1.jpg": b"y" * 400})
    os.truncate(tmp_path / "a.tar", length)
    with pytest.raises(UserError, match=r"a\.tar, byte .*(cut off|no tar archive)"):
        index_shards([tmp_path / "a.tar"])


def test_an_archive_without_blocks_at_its_end_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"0.jpg": b"x" * 400})
    os.truncate(tmp_path / "a.tar", 1024)
    members = index_shards([tmp_path / "a.tar"])
    assert len(members) == 1
    assert members.unmarked == ("a.tar",)


def test_an_archive_cut_off_in_what_fills_up_a_block_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"0.jpg": b"x" * 400})
    os.truncate(tmp_path / "a.tar", 1000)
    with pytest.raises(UserError, match=r"a\.tar, byte 1024: .*cut off"):
        index_shards([tmp_path / "a.tar"])


def test_archives_that_were_joined_are_refused_rather_than_read_to_the_end_of_the_first(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"0.jpg": b"one"})
    write(tmp_path / "b.tar", {"1.jpg": b"two"})
    end = (tmp_path / "a.tar").stat().st_size
    (tmp_path / "c.tar").write_bytes((tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes())
    with pytest.raises(UserError, match=rf"c\.tar, byte {end}: more stands behind the end .* archives were joined"):
        index_shards([tmp_path / "c.tar"])


def test_compressed_archives_are_refused_with_a_remedy(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"0.jpg": b"one"})
    (tmp_path / "b.tar").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    with pytest.raises(UserError, match=r"b\.tar is compressed.*gunzip"):
        index_shards([tmp_path / "b.tar"])


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"<html>" * 1000)
    with pytest.raises(UserError, match="no tar archive"):
        index_shards([tmp_path / "a.tar"])
    with pytest.raises(UserError, match=r"cannot read .*absent"):
        index_shards([tmp_path / "absent.tar"])


def extended(records: bytes, kind: bytes = b"x", size: int | None = None) -> bytes:
    header = tarfile.TarInfo("extended")
    header.type, header.size = kind, len(records) if size is None else size
    return header.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (extended(b"", size=2 << 20) + bytes(2 << 20), "extended header of 2,097,152 bytes"),
        (extended(b"", b"L", size=2 << 20) + bytes(2 << 20), "extended header of 2,097,152 bytes"),
        (extended(b"999 path=a\n"), "cannot be read"),
        (extended(b"0 path=a\n"), "cannot be read"),
        (extended(b"-5 path=a\n"), "cannot be read"),
        (extended(b"11 path=abcdefg\n"), "cannot be read"),
        (extended(b"11 size=-1\n"), "a size of"),
        (extended(b"12 size=1e9\n"), "a size of"),
        (extended(b"15 size=999999\n"), "cut off"),
        (extended(b"18 GNU.sparse.a=1\n"), "sparse"),
        (extended(b"10 path=a\n", b"g"), "one name or size for all"),
    ],
)
def test_extended_headers_that_attack_are_refused(tmp_path: Path, head: bytes, message: str) -> None:
    write(tmp_path / "a.tar", {"0.jpg": b"one"})
    (tmp_path / "b.tar").write_bytes(head + (tmp_path / "a.tar").read_bytes())
    with pytest.raises(UserError, match=message):
        index_shards([tmp_path / "b.tar"])


def test_an_extended_header_at_the_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(extended(b"10 path=a\n"))
    with pytest.raises(UserError, match="cut off"):
        index_shards([tmp_path / "a.tar"])


def test_old_sparse_files_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "a.jpg", type=b"S")
    with pytest.raises(UserError, match="sparse"):
        index_shards([tmp_path / "a.tar"])


def test_an_index_takes_few_bytes_a_member(tmp_path: Path) -> None:
    found = index_shards([write(tmp_path / "a.tar", {f"{n:09d}.jpg": b"" for n in range(2000)})])
    total = found.shard.nbytes + found.offset.nbytes + found.size.nbytes + found.names.nbytes
    assert total / len(found) < 50


def test_an_index_that_was_kept_is_held_against_the_shards(shards: list[Path]) -> None:
    found = index_shards(shards)
    assert unfit(found) is None
    assert unfit(found.take(np.arange(0))) is None
    assert "beyond the ends" in str(unfit(replace(found, offset=found.offset + 100_000)))
    assert "beyond the ends" in str(unfit(replace(found, size=-found.size)))
    assert "beyond the ends" in str(unfit(replace(found, offset=found.offset - 512)))
    assert "no image of" in str(unfit(replace(found, offset=found.offset + 512)))
    assert "does not list" in str(unfit(replace(found, shard=found.shard + 1)))
    assert "differ in length" in str(unfit(replace(found, shard=found.shard[:-1])))
    write(shards[0], {"0.jpg": b"x" * 30_000})
    assert "b.tar has" in str(unfit(found))
    shards[0].unlink()
    assert unfit(found) == "b.tar is missing"
