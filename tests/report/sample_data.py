"""What the corpus and the tokens step leave of the sample run: the waterfall and the plan."""

from __future__ import annotations

from typing import Any

import numpy as np

ATTACK = "</script><script>window.ATTACKED=1</script><img src=x onerror=window.ATTACKED=1>"

SOURCES = {
    "en_wiki": 0.16,
    "zh_wiki": 0.20,
    "zh_law": 0.14,
    "en_blogs": 0.12,
    "zh_javaguide": 0.10,
    "en_peps": 0.08,
    "en_literature": 0.08,
    "code": 0.06,
    "zh_poetry": 0.04,
    "gsm8k": 0.02,
}

SEGMENTS = (("session-1", 737_280), ("session-2", 327_680), ("stem", 163_840))


def waterfall(hostile: bool) -> dict[str, Any]:
    rules = [
        ("read", "error:not_utf8", 3),
        ("urls", "blocked_host", 41),
        ("urls", "duplicate_url", 118),
        ("extract", "no_main_text", 96),
        ("language", "other_language", 640),
        ("language", "low_confidence", 57),
        ("rules", "too_short", 512),
        ("rules", "symbol_ratio", 133),
        ("rules", "repeated_lines", 87),
        ("rules", "no_stop_words", 21),
        ("dedup", "exact", 204),
        ("dedup", "near", 331),
        ("decontaminate", "contains_held_out", 402),
    ]
    flow, at, at_bytes = [], 9_876, 24_800_000
    for step in dict.fromkeys(step for step, _, _ in rules):
        dropped = sum(number for name, _, number in rules if name == step)
        flow.append({"step": step, "in": at, "out": at - dropped, "seconds": 1.5})
        at -= dropped
        at_bytes -= dropped * 1_900
        flow[-1]["bytes_out"] = at_bytes
    kept = at
    samples = {
        f"{step}/{rule}": [
            {
                "record": f"en_wiki/en_wiki.parquet:{index}",
                "url": f"https://example.org/{rule}/{index}?q=a&b=%E4%B8%AD",
                "value": round(0.31 + index / 40, 3),
                "threshold": 0.3,
                "excerpt": f"本页正文过短。 A page of {rule}, number {index}: menu | home | login",
            }
            for index in range(min(number, 6))
        ]
        for step, rule, number in rules
    }
    by_source = {
        source: {
            "in": int(9_876 * part),
            "kept": int(kept * part),
            "bytes_kept": int(20_000_000 * part),
            "chars_kept": int(13_000_000 * part),
        }
        for source, part in SOURCES.items()
    }
    if hostile:
        samples["urls/blocked_host"].append(
            {
                "record": f"crawl/{ATTACK}:0",
                "url": f"javascript:window.ATTACKED=1//{ATTACK}",
                "value": ATTACK,
                "threshold": None,
                "excerpt": f"\u202e{ATTACK} {{{{ 7 * 7 }}}} \u0000 \"' onload=window.ATTACKED=1",
            }
        )
        rules.append((ATTACK, ATTACK, 0))
        by_source[ATTACK] = {"in": 0, "kept": 0, "bytes_kept": 0, "chars_kept": 0}
        flow.append({"step": ATTACK, "in": at, "out": at, "bytes_out": at_bytes, "seconds": 0.1})
    return {
        "input_records": 9_876,
        "kept": kept,
        "steps": [
            {"step": s, "rule": r, "dropped": n, "bytes_dropped": n * 1_900} for s, r, n in rules
        ],
        "flow": flow,
        "by_source": by_source,
        "by_lang": {
            "en": {"in": 4_200, "kept": 3_390},
            "zh-Hans": {"in": 3_900, "kept": 3_211},
            "zh-Hant": {"in": 610, "kept": 420},
            "other": {"in": 946, "kept": 0},
            "code": {"in": 220, "kept": 210},
        },
        "samples": samples,
        "heldout": {"documents": 2_695, "dropped": 402, "max_containment_kept": 0.4927},
        "duplicates": {"exact_groups": 97, "near_groups": 143, "largest_group": 31},
    }


def plan(hostile: bool) -> dict[str, Any]:
    segments, first, epochs = [], 0, dict.fromkeys(SOURCES, 0.0)
    available = {source: int(1_500_000 * part) for source, part in SOURCES.items()}
    for name, tokens in SEGMENTS:
        planned: dict[str, Any] = dict(SOURCES)
        curve = []
        for point in range(20):
            t = (point + 0.5) / 20
            stem = 0.10 + 0.30 * t * t if name == "stem" else SOURCES["gsm8k"]
            rest = (1 - stem) / (1 - SOURCES["gsm8k"])
            shares = {s: part * rest for s, part in SOURCES.items()} | {"gsm8k": stem}
            curve.append({"tokens": first * 256 + tokens * (point + 1) / 20, "shares": shares})
        if name == "stem":
            planned = {s: part * 0.8 / (1 - SOURCES["gsm8k"]) for s, part in SOURCES.items()}
            planned["gsm8k"] = [0.10, 0.40, 0.20]
        mean = {s: float(np.mean([p["shares"][s] for p in curve])) for s in SOURCES}
        epochs = {s: epochs[s] + tokens * mean[s] / available[s] for s in SOURCES}
        segments.append(
            {
                "name": ATTACK if hostile and name == "session-1" else name,
                "samples": tokens // 256,
                "tokens": tokens,
                "first_sample": first,
                "shares": mean,
                "planned": planned,
                "epochs": epochs,
                "curve": curve,
            }
        )
        first += tokens // 256
    return {
        "segments": segments,
        "sources": {s: {"tokens": n, "windows": n // 256} for s, n in available.items()},
    }
