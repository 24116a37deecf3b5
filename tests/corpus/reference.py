"""The signals in plain Python, slowly, from their formulas: what the kernels must equal."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter

BULLETS = "•●○◦■□▪▫※·➢‣⁃►-*"
TERMINALS = ".!?\"'”’。…」』》);"
ZH_STOP = "的年在月是和日了於為有被人中为他與後也而由"
EN_STOP = ("the", "be", "to", "of", "and", "that", "have", "with")
UI = (
    "展开", "展開", "更多", "阅读全文", "閱讀全文", "上一篇", "下一篇", "返回顶部", "返回頂部",
    "版权所有", "版權所有", "备案号", "備案號", "icp备", "icp備", "扫码", "掃碼", "关注公众号",
    "關注公眾號", "免责声明", "免責聲明", "责任编辑", "責任編輯",
)  # fmt: skip
MISREAD = "[\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"


def fold(char: str) -> str:
    wide = unicodedata.normalize("NFKC", char)
    wide = wide if len(wide) == 1 else char
    return wide.lower() if len(wide.lower()) == 1 else wide


def view(text: str) -> str:
    return "".join(c for c in map(fold, text) if unicodedata.category(c) != "Cf")


def is_han(c: str) -> bool:
    code = ord(c)
    return unicodedata.category(c)[0] in "LN" and (
        c in "々〇"
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )


def is_newline(c: str) -> bool:
    return c in "\n\u2028\u2029"


def is_blank(c: str) -> bool:
    return c.isspace()


def tokens(text: str) -> list[str]:
    found: list[str] = []
    run = ""
    for c in view(text) + " ":
        category = unicodedata.category(c)[0]
        if not is_han(c) and (category in "LN" or (category == "M" and run)):
            run += c
            continue
        if run:
            found.append(run)
            run = ""
        if is_han(c):
            found.append(c)
    return found


def lines(text: str) -> list[str]:
    stripped = (" ".join(line.split()) for line in re.split("[\n\u2028\u2029]", view(text)))
    return [line for line in stripped if line]


def mojibake_chars(text: str) -> int:
    count = text.count("\ufffd") + 3 * text.count("锟斤拷")
    count += sum(len(m.group()) for m in re.finditer("烫{3,}|屯{3,}", text))
    misread = f"[\xc2-\xdf]{MISREAD}|[\xe0-\xef]{MISREAD}{{2}}|[\xf0-\xf4]{MISREAD}{{3}}"
    return count + sum(len(m.group()) for m in re.finditer(misread, text))


def bracket_chars(text: str) -> int:
    total = 0
    for line in re.split("[\n\u2028\u2029]", view(text)):
        solid = "".join(c for c in line if not is_blank(c))
        total += sum(len(m.group()) for m in re.finditer("【[^】]*】", solid))
    return total


def top_ngram(words: list[str], n: int) -> int:
    counts = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    best = max(counts.values(), default=0)
    if best < 2:
        return 0
    return best * max(len("".join(g)) for g, count in counts.items() if count == best)


def dup_ngram(words: list[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    total = i = 0
    while i <= len(words) - n:
        gram = tuple(words[i : i + n])
        if gram in seen:
            total += len("".join(gram))
            i += n
        else:
            seen.add(gram)
            i += 1
    return total


def share(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0


def signals(text: str) -> dict[str, float]:
    words, rows, seen_view = tokens(text), lines(text), view(text)
    solid = [c for c in seen_view if not is_blank(c)]
    word_chars = [c for c in solid if unicodedata.category(c)[0] in "LN"]
    token_chars = sum(map(len, words))
    line_chars = sum(map(len, rows))
    earlier: set[str] = set()
    repeated = [row for row in rows if row in earlier or earlier.add(row)]  # type: ignore[func-returns-value]
    ellipses = re.findall(r"…+|\.{3,}|。{3,}", seen_view)
    first = Counter(solid[:10_000])
    ends = min(len(solid), 10_000)
    scripts = {
        "kana": lambda c: 0x3041 <= ord(c) <= 0x30FF or 0x31F0 <= ord(c) <= 0x31FF
        or 0x1B000 <= ord(c) <= 0x1B16F,
        "hangul": lambda c: 0x1100 <= ord(c) <= 0x11FF or 0x3130 <= ord(c) <= 0x318F
        or 0xA960 <= ord(c) <= 0xA97F or 0xAC00 <= ord(c) <= 0xD7FF,
        "latin": lambda c: unicodedata.category(c)[0] == "L"
        and unicodedata.name(c, "").startswith("LATIN"),
        "han": is_han,
    }  # fmt: skip
    result = {
        "chars": len(text),
        "bytes": len(text.encode()),
        "tokens": len(words),
        "lines": len(rows),
        "mean_token_chars": share(token_chars, len(words)),
        "hash_token_ratio": share(seen_view.count("#"), len(words)),
        "ellipsis_token_ratio": share(len(ellipses), len(words)),
        "bullet_line_share": share(sum(row[0] in BULLETS for row in rows), len(rows)),
        "ellipsis_line_share": share(
            sum(row.endswith(("…", "...", "。。。")) for row in rows), len(rows)
        ),
        "letter_token_share": share(
            sum(any(unicodedata.category(c)[0] == "L" or is_han(c) for c in w) for w in words),
            len(words),
        ),
        "en_stop_words": sum(w in words for w in EN_STOP),
        "dup_line_share": share(len(repeated), len(rows)),
        "dup_line_char_share": share(sum(map(len, repeated)), line_chars),
        "terminal_line_share": share(sum(row[-1] in TERMINALS for row in rows), len(rows)),
        "short_line_share": share(sum(len(row) <= 30 for row in rows), len(rows)),
        "newline_token_ratio": share(sum(map(is_newline, seen_view)), len(words)),
        "mean_line_chars": share(line_chars, len(rows)),
        "zh_stop_chars": sum(c in seen_view for c in ZH_STOP),
        "ui_line_share": share(
            sum(len(row) <= 30 and any(phrase in row for phrase in UI) for row in rows), len(rows)
        ),
        "mojibake_share": share(mojibake_chars(text), len(text)),
        "char_entropy_nats": -sum(n / ends * math.log(n / ends) for n in first.values()),
        "digit_share": share(
            sum(unicodedata.category(c) == "Nd" for c in word_chars), len(word_chars)
        ),
        "bracket_char_share": share(bracket_chars(text), len(solid)),
        "max_line_chars": max(map(len, rows), default=0),
        "word_char_share": share(len(word_chars), len(text)),
    }
    for n in range(2, 5):
        result[f"top_{n}gram_char_share"] = min(1.0, share(top_ngram(words, n), token_chars))
    for n in range(5, 11):
        result[f"dup_{n}gram_char_share"] = share(dup_ngram(words, n), token_chars)
    for name, belongs in scripts.items():
        result[f"{name}_chars"] = sum(belongs(c) for c in word_chars)
    result["han_share"] = share(result["han_chars"], len(solid))
    return result


def shingle_sets(text: str, width: int) -> set[tuple[str, ...]]:
    words = tokens(text)
    if 0 < len(words) < width:
        return {tuple(words)}
    return {tuple(words[i : i + width]) for i in range(len(words) - width + 1)}
