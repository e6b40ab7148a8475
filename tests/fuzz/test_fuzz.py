"""Readers of what strangers write, given files that were changed: read or refused in a line, whatever the bytes.

Longer, guided by what the code covers: `python tests/fuzz/fuzz.py` (see its help).
"""

from __future__ import annotations

import base64
import io
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_targets import TARGETS, attempt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: A change: where (a share of the length), what kind, how much, and with what.
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["set", "flip", "cut", "drop", "put", "copy"]),
        st.integers(0, 255),
        st.integers(0, 2**16),
    ),
    min_size=1,
    max_size=6,
)


def changed(content: bytes, changes: list[tuple[float, str, int, int]], tokens: tuple[bytes, ...]) -> bytes:
    """A file with some changes."""
    out = bytearray(content)
    for share, kind, value, more in changes:
        at = int(share * len(out))
        if kind == "put":
            out[at:at] = tokens[more % len(tokens)] if tokens and value < 200 else bytes([value]) * (1 + more % 9)
        elif kind == "copy":
            out[at:at] = out[more % (len(out) + 1) :][: value + 1]
        elif kind == "drop":
            del out[at : at + 1 + more % 64]
        elif kind == "cut":
            del out[at:]
        elif out:
            out[at] = value if kind == "set" else out[at] ^ (1 << value % 8)
    return bytes(out)


@pytest.mark.parametrize("name", TARGETS)
def test_a_whole_file_is_read(name: str) -> None:
    for seed in TARGETS[name].seeds():
        assert attempt(TARGETS[name], seed) is None


@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_file_is_read_or_refused_in_a_line(name: str) -> None:
    target, said = TARGETS[name], set()
    seeds = target.seeds()

    @settings(
        max_examples=target.examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(seeds), CHANGES)
    def run(seed: bytes, changes: list[tuple[float, str, int, int]]) -> None:
        said.add(attempt(target, changed(seed, changes, target.tokens)))

    run()
    assert len(said) > 1 or name == "image"  # some were refused: the changes reach the reader


def test_what_a_pickle_calls_is_never_called(tmp_path, monkeypatch) -> None:
    called = []
    monkeypatch.setattr("os.system", called.append)
    assert attempt(TARGETS["pickle"], b"cos\nsystem\n(S'true'\ntR.") is not None
    assert called == []


def test_small_files_that_would_fill_the_memory_are_refused(tmp_path) -> None:
    table = pa.table({"label": pa.array(["a"] * 100_000).dictionary_encode()})
    rows = io.BytesIO()
    with pq.ParquetWriter(rows, table.schema) as file:
        for _ in range(3):
            file.write_table(table)
    packed = io.BytesIO()
    np.savez_compressed(packed, features=np.zeros((4, 2), np.float32), labels=np.zeros(4, np.int64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("noisyrun.data.arrow.free_memory", lambda: 1_000_000)
        patch.setattr("noisyrun.data.sources.features.free_memory", lambda: 100)
        for name, content in (("manifest.parquet", rows), ("features.npz", packed)):
            said = attempt(TARGETS[name], content.getvalue())
            assert said is not None
            assert "would fill the memory" in said


#: Parquet, compressed, whose footer contradicts itself: Arrow throws past Python when asked for one column's chunk.
_CONTRADICTING = (
    r"""c-obe&2G~`5XX0&I5JU$(n!0qB_FJ+b%T@!iU<N!4(qf@T2hflDiMf_;}|F4G$sjz3va-YV~-p-aOeYY-~l*t;1Lkwzylz`&f0OB50Dr|v*Z"""
    r"""8H{$@5KyTO_}BuO?%zRnkvLnyZ=BZTZ?aOy$OhJYZFBeXyik|imU(r==?EH+eGB(AOT%u9yEy@GKf%~3irro_uP5`4q4$FOt;t7r)>s|lX+H"""
    r"""<A>Q($HJMSZ}YVx16mNr1Wf8y%5iH6~ws)*_d{i-9?dM^qU((i)2;7QHH8ab1BNNP?v9@JuV?NHFCOc-zL0tW>Zp=fj#bSqPou0gdqEN+x6#"""
    r"""^ac}IqQzgk2<)u69J?Xg}L={cf>L$`jMk}FIRttedq6$63^c^<qrm|{GS^=(1B)DLfFT3>X_mpNLX#XNEY)A0kVEPuD->~@sFOF)NrfMr`;w"""
    r"""pmn9@BGd{*ug3(!a;G%x=uFlMy@qQw07qreCmmo-}_Z{%>YW<*rPN(KDGUrb0i;NYm8}Yc}t<?u64+e@IusCZ5F@J7%HXV{F1Kk5w4+SlJVr"""
    r"""#S@MoC^L2-gxMM$Esr2_!0ijvKDbT;_>giS#KSm0v@*EbBj4%!eY^GGS*Ut!Pw<^^Usy%>QOr9Lkm>@@g0R*MI@MP`JP#oM_EYX|K}!|Ul;y"""
    r"""?!g?0ks=wa*7Z^Pq}$Ug>HS(I>~A930EP*lIRSYL=%w^Q}l?1<REi&P`9htFTQ<83Dhw(a3?FfsV}N4>$RalKT$R@~9xZHa&AHUH!^_$TfU!"""
    r"""Ykgi"""
)


def test_a_footer_that_ended_the_process_is_refused() -> None:
    said = attempt(TARGETS["manifest.parquet"], zlib.decompress(base64.b85decode(_CONTRADICTING)))
    assert said is not None
    assert "histogram size mismatch" in said


def test_a_member_of_an_archive_that_is_no_array_is_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("features.npy", b"not an array")
        archive.writestr("labels.npy", b"nor this")
    said = attempt(TARGETS["features.npz"], packed.getvalue())
    assert said is not None
    assert "is no array" in said
