"""Frames: what is packed comes back, damage is found, and bombs are refused."""

from __future__ import annotations

import io
import random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.corpus.sources.digests import matches
from skywright.corpus.sources.frames import (
    BombError,
    BrokenOffError,
    Damage,
    FrameError,
    Piece,
    packing_of,
    pieces,
)
from skywright.corpus.sources.inputs import Input
from skywright.corpus.sources.warc import read_warc
from tests.corpus.pages import EN, page_record
from tests.corpus.sources.packing import PACK

PACKED = [ending for ending in PACK if ending]
LONG = [pytest.param(ending, marks=pytest.mark.full) for ending in (".bz2", ".xz")]
TEXT = b"".join(b"line %d of the text\n" % n for n in range(30_000))


def source(data: bytes, block_bytes: int = 1 << 18) -> Input:
    return Input(io.BytesIO(data), block_bytes)


def unpack(data: bytes, ending: str) -> list[Piece | Damage]:
    packed = source(data)
    return list(pieces(packed, packing_of(packed, f"a{ending}")))


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, random.Random(0).randbytes(200_000)])
def test_frames_one_after_the_other_give_what_was_packed(ending: str, data: bytes) -> None:
    found = unpack(PACK[ending](data) + PACK[ending](b"second"), ending)
    assert b"".join(piece.data for piece in found if isinstance(piece, Piece)) == data + b"second"


@settings(max_examples=40, deadline=None)
@given(ending=st.sampled_from(PACKED), cut=st.integers(1, 10**6))
def test_a_cut_frame_is_never_taken_for_a_whole_one(ending: str, cut: int) -> None:
    packed = PACK[ending](TEXT)
    *_, last = unpack(packed[: 1 + cut % (len(packed) - 1)], ending)
    assert isinstance(last, Damage)
    assert isinstance(last.error, BrokenOffError)


@settings(max_examples=60, deadline=None)
@given(ending=st.sampled_from(PACKED), place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_and_the_next_frame_is_read(
    ending: str, place: int, bit: int
) -> None:
    packed = bytearray(PACK[ending](TEXT[:20_000]))
    place %= len(packed)
    packed[place] ^= 1 << bit
    found = unpack(bytes(packed) + PACK[ending](b"second"), ending)
    first = b"".join(p.data for p in found if isinstance(p, Piece) and p.frame < len(packed))
    damaged = any(isinstance(item, Damage) for item in found)
    # Some bits (a time, a system's number) mean nothing, and Arrow's lz4 writes no checksum.
    assert damaged or first == TEXT[:20_000] or ending == ".lz4"
    last = found[-1]
    assert (isinstance(last, Piece) and last.data == b"second") or damaged


@pytest.mark.parametrize("ending", [".gz", ".zst", *LONG])
def test_a_bomb_is_refused_long_before_its_end(ending: str) -> None:
    whole, chunk = 400 * 2**20, bytes(2**22)
    if ending == ".zst":  # in one frame, as the others
        packer = zstandard.ZstdCompressor().compressobj()
        packed = b"".join(packer.compress(chunk) for _ in range(whole // len(chunk)))
        packed += packer.flush()
    else:
        packed = PACK[ending](chunk * (whole // len(chunk)))
    read, found = 0, None
    packed_source = source(packed)
    for item in pieces(packed_source, packing_of(packed_source, f"a{ending}")):
        if isinstance(item, Damage):
            found = item.error
            break
        read += len(item.data)
    assert isinstance(found, BombError)
    assert read < 200 * 2**20


def test_an_lz4_frame_of_zeros_is_refused_at_the_same_ratio() -> None:
    packed = source(PACK[".lz4"](bytes(300 * 2**20)))  # 255 times is all that lz4 can
    found = [item for item in pieces(packed, packing_of(packed, "a")) if isinstance(item, Damage)]
    assert [type(item.error) for item in found] == [BombError]


def test_a_window_beyond_all_measure_is_refused() -> None:
    head = b"\x28\xb5\x2f\xfd\x00" + bytes((20 << 3,))  # 2^30 bytes
    found = unpack(head + b"\x01\x00\x00", ".zst")
    assert [type(item) for item in found] == [Damage]
    assert "memory" in str(found[0].error).lower() or isinstance(found[0].error, FrameError)


def test_a_dictionary_in_the_first_frame_is_used() -> None:
    records = [page_record(f"https://x.org/{n}", f"{EN} {n}") for n in range(40)]
    dictionary = zstandard.train_dictionary(4096, records * 8).as_bytes()
    packer = zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))
    for stored in (dictionary, zstandard.compress(dictionary)):
        head = b"\x5d\x2a\x4d\x18" + len(stored).to_bytes(4, "little") + stored
        data = head + b"".join(packer.compress(record) for record in records)
        found = list(read_warc(source(data), "s/a.warc.zst", 10**6))
        assert [r.url for r in found] == [f"https://x.org/{n}" for n in range(40)]
        assert all(record.rule is None for record in found)


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=400), needle=st.binary(min_size=1, max_size=3),
       block=st.integers(1, 40))  # fmt: skip
def test_a_needle_is_found_wherever_blocks_end(data: bytes, needle: bytes, block: int) -> None:
    wanted = [at for at in range(len(data)) if data.startswith(needle, at)]
    assert list(source(data, block).find(needle, 0)) == wanted
    assert source(data, block).exactly(3, 50) == data[3:53]


def test_digests_are_read_in_base32_and_in_hex() -> None:
    # FIPS 180-4 and RFC 1321: the digests of "abc".
    for declared in (
        "sha1:VGMT4NSHA2AWVOR6EVYXQUGCNSONBWE5",
        "SHA-1:a9993e364706816aba3e25717850c26c9cd0d89d",
        "md5:900150983cd24fb0d6963f7d28e17f72",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ):
        assert matches(declared, b"abc") is True
        assert matches(declared, b"abd") is False
        assert matches(declared, b"abd", b"abc") is True
    for unknown in (None, "", "sha1:", "crc32:1234", "sha1:tooshort", "sha1:" + "!" * 32):
        assert matches(unknown, b"abc") is None
