"""Lines of plain and packed files are all read, or it is said that they are not."""

import gzip

import pytest
import zstandard

from skywright.engine.lines import text_lines
from skywright.errors import UserError

LINES = [f"line {number}, 第 {number * 7919} 行\n" for number in range(5000)]
TEXT = "".join(LINES).encode()
PACK = {".gz": gzip.compress, ".zst": zstandard.compress, ".txt": bytes}


@pytest.mark.parametrize("suffix", PACK)
def test_every_line_of_every_part_is_read(tmp_path, suffix):
    path = tmp_path / f"lines{suffix}"
    half = len("".join(LINES[:2500]).encode())
    # Packed files may be joined one behind the other.
    path.write_bytes(PACK[suffix](TEXT[:half]) + PACK[suffix](TEXT[half:]))
    assert list(text_lines(path)) == LINES


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("harm", ["cut short", "damaged", "empty"])
def test_a_file_that_is_not_whole_is_refused_behind_what_could_be_read(tmp_path, suffix, harm):
    path = tmp_path / f"lines{suffix}"
    packed = PACK[suffix](TEXT)
    middle = len(packed) // 2
    harmed = bytes(b ^ 0x5A for b in packed[middle : middle + 64])
    path.write_bytes(
        {"cut short": packed[:-9], "damaged": packed[:middle] + harmed + packed[middle + 64 :],
         "empty": packed[:4]}[harm]
    )  # fmt: skip
    read = []
    with pytest.raises(UserError, match=f"lines{suffix}: cannot be read on after line"):
        read.extend(line for line in text_lines(path))
    assert read == LINES[: len(read)]


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        list(text_lines(tmp_path / "none.jsonl"))
