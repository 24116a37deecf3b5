"""Golden values of datatrove's filters, for tests/corpus/signals/golden_datatrove.json.

    .venv-peers/datatrove_filters/bin/python scripts/golden_datatrove.py OUT

Run in the peer's environment (benchmarks/peers/datatrove_filters.txt). The texts are written here,
so that the file can be shipped. For each the words that datatrove splits it into are stored, and
the numbers that its filters compare with their thresholds, computed by datatrove's own functions.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from datatrove.pipeline.filters import gopher_repetition_filter as rep
from datatrove.pipeline.filters.c4_filters import POLICY_SUBSTRINGS
from datatrove.pipeline.filters.gopher_quality_filter import STOP_WORDS
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION, split_into_words

EN = (
    "The river that runs through the old town has been bridged four times since it was founded.",
    "Each of the bridges was built by a different guild, and the marks that they left can be seen.",
    "- Open daily from nine to five",
    "• Closed on Mondays...",
    "We use cookies to make this site work.",
    "Please enable JavaScript # in your browser",
    "12,431 likes",
    "It's a well-known fact: 3.14 is not pi, isn't it?",
    "The marks that they left are still to be seen on the piers when the water is low",
    "READ MORE ABOUT THE OLD TOWN…",
)
ZH = (
    "这条河穿过老城，自建城以来先后修过四座桥。",
    "每一座桥都由不同的行会建造，夏天水位低的时候，人们还可以看到他们留下的记号。",
    "阅读全文",
    "2024年3月15日 来源：本站",
    "这条河穿过老城，自建城以来先后修过四座桥，每一座桥都由不同的行会建造……",
    "• 开放时间：上午九点至下午五点",
)


def texts() -> list[tuple[str, str]]:
    """(language of datatrove, text): lines drawn with repetition, with and without blank lines."""
    draw = random.Random(7)
    made = []
    for language, lines in (("eng", EN), ("zho", ZH)):
        for size in (1, 3, 6, 12, 25, 50):
            for gap in ("\n", "\n\n"):
                made.append((language, gap.join(draw.choice(lines) for _ in range(size))))
    return made


def values(language: str, text: str) -> dict[str, Any]:
    """What datatrove's filters measure, by its own functions where it has them."""
    words = split_into_words(text, language)
    spoken = [w for w in words if any(ch not in PUNCTUATION_SET for ch in w)]
    lines = text.splitlines()
    solid_lines = [line for line in text.split("\n") if line.strip() != ""]
    paragraphs = rep.re.compile(r"\n{2,}").split(text.strip())
    all_lines = rep.re.compile("\n+").split(text)
    found = {
        "words": words,
        "spoken": spoken,
        "mean_word": sum(map(len, spoken)) / len(spoken) if spoken else 0.0,
        "hash_ratio": text.count("#") / len(words),
        "ellipsis_ratio": (text.count("...") + text.count("…")) / len(words),
        "bullets": sum(s.lstrip().startswith(("•", "-")) for s in lines),
        "ellipsis_lines": sum(s.rstrip().endswith(("...", "…")) for s in lines),
        "lines": len(lines),
        "alpha_share": sum(any(c.isalpha() for c in w) for w in words) / len(words),
        "stop_words": len(set(STOP_WORDS) & set(words)),
        "dup_lines": rep.find_duplicates(all_lines),
        "dup_paragraphs": rep.find_duplicates(paragraphs),
        "paragraphs": len(paragraphs),
        "all_lines": len(all_lines),
        "terminal_share": sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in solid_lines)
        / len(solid_lines),
        "short_share": sum(len(line) <= 30 for line in solid_lines) / len(solid_lines),
        "newline_ratio": text.count("\n") / len(words),
        "javascript_lines": sum("javascript" in line.lower() for line in lines),
        "policy_lines": sum(any(p in line.lower() for p in POLICY_SUBSTRINGS) for line in lines),
        "few_word_lines": sum(0 < len(line.split()) < 3 for line in lines),
    }
    for n in (2, 3, 4):
        grams = rep.get_n_grams(words, n)
        found[f"top_{n}"] = rep.find_top_duplicate(grams) if grams else 0
    for n in range(5, 11):
        found[f"dup_{n}"] = rep.find_all_duplicate(words, n)
    return {"language": language, "text": text, **found}


def main() -> None:
    """Write the golden file."""
    rows = [values(language, text) for language, text in texts()]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    Path(sys.argv[1]).write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
