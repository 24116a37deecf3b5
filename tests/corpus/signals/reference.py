"""The signals in plain Python, slowly, from their formulas: what the kernels must equal."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter

from skywright.corpus.hanzi import traditional_only
from skywright.corpus.signals import counts
from skywright.corpus.signals import phrases as p

BULLETS = "•●○◦■□▪▫※·➢‣⁃►-*"
TERMINALS = ".!?\"'”’。…」』》);"
ZH_STOP = "的年在月是和日了於為有被人中为他與後也而由"
EN_STOP = ("the", "be", "to", "of", "and", "that", "have", "with")
COMMON = "的了是在和有我不人这這"
COUNTERS = set(counts.COUNTER_WORDS)
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


def bracket_chars(text: str, pair: str = "【】") -> int:
    total = 0
    pattern = f"{pair[0]}[^{pair[1]}]*{pair[1]}"
    for line in re.split("[\n\u2028\u2029]", view(text)):
        solid = "".join(c for c in line if not is_blank(c))
        total += sum(len(m.group()) for m in re.finditer(pattern, solid))
    return total


def ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def top_ngram(words: list[str], n: int) -> int:
    gram, best = (ngrams(words, n).most_common(1) or [((), 0)])[0]
    return best * len("".join(gram)) if best > 1 else 0


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


TRADITIONAL = set(traditional_only())
REFINEDWEB = {"upper", "numeric", "counter", "one_token", "furniture"}
LINE_SIGNALS = {
    "javascript": "javascript", "policy": "policy", "few_word": "few_words",
    "long_word": "long_word", "open": "no_end", "upper": "upper", "numeric": "numeric",
    "counter": "counter", "one_token": "one_token", "furniture": "furniture", "ui": "ui",
}  # fmt: skip


def holds(group: int, line: str) -> bool:
    return any(phrase in line for phrase in p.GROUPS[group])


def distinct(group: int, rows: list[str]) -> int:
    return sum(any(phrase in row for row in rows) for phrase in p.GROUPS[group])


def is_upper(c: str) -> bool:
    return unicodedata.category(c) in ("Lu", "Lt")


def seen_raw_lines(text: str) -> list[str]:
    return re.split("[\n\u2028\u2029]", view(text))


def visible(text: str) -> str:
    """The text without what the view leaves out, in its own case and width."""
    return "".join(c for c in text if unicodedata.category(fold(c)) != "Cf")


def paragraphs(text: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    block: list[str] = []
    for line in [*seen_raw_lines(text), ""]:
        row = " ".join(line.split())
        if row:
            block.append(row)
        elif block:
            found.append(tuple(block))
            block = []
    return found


def cut_lines(text: str) -> list[tuple[str, set[str]]]:
    """The lines that are not blank, with the names of their flags."""
    found = []
    for raw in re.split("[\n\u2028\u2029]", visible(text)):
        row = " ".join(view(raw).split())
        if not row:
            continue
        words = tokens(row)
        solid = row.replace(" ", "")
        names = [w for w in words if unicodedata.category(w[0]) != "Nd"]
        sign_in = row.startswith("sign-in") or "items in cart" in row
        ellipsis = row.endswith(("…", "...", "。。。"))
        facts = {
            "ui": (len(row) <= 30 and holds(p.UI, row))
            or (len(row) <= 8 and holds(p.UI_BRIEF, row)),
            "javascript": "javascript" in row,
            "policy": holds(p.POLICY, row),
            "few_words": len(row.split()) < 3,
            "long_word": max(map(len, row.split())) > 1000,
            "no_end": row[-1] not in TERMINALS or ellipsis,
            "upper": 2 * sum(map(is_upper, raw)) > len(row),
            "numeric": all(unicodedata.category(c) == "Nd" for c in solid),
            "counter": len(words) > 1 and len(names) == 1 and words[-1] in COUNTERS,
            "one_token": len(words) == 1,
            "furniture": len(words) <= 10
            and (sign_in or row.endswith(("read more...", "read more…"))),
        }
        found.append((row, {name for name, holds_ in facts.items() if holds_}))
    return found


MARKS = ".!?。…"
TECHNICAL = set("0123456789{}+/()>")


def token_spans(row: str) -> list[tuple[int, int]]:
    """Where the tokens of a line of the view stand."""
    spans, begin = [], -1
    for i, c in enumerate(row + " "):
        category = unicodedata.category(c)[0]
        if not is_han(c) and (category in "LN" or (category == "M" and begin >= 0)):
            begin = i if begin < 0 else begin
            continue
        if begin >= 0:
            spans.append((begin, i))
            begin = -1
        if is_han(c):
            spans.append((i, i + 1))
    return spans


def places(group: int, line: str) -> list[tuple[int, int]]:
    """First and last character of every phrase of the group, by its end."""
    found = [
        (i, i + len(phrase) - 1)
        for phrase in p.GROUPS[group]
        for i in range(len(line))
        if line.startswith(phrase, i)
    ]
    return sorted(found, key=lambda place: place[1])


def bounds(row: str) -> list[tuple[int, int]]:
    """First and last character of every sentence of a line; one past the line where it is open."""
    found, begin = [], 0
    for i, c in enumerate(row):
        after = row[i + 1] if i + 1 < len(row) else " "
        if c in MARKS and after not in MARKS and (c != "." or after == " "):
            found.append((begin, i))
            begin = i + 1
    return [*found, (begin, len(row))]


def spaced_out(row: str) -> list[int]:
    """Places of the blank after a word that completes one of MADLAD-400's spaced patterns."""
    found, singles, pairs, comma, at = [], 0, 0, False, 0
    for word in row.split():
        at += len(word)
        singles = singles + 1 if len(word) == 1 else 0
        code = word[-1] == "," and (len(word) == 3 or (len(word) == 4 and word[-2] == ","))
        pairs = pairs + comma if code else 0
        comma = word[-1] == ","
        if singles >= 9 or pairs >= 4:
            found.append(at)
        at += 1
    return found


def sentences(text: str) -> list[set[str]]:
    """What is questionable about each sentence that has tokens."""
    found = []
    for line in re.split("[\n\u2028\u2029]", visible(text)):
        raw = " ".join(line.split())
        row = view(raw)
        spans = token_spans(row)
        curses = [end for _, end in places(p.CURSED, row)] + spaced_out(row)
        curses += [b for a, b in places(p.CURSED_CAPITAL, row) if is_upper(raw[a])]
        ends = {end for _, end in places(p.CURSED_END, row)}
        for begin, last in bounds(row):
            starts = [a for a, _ in spans if begin <= a <= last]
            if not starts:
                continue
            part = row[begin : last + 1]
            facts = {
                "odd_case": len(starts) >= 12
                and 2 * sum(is_upper(raw[a]) for a in starts) > len(starts),
                "odd_length": not 20 <= len(part) <= 500,
                "technical": 5 * sum(c in TECHNICAL for c in part) > len(part),
                "cursed": any(begin <= at <= last for at in curses)
                or min(last, len(row) - 1) in ends,
            }
            found.append({name for name, holds_ in facts.items() if holds_})
    return found


def contacts(text: str) -> int:
    count = 0
    for line in seen_raw_lines(text):
        cues = [end for _, end in places(p.CONTACT, line)]
        used = -1
        for begin, end in token_spans(line):
            token = line[begin:end]
            if not any(unicodedata.category(c) == "Nd" for c in token) or is_han(token[0]):
                continue
            known = [cue for cue in cues if used < cue < end]
            announced = len(token) >= 5 and bool(known) and begin - known[-1] <= 8
            used = end - 1 if announced else used
            all_digits = all(unicodedata.category(c) == "Nd" for c in token)
            mobile = len(token) == 11 and all_digits and token[0] == "1" and token[1] >= "3"
            count += announced or mobile
    return count


def listed_chars(text: str) -> int:
    total = 0
    for line in seen_raw_lines(text):
        items = [
            sum(unicodedata.category(c)[0] in "LN" for c in part)
            for part in re.split("[|_、-]", line)
        ]
        kept = items if len(items) > 1 else []
        total += sum(size for size in kept if size <= 10)
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
    blocks = paragraphs(text)
    block_chars = sum(len(line) for block in set(blocks) for line in block)
    said = sentences(text)
    cut = cut_lines(text)
    pairs = ngrams(words, 2)
    raw = seen_raw_lines(text)
    letters = [c for c in word_chars if unicodedata.category(c)[0] == "L"]
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
        "common_chars": sum(c in seen_view for c in COMMON),
        "sentences": len(said),
        "dup_paragraph_share": share(len(blocks) - len(set(blocks)), len(blocks)),
        "dup_paragraph_char_share": share(line_chars - block_chars, line_chars),
        "lorem_ipsum": sum(row.count("lorem ipsum") for row in rows),
        "curly_brackets": seen_view.count("{"),
        "refinedweb_token_share": share(
            sum(len(tokens(row)) for row, kinds in cut if kinds & REFINEDWEB), len(words)
        ),
        "traditional_share": share(sum(c in TRADITIONAL for c in solid), sum(map(is_han, solid))),
        "short_han_line_share": share(sum(sum(map(is_han, row)) <= 10 for row in rows), len(rows)),
        "repeated_13gram_share": share(
            sum(n for n in ngrams(words, 13).values() if n > 1), len(words) - 12
        ),
        "title_char_share": share(bracket_chars(text, "《》"), len(solid)),
        "markup_char_share": share(bracket_chars(text, "<>"), len(solid)),
        "contacts_per_200_chars": 200 * share(contacts(text), len(solid)),
        "listed_char_share": share(listed_chars(text), len(word_chars)),
        "top_pairs_share": share(sum(n for _, n in pairs.most_common(5) if n > 1), len(words) - 1),
        "porn_phrases_per_1000_chars": 1000 * share(distinct(p.PORN, rows), len(solid)),
        "gambling_phrases_per_1000_chars": 1000 * share(distinct(p.GAMBLING, rows), len(solid)),
        "raw_max_line_chars": max(map(len, raw), default=0),
        "raw_mean_line_chars": share(sum(map(len, raw)), len(raw) - (not raw[-1])),
        "letter_char_share": share(len(letters), len(text)),
        "letters_per_token": share(len(letters), len(words)),
        "comment_line_share": share(
            sum(row.startswith(("#", "*", "//", "/*", "--")) for row in rows), len(rows)
        ),
        "xml_head": int(0 <= seen_view.find("<?xml version=") < 100),
        "generated_marker": int(distinct(p.GENERATED, rows[:5]) > 0),
        "mojibake_share": share(mojibake_chars(text), len(text)),
        "char_entropy_nats": -sum(n / ends * math.log(n / ends) for n in first.values()),
        "digit_share": share(
            sum(unicodedata.category(c) == "Nd" for c in word_chars), len(word_chars)
        ),
        "bracket_char_share": share(bracket_chars(text), len(solid)),
        "max_line_chars": max(map(len, rows), default=0),
        "word_char_share": share(len(word_chars), len(text)),
    }
    for name, kind in LINE_SIGNALS.items():
        result[f"{name}_line_share"] = share(sum(kind in kinds for _, kinds in cut), len(rows))
    for name in ("odd_case", "odd_length", "technical", "cursed"):
        result[f"{name}_sentence_share"] = share(sum(name in kinds for kinds in said), len(said))
    result["questionable_sentence_share"] = share(sum(map(bool, said)), len(said))
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
