"""`skywright tokens` as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from skywright.tokenizer import train
from skywright.tokenizer.tokenizer import Tokenizer
from skywright.tokens import TokensConfig, build
from tests.tokenizer.conftest import SMALL, read_documents
from tests.tokens.conftest import write_documents

ROOT = Path(__file__).parents[2]
SKYWORK = "recipes/skywork-13b.yaml"

# Skywork-13B report (arXiv 2310.19341), table 1, in per cent of stage 1.
TABLE_1 = {
    "en_web": 39.8, "en_books": 3.6, "en_papers": 3.0, "en_encyclopedia": 0.5,
    "en_miscellany": 2.9, "zh_web": 30.4, "zh_social": 5.5, "zh_encyclopedia": 0.8,
    "zh_miscellany": 3.1, "other_encyclopedia": 2.4, "code": 8.0,
}  # fmt: skip


def skywright(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "skywright", "tokens", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer and shards of two sources."""
    place = tmp_path_factory.mktemp("made")
    documents = read_documents()
    train(SMALL, documents, place / "tokenizer")
    rows = [{"source": "web", "lang": lang, "text": text} for lang, _, text in documents[::4]]
    config = TokensConfig.model_validate(
        {
            "sources": {
                "en": {"from": ["web"], "lang": ["en"]},
                "zh": {"from": ["web"], "lang": ["zh-Hans", "zh-Hant"]},
            }
        }
    )
    path = write_documents(place / "documents.parquet", rows)
    build(config, [path], Tokenizer.load(place / "tokenizer"), place / "shards")
    return place


def test_shards_go_out_and_come_back(made: Path, tmp_path: Path) -> None:
    out = skywright("export", made / "shards", tmp_path / "out", "--to", "datatrove", "--json")
    assert out.returncode == 0, out.stderr
    exported = {row["source"]: row["tokens"] for row in json.loads(out.stdout)}
    back = skywright(
        "import", tmp_path / "back", f"en={tmp_path}/out/en.ds", f"zh={tmp_path}/out/zh.ds",
        "--from", "datatrove", "--tokenizer", made / "tokenizer", "--json",
    )  # fmt: skip
    assert back.returncode == 0, back.stderr
    assert {row["source"]: row["tokens"] for row in json.loads(back.stdout)} == exported
    told = [skywright("info", place, "--json") for place in (made / "shards", tmp_path / "back")]
    assert told[0].returncode == 0, told[0].stderr
    assert json.loads(told[0].stdout) == json.loads(told[1].stdout)
    assert skywright("check", tmp_path / "back").returncode == 0


def test_a_flipped_byte_is_one_line_and_exit_1(made: Path, tmp_path: Path) -> None:
    for path in (made / "shards").glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / "zh-00000.bin").read_bytes())
    data[77] ^= 4
    (tmp_path / "zh-00000.bin").write_bytes(data)
    done = skywright("check", tmp_path)
    assert done.returncode == 1
    assert "zh-00000.bin: its SHA-256 is not the manifest's" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_reports_run_is_planned_and_drawn_before_anything_is_there(tmp_path: Path) -> None:
    done = skywright(
        "plan", SKYWORK, "--workdir", tmp_path / "none", "--html", tmp_path / "p.html", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert "drawn in" in done.stderr
    assert "skywork-13b" in (tmp_path / "p.html").read_text()
    one, two, stem = json.loads(done.stdout)["segments"]
    for segment, trillions in ((one, 2.0), (two, 1.1)):
        assert segment["tokens"] == pytest.approx(trillions * 1e12, rel=1e-8)
        assert {n: 100 * s for n, s in segment["shares"].items()} == pytest.approx(TABLE_1)
    assert stem["tokens"] == pytest.approx(130e9, rel=1e-7)
    assert stem["shares"]["stem"] == pytest.approx(0.2, abs=1e-7)
    course = [point["shares"]["stem"] for point in stem["curve"]]
    # 10 + 30 t^2 averaged over the first and the last twentieth.
    assert course[0] == pytest.approx(0.10 + 0.30 * 0.05**2 / 3, abs=1e-5)
    assert course[-1] == pytest.approx(0.40 - 0.30 * (0.05 - 0.05**2 / 3), abs=1e-4)
    assert max(stem["epochs"].values()) < 5


def test_a_plan_without_shards_or_sizes_says_what_is_missing(tmp_path: Path) -> None:
    done = skywright("plan", "recipes/laptop.yaml", "--workdir", tmp_path / "none")
    assert done.returncode == 1
    assert "tokens.sources.code: there are no shards and no expected_tokens" in done.stderr
