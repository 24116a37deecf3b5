from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from skywright.errors import UserError
from skywright.evaluate.reference import ForeignTokenizer, open_reference
from skywright.tokenizer import Tokenizer
from tests.evaluate.tiny import TEXTS, write_tokenizer


def test_a_tokenizer_of_ours_and_a_foreign_one_are_read(llama: Path, tmp_path: Path) -> None:
    assert isinstance(open_reference(llama), Tokenizer)
    write_tokenizer(tmp_path, bos=False)
    text = (tmp_path / "tokenizer.json").read_text().replace("<s>", "<start>")
    (tmp_path / "tokenizer.json").write_text(text)
    foreign = open_reference(tmp_path)
    assert isinstance(foreign, ForeignTokenizer)
    assert np.array_equal(foreign.encode(TEXTS[0]), open_reference(llama).encode(TEXTS[0]))


@pytest.mark.parametrize("spoilt", ["nowhere", "a file", "no tokenizer", "damaged"])
def test_a_place_without_a_tokenizer_is_refused_in_one_line_that_names_it(
    llama: Path, tmp_path: Path, spoilt: str
) -> None:
    place = tmp_path / "m"
    if spoilt == "a file":
        place.write_text("x")
    elif spoilt != "nowhere":
        shutil.copytree(llama, place)
        (place / "tokenizer.json").unlink()
    if spoilt == "damaged":
        (place / "tokenizer.json").write_text("{")
    with pytest.raises(UserError) as refused:
        open_reference(place)
    message = str(refused.value)
    assert message.startswith(f"{place}: ")
    assert "\n" not in message
    assert "huggingface.co" not in message
    assert "--reference" in message or "--tokenizer" in message
