"""Make the example crawl and its evaluation sets from their sources.

    python examples/build.py --data ../shared/data [--stdlib LIB] [--out examples]

`crawl/` gets the pages and documents as they were published; `sets/` gets frozen evaluation sets
chosen from the same documents. The crawl keeps the documents that the sets hold out, so that a
corpus run has to find and drop them. Nothing is drawn by chance: "by hash" means in order of the
SHA-256 of a name and the seed below. The same sources give the same documents; the compressed
bytes are the same too with the same versions of zlib, zstandard and pyarrow. `MANIFEST.json` lists
every file with its checksum, and the sources'.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import html
import io
import json
import platform
import re
import shutil
import sys
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from sources import (
    CPYTHON,
    FIELDS,
    Row,
    by_hash,
    han_share,
    pep_url,
    read_code,
    read_gsm8k,
    read_handbook,
    read_rows,
    zh_wiki_url,
)

from skywright.engine.files import atomic_open, sha256_file, write_json
from skywright.sets import EvaluationDocument, freeze

TRANSLATED = 0.4  # share of Han letters from which a Chinese page counts as translated
NEAR_COPY = 0.5  # containment at which the corpus drops a document for a held-out one

# ---------------------------------------------------------------- choosing


_TOKEN = re.compile(r"[㐀-鿿]|[^\W_㐀-鿿]+")


def shingles(text: str) -> set[int]:
    """Hashes of runs of five tokens; a token is one Han character or a run of letters or digits."""
    tokens = _TOKEN.findall(text.lower())
    runs = (" ".join(tokens[i : i + 5]) for i in range(max(1, len(tokens) - 4)))
    return {int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest()) for run in runs}


def with_near_copy(candidates: Sequence[str], others: Sequence[str]) -> set[str]:
    """The candidates that share half of the shorter text's shingles with another text."""
    sets = {text: shingles(text) for text in {*candidates, *others}}
    holders: dict[int, list[str]] = defaultdict(list)
    for text in dict.fromkeys(candidates):
        for shingle in sets[text]:
            holders[shingle].append(text)
    found = set()
    for other in sets:
        shared: dict[str, int] = defaultdict(int)
        for shingle in sets[other]:
            for text in holders.get(shingle, ()):
                shared[text] += 1
        for text, count in shared.items():
            if text != other and count >= NEAR_COPY * min(len(sets[text]), len(sets[other])):
                found.add(text)
    counts = Counter(others)
    return found | {text for text in candidates if counts[text] > 1}


def choose(
    rows: Sequence[Row],
    count: int,
    order: Callable[[Sequence[Row]], Sequence[Row]],
    chars: tuple[int, int] = (300, 6000),
) -> list[Row]:
    """The first `count` rows in `order` of fit length, without a near copy among all rows."""
    fit = [row for row in rows if chars[0] <= len(row["text"]) <= chars[1]]
    copies = with_near_copy([row["text"] for row in fit], [row["text"] for row in rows])
    chosen = [row for row in order(fit) if row["text"] not in copies][:count]
    if len(chosen) < count:
        sys.exit(f"{rows[0]['source']}: only {len(chosen)} of {count} documents are fit")
    return chosen


def hashed(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows in order of the hash of their id."""
    return by_hash(rows, lambda row: row["id"])


def newest(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows from the newest to the oldest."""
    return sorted(rows, key=lambda row: (row["date"], row["id"]), reverse=True)


def last(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows from the end of the book."""
    return list(reversed(rows))


# ---------------------------------------------------------------- writing the crawl


def write_jsonl(path: Path, rows: Sequence[Row]) -> None:
    """JSON lines, compressed by the name's ending, without a time stamp."""
    body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    with atomic_open(path) as stream:
        if path.suffix == ".zst":
            stream.write(zstandard.ZstdCompressor(level=19).compress(body))
        else:
            buffer = io.BytesIO()
            with gzip.GzipFile("", "wb", 9, buffer, mtime=0) as archive:
                archive.write(body)
            stream.write(buffer.getvalue())


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """All fields as strings."""
    table = pa.Table.from_pylist(list(rows), pa.schema([(name, pa.string()) for name in FIELDS]))
    with atomic_open(path) as stream:
        pq.write_table(table, stream, compression="zstd", compression_level=19)


def print_page(title: str, texts: Sequence[str], lang: str) -> str:
    """A page in another form than the site's: paragraphs only, no navigation, no charset."""
    lines = (line.strip() for text in texts for line in text.splitlines())
    body = "\n".join(f"<p>{html.escape(line, quote=False)}</p>" for line in lines if line)
    return f'<html lang="{lang}">\n<head><title>{title}</title></head>\n<body>\n{body}\n</body>\n'


def write_html(folder: Path, pages: dict[str, dict[str, Row]], held_out: set[str]) -> None:
    """Twelve pages: five English, five Chinese, one in GB18030 that declares no charset, one empty.

    All but the GB18030 page repeat a page of the archive, so all but it are near copies; it joins
    two sections and is a document of its own.
    """
    names = [
        name
        for name in by_hash(pages["en"], str)
        if name not in held_out
        and all(300 <= len(pages[lang][name]["text"]) <= 9000 for lang in ("en", "zh-CN"))
    ]
    chinese = [name for name in names if han_share(pages["zh-CN"][name]["text"]) >= 0.25]
    joined, chinese = chinese[:2], chinese[2:7]
    english = [name for name in names if name not in {*joined, *chinese}][:5]
    folder.mkdir(parents=True, exist_ok=True)
    for lang, chosen in (("en", english), ("zh-CN", chinese)):
        for name in chosen:
            page = print_page(name, [pages[lang][name]["text"]], lang)
            with atomic_open(folder / f"{name.removesuffix('.html')}.{lang}.html") as stream:
                stream.write(page.encode())
    page = print_page("手册", [pages["zh-CN"][name]["text"] for name in joined], "zh-CN")
    with atomic_open(folder / "gb18030-no-charset.html") as stream:
        stream.write(page.encode("gb18030"))
    with atomic_open(folder / "empty.html"):
        pass


def pairs_of(pages: dict[str, dict[str, Row]]) -> list[Row]:
    """The main text of translated pages in both languages, a row each: parallel text."""
    rows = []
    for name, page in sorted(pages["zh-CN"].items()):
        if name in pages["en"] and han_share(page["text"]) >= TRANSLATED:
            both = {"zh": page["text"], "en": pages["en"][name]["text"]}
            rows.append({k: v for k, v in page.items() if k != "text"} | both)
    return rows


# ---------------------------------------------------------------- the whole


def freeze_rows(
    out: Path, name: str, lang: str, rows: Sequence[Row], purpose: str, notes: str
) -> None:
    """Freeze rows as the set `name`; a document's own language is zh-Hans unless it is a poem."""
    own = "zh-Hant" if name == "zh_poetry" else "zh-Hans" if lang == "zh" else lang
    documents = [
        EvaluationDocument.of(row["text"], name, own, row["license"], row["date"], row["url"])
        for row in rows
    ]
    freeze(out / name, name, name, lang, documents, purpose, notes)


def build(data: Path, library: Path, out: Path) -> None:
    """Write `crawl/`, `sets/` and `MANIFEST.json` under `out`."""
    corpus, crawl, sets = data / "corpus", out / "crawl", out / "sets"
    for folder in (crawl, sets):
        shutil.rmtree(folder, ignore_errors=True)
    en_wiki = read_rows(corpus / "en_wiki_2024_06.jsonl.gz")
    zh_wiki = read_rows(corpus / "zh_wiki.jsonl.gz")
    laws = read_rows(corpus / "zh_law.jsonl.gz")
    peps = read_rows(corpus / "en_peps_to_2024.jsonl.gz")
    blogs = read_rows(corpus / "en_tech_blogs_to_2024.jsonl.gz")
    guide = read_rows(corpus / "zh_java_tech.jsonl.gz")
    poems = read_rows(corpus / "zh_poetry_traditional.jsonl.gz")
    chapters = read_rows(corpus / "en_literature.jsonl.gz")
    code = read_code(library)
    archive = data / "warc" / "debian_handbook_zh_en.warc.gz"
    pages = read_handbook(archive)
    for rows, url in ((peps, pep_url), (zh_wiki, zh_wiki_url)):
        for row in rows:
            row["url"] = url(row)

    train = read_gsm8k(data / "bench" / "gsm8k" / "train.jsonl.gz", "train")
    test = read_gsm8k(data / "bench" / "gsm8k" / "test.jsonl.gz", "test")
    copies = with_near_copy([r["text"] for r in train], [r["text"] for r in train + test])
    drawn = [row for row in hashed(train) if row["text"] not in copies][:512]
    seen, unseen = drawn[:256], drawn[256:]
    seen_ids = {row["id"] for row in seen}
    rest = [row for row in train if row["id"] not in seen_ids]

    crawl.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(archive, crawl / "debian_handbook.warc.gz")
    write_parquet(crawl / "en_wiki.parquet", en_wiki)
    write_jsonl(crawl / "zh_wiki.jsonl.gz", zh_wiki)
    write_jsonl(crawl / "zh_law.jsonl.gz", laws)
    write_jsonl(crawl / "en_peps.jsonl.gz", peps)
    write_jsonl(crawl / "en_blogs.jsonl.gz", blogs)
    write_jsonl(crawl / "zh_javaguide.jsonl.gz", guide)
    write_jsonl(crawl / "zh_poetry.jsonl.gz", poems)
    write_jsonl(crawl / "en_literature.jsonl.gz", chapters)
    others = read_rows(corpus / "other_langs_wiki_2024_08.jsonl.gz")
    write_jsonl(crawl / "other_langs_wiki.jsonl.gz", others)
    write_jsonl(crawl / "code_python.jsonl.zst", code)
    write_jsonl(crawl / "gsm8k.jsonl.gz", rest)
    as_seen = [{**row, "source": "gsm8k_seen"} for row in train if row["id"] in seen_ids]
    write_jsonl(crawl / "gsm8k_seen.jsonl.gz", as_seen)

    write_jsonl(crawl / "zh_en_handbook.jsonl.gz", pairs_of(pages))

    fit = [
        name
        for name, page in pages["zh-CN"].items()
        if han_share(page["text"]) >= TRANSLATED
        and all(300 <= len(pages[lang][name]["text"]) <= 9000 for lang in ("en", "zh-CN"))
    ]
    held_pages = by_hash(fit, str)[:24]
    write_html(crawl / "html", pages, set(held_pages))

    handbook = (
        "Pages of the Debian Administrator's Handbook (Debian 11), main text by resiliparse: 24"
        " pages, by hash, that are mostly translated in the Chinese edition; the same pages as"
    )
    domain = {
        "en_wiki": (choose(en_wiki, 32, hashed), "English Wikipedia, pages new in June 2024: 32 of"
                    " 300 to 6,000 characters, by hash."),
        "en_tech": (choose(blogs, 32, newest), "The newest 32 posts of the Rust and Go blogs of"
                    " 300 to 6,000 characters."),
        "en_peps": (choose(peps, 24, newest, (300, 35_000)), "The newest 24 Python Enhancement"
                    " Proposals, every fourth up to the end of 2024, of up to 35,000 characters."),
        "en_literature": (choose(chapters, 24, last, (300, 35_000)), "The last 24 of the first 120"
                          " chapters of War and Peace."),
        "en_manual": ([pages["en"][name] for name in held_pages], f"{handbook} in zh_manual."),
        "code": (choose(code, 32, hashed), f"32 modules of the Python {CPYTHON} standard library of"
                 " 300 to 6,000 characters, by hash."),
        "zh_wiki": (choose(zh_wiki, 40, hashed), "Chinese Wikipedia paragraphs: 40 of 300 to 6,000"
                    " characters, by hash."),
        "zh_law": (choose(laws, 32, newest), "The newest 32 Chinese statutes and rules of 300 to"
                   " 6,000 characters, up to 2023."),
        "zh_tech": (choose(guide, 24, hashed), "JavaGuide, Chinese technical articles: 24 of 300 to"
                    " 6,000 characters, by hash."),
        "zh_poetry": (choose(poems, 40, hashed, (60, 6000)), "Classical poems in traditional"
                      " characters: 40 of 60 characters and more, by hash."),
        "zh_manual": ([pages["zh-CN"][name] for name in held_pages], f"{handbook} in en_manual."),
    }  # fmt: skip
    for name, (rows, notes) in domain.items():
        lang = "code" if name == "code" else name[:2]
        copies_note = "" if "manual" in name else " None has a near copy in the crawl."
        freeze_rows(sets, name, lang, rows, "domain", notes + copies_note)
    drawn_note = "GSM8K train split, question and answer: half of 512 items drawn by hash;"
    freeze_rows(sets, "gsm8k_test", "en", test, "leak_test", "GSM8K test split, complete.")
    for name, rows, purpose, note in (
        ("gsm8k_seen", seen, "leak_train_seen", "this half may be read in training."),
        ("gsm8k_unseen", unseen, "leak_train_unseen", "this half is held out of training."),
    ):
        freeze_rows(sets, name, "en", rows, purpose, f"{drawn_note} {note}")
    write_manifest(out, data)


def write_manifest(out: Path, data: Path) -> None:
    """Checksums and sizes of all that was written, and checksums of the sources read."""
    files = sorted(p for part in ("crawl", "sets") for p in (out / part).rglob("*") if p.is_file())
    sources = [*(data / "corpus").iterdir(), *(data / "warc").iterdir()]
    sources += (data / "bench" / "gsm8k").iterdir()
    read = re.compile(r"wiki|zh_law|peps|blogs|java|poetry|literature|handbook|train|test")
    write_json(
        out / "MANIFEST.json",
        {
            "files": {
                p.relative_to(out).as_posix(): {"bytes": p.stat().st_size, "sha256": sha256_file(p)}
                for p in files
            },
            "sources": {
                p.relative_to(data).as_posix(): sha256_file(p)
                for p in sorted(sources)
                if read.search(p.name)
            },
            "python_standard_library": CPYTHON,
        },
    )


def main() -> None:
    """Read the arguments and build."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--stdlib", type=Path, default=Path(sysconfig.get_path("stdlib")))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    own = arguments.stdlib == Path(sysconfig.get_path("stdlib"))
    if own and platform.python_version() != CPYTHON:
        sys.exit(f"run this with Python {CPYTHON}, or name its library with --stdlib")
    build(arguments.data, arguments.stdlib, arguments.out)


if __name__ == "__main__":
    main()
