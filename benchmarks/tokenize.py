"""Text to ids on one core: MB/s of skywright, SentencePiece, `tokenizers` and datatrove.

    python -m benchmarks.tokenize [--rounds 5] [--out FILE]

Every round runs each contender once, in a fresh process on one core; the figures are medians of
the rounds. A contender reads its vocabulary, has its code loaded (and compiled), and then meets
each text for the first time. Skywright encodes an Arrow column, SentencePiece and `tokenizers` a
list of strings in one call; datatrove runs its DocumentTokenizer, which also writes a file.

Texts: the example crawl, up to 1.2 MB a file. Code is the crawl's and the running Python's own
library, because the crawl holds too little of it. Vocabularies: 8,192 pieces trained on the crawl
with the settings of the laptop recipe, and LLaMA's 32,000 where ../shared/data has them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from benchmarks.peers import Unavailable, interpreter

ROOT = Path(__file__).parents[1]
CRAWL = ROOT / "examples" / "crawl"
LLAMA = ROOT.parent / "shared" / "data" / "tokenizer" / "llama2_tokenizer.model"
FILES = {
    "en": ["en_wiki.parquet", "en_peps.jsonl.gz", "en_blogs.jsonl.gz", "en_literature.jsonl.gz"],
    "code": ["code_python.jsonl.zst"],
    "zh": ["zh_wiki.jsonl.gz", "zh_law.jsonl.gz", "zh_javaguide.jsonl.gz", "zh_poetry.jsonl.gz"],
}
FILE_BYTES = 1_200_000
CODE_BYTES = 3_600_000
CONTENDERS = ("skywright", "sentencepiece", "tokenizers", "datatrove")
LAPTOP = "laptop-8192"
ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

Texts = dict[str, list[str]]


def _first(texts: list[str], limit_bytes: int) -> list[str]:
    """The first texts, until they have so many bytes."""
    chosen, size_bytes = [], 0
    for text in texts:
        if size_bytes >= limit_bytes:
            break
        chosen.append(text)
        size_bytes += len(text.encode())
    return chosen


def _read(name: str) -> list[str]:
    path = CRAWL / name
    if path.suffix == ".parquet":
        return pq.read_table(path, columns=["text"])["text"].to_pylist()
    whole = pyarrow.json.ReadOptions(block_size=1 << 28)
    return pyarrow.json.read_json(path, read_options=whole)["text"].to_pylist()


def crawl_texts() -> Texts:
    """Distinct texts of each language, at least 3 MB."""
    texts = {
        lang: [text for name in names for text in _first(_read(name), FILE_BYTES)]
        for lang, names in FILES.items()
    }
    library = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    sources = [path.read_text(encoding="utf-8", errors="replace") for path in library]
    texts["code"] = _first(list(dict.fromkeys(texts["code"] + sources)), CODE_BYTES)
    return texts


def llama_definition(model: Any) -> bytes:
    """`tokenizer.json` of LLaMA's SentencePiece model: merges by falling score of what they make,
    then the longer left part first (see `skywright.tokenizer.huggingface`)."""
    from skywright.tokenizer.huggingface import FIRST_BYTE_ID, SPACE_MARK, SPECIALS, UNK

    pieces = [model.IdToPiece(i) for i in range(model.GetPieceSize())]
    first = FIRST_BYTE_ID + 256
    scores = {piece: model.GetScore(i) for i, piece in enumerate(pieces[first:], first)}
    merges = [
        (-score, -cut, piece[:cut], piece[cut:])
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokens = [
        {"id": i, "content": token, "special": True, **special} for i, token in enumerate(SPECIALS)
    ]
    steps = [
        {"type": "Prepend", "prepend": SPACE_MARK},
        {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK},
    ]
    bpe = {
        "type": "BPE",
        "dropout": None,
        "unk_token": UNK,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {piece: i for i, piece in enumerate(pieces)},
        "merges": [[left, right] for _, _, left, right in sorted(merges)],
    }
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": tokens,
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": bpe,
    }
    return json.dumps(content, ensure_ascii=False).encode()


def make_vocabularies(texts: Texts, out: Path) -> dict[str, Path]:
    """Folders with `tokenizer.json` and `tokenizer.model`, by name."""
    import sentencepiece

    from skywright.tokenizer import TokenizerConfig, train

    langs = {"en": "en", "code": "code", "zh": "zh-Hans"}
    documents = [(langs[lang], "crawl", text) for lang in texts for text in texts[lang]]
    train(TokenizerConfig(vocab_size=8192), documents, out / LAPTOP)
    folders = {LAPTOP: out / LAPTOP}
    if LLAMA.is_file():
        folder = folders["llama-32000"] = out / "llama-32000"
        folder.mkdir()
        (folder / "tokenizer.model").write_bytes(LLAMA.read_bytes())
        model = sentencepiece.SentencePieceProcessor(model_file=str(LLAMA))
        (folder / "tokenizer.json").write_bytes(llama_definition(model))
    return folders


def _skywright(folder: Path) -> Callable[[list[str]], Callable[[], int]]:
    from skywright.tokenizer.encoder import FastEncoder

    encoder = FastEncoder((folder / "tokenizer.json").read_bytes(), str(folder))

    def prepare(texts: list[str]) -> Callable[[], int]:
        column = pa.array(texts)
        return lambda: len(encoder.encode(column)[0])

    return prepare


def _sentencepiece(folder: Path) -> Callable[[list[str]], Callable[[], int]]:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return lambda texts: lambda: sum(map(len, model.encode(texts, num_threads=1)))


def _tokenizers(folder: Path) -> Callable[[list[str]], Callable[[], int]]:
    import tokenizers

    model = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    model.encode_special_tokens = True

    def count(texts: list[str]) -> int:
        found = model.encode_batch_fast(texts, add_special_tokens=False)
        return sum(len(encoding.ids) for encoding in found)

    return lambda texts: lambda: count(texts)


WORKERS = {"skywright": _skywright, "sentencepiece": _sentencepiece, "tokenizers": _tokenizers}


def work(contender: str, folder: Path, texts: Texts) -> dict[str, dict[str, float]]:
    """By language: seconds to load the vocabulary, seconds to encode, tokens."""
    WORKERS[contender](folder)(["Load and compile. 编译"])()
    results = {}
    for lang, group in texts.items():
        started = time.perf_counter()
        encode = WORKERS[contender](folder)(group)
        load_s = time.perf_counter() - started
        started = time.perf_counter()
        tokens = encode()
        seconds = time.perf_counter() - started
        results[lang] = {"load_s": load_s, "seconds": seconds, "tokens": tokens}
    return results


def _run(contender: str, folder: Path, texts_file: Path) -> dict[str, dict[str, float]]:
    """`work` in a fresh process."""
    if contender == "datatrove":
        script = Path(__file__).parent / "peers" / "datatrove_tokens.py"
        command = [str(interpreter("datatrove")), str(script)]
    else:
        command = [sys.executable, "-m", "benchmarks.tokenize", "--worker", contender]
    done = subprocess.run(
        [*command, str(folder), str(texts_file)],
        env={**os.environ, **ONE_THREAD}, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and those that it starts on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def measure(rounds: int = 5) -> dict[str, Any]:
    """MB/s of every contender by vocabulary and language, and how they compare.

    `mb_s` are medians of the rounds and `mb_s_range` their lowest and highest; `times` are medians
    of skywright's speed over the contender's in the same round. `unavailable` says which contender
    could not be installed, and why. Raises `RuntimeError` if the counts of tokens differ among the
    first three: they must have done the same work (datatrove reads a literal "<s>" as special).
    """
    from skywright.run.runner import environment

    texts = crawl_texts()
    megabytes = {lang: sum(len(t.encode()) for t in texts[lang]) / 1e6 for lang in texts}
    contenders, unavailable = list(CONTENDERS), {}
    try:
        interpreter("datatrove")
    except Unavailable as error:
        contenders.remove("datatrove")
        unavailable["datatrove"] = str(error)
    found: dict[str, dict[str, dict[str, list[dict[str, float]]]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        texts_file = Path(temporary) / "texts.json"
        texts_file.write_text(json.dumps(texts), encoding="utf-8")
        folders = make_vocabularies(texts, Path(temporary))
        others = OthersShare()
        with one_core():
            for _, (name, folder), contender in product(range(rounds), folders.items(), contenders):
                for lang, row in _run(contender, folder, texts_file).items():
                    by_contender = found.setdefault(name, {}).setdefault(lang, {})
                    by_contender.setdefault(contender, []).append(row)
        share = others.share()
    vocabularies = {
        name: {lang: _compare(lang, megabytes[lang], rows) for lang, rows in by_lang.items()}
        for name, by_lang in found.items()
    }
    machine = environment()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": {key: machine[key] for key in ("cpu", "cores", "memory_gb", "platform")},
        "packages": {
            name: machine["packages"].get(name) for name in ("sentencepiece", "tokenizers", "numba")
        },
        "rounds": rounds,
        "cpu_share_of_others": share,
        "texts": {
            lang: {"documents": len(texts[lang]), "mb": round(megabytes[lang], 2)} for lang in texts
        },
        "vocabularies": vocabularies,
        "unavailable": unavailable,
    }


def _compare(
    lang: str, megabytes: float, rows: dict[str, list[dict[str, float]]]
) -> dict[str, dict[str, Any]]:
    tokens = {name: int(runs[0]["tokens"]) for name, runs in rows.items()}
    if len({tokens[name] for name in WORKERS}) != 1:
        raise RuntimeError(f"{lang}: the contenders do not agree: {tokens}")
    seconds = {name: [run["seconds"] for run in runs] for name, runs in rows.items()}
    ours = seconds["skywright"]
    return {
        "mb_s": {
            name: round(statistics.median(megabytes / s for s in seconds[name]), 2) for name in rows
        },
        "mb_s_range": {
            name: [
                round(megabytes / max(seconds[name]), 2),
                round(megabytes / min(seconds[name]), 2),
            ]
            for name in rows
        },
        "times": {
            name: round(
                statistics.median(b / a for a, b in zip(ours, seconds[name], strict=True)), 2
            )
            for name in rows
        },
        "load_s": {
            name: round(statistics.median(run["load_s"] for run in rows[name]), 3) for name in rows
        },
        "tokens": tokens,
    }


class OthersShare:
    """The share of this machine's processor time that other programs take, from now on."""

    def __init__(self) -> None:
        self._started, self._before, self._own = time.monotonic(), psutil.cpu_times(), self._own_s()

    @staticmethod
    def _own_s() -> float:
        times = psutil.Process().cpu_times()
        return times.user + times.system + times.children_user + times.children_system

    def share(self) -> float:
        before, after = self._before, psutil.cpu_times()
        idle = after.idle - before.idle + after.iowait - before.iowait
        busy = sum(after) - sum(before) - idle - (self._own_s() - self._own)
        seconds = time.monotonic() - self._started
        return round(max(0.0, busy) / (seconds * (psutil.cpu_count() or 1)), 3)


def table(result: dict[str, Any]) -> str:
    """The result for reading: MB/s and, in brackets, how many times slower than skywright."""
    lines = [
        f"MB/s on one core, median of {result['rounds']} rounds"
        f" (others took {result['cpu_share_of_others']:.0%} of the processor)"
    ]
    for vocabulary, by_lang in result["vocabularies"].items():
        lines += ["", f"{vocabulary:14}" + "".join(f"{name:>22}" for name in CONTENDERS)]
        for lang, row in by_lang.items():
            cells = [
                f"{row['mb_s'][name]:.1f} ({row['times'][name]:.1f}x)"
                if name in row["mb_s"]
                else "unavailable"
                for name in CONTENDERS
            ]
            lines.append(f"  {lang:12}" + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and one line of JSON, and write it if asked; or be a worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", nargs=3, metavar=("NAME", "FOLDER", "TEXTS"), help="internal")
    arguments = parser.parse_args()
    if arguments.worker:
        contender, folder, texts = arguments.worker
        content = json.loads(Path(texts).read_text(encoding="utf-8"))
        print(json.dumps(work(contender, Path(folder), content)))
        return
    result = measure(arguments.rounds)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, sort_keys=True, indent=1) + "\n")
    print(table(result))
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
