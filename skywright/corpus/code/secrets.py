"""Keys and tokens in source code: by the shape their issuers give them, or by name and entropy."""

from __future__ import annotations

import math
import re
from collections import Counter

VERSION = "secrets/v1"
TOKEN = "[SECRET]"

# Shapes that the issuers document; each is unmistakable by its prefix.
_SHAPES = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]{40,8000}?-----END (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS access key ids
    r"|gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{60,90}"  # GitHub
    r"|glpat-[A-Za-z0-9_-]{20}"  # GitLab
    r"|xox[abprs]-[A-Za-z0-9-]{20,}"  # Slack
    r"|AIza[0-9A-Za-z_-]{35}"  # Google
    r"|[sr]k_live_[0-9A-Za-z]{20,}"  # Stripe
    r"|npm_[A-Za-z0-9]{36}|pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"  # npm, PyPI
    r"|hf_[A-Za-z0-9]{34}|sk-(?:proj-|ant-)?[A-Za-z0-9_-]{40,}"  # model hubs
    r"|LTAI[0-9A-Za-z]{16,20}|AKID[0-9A-Za-z]{32}"  # Alibaba Cloud, Tencent Cloud
    r"|eyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{20,}"  # JSON web tokens
    r")(?![A-Za-z0-9])"
)
# A quoted value assigned to a name that says secret.
_ASSIGNED = re.compile(
    r"(?:secret|token|passwo?r?d|passwd|api_?key|access_?key|private_?key|auth_?key|credential)"
    r"[A-Za-z0-9_]{0,20}[\"']?\s*(?::=|=>|[:=])\s*[\"']([^\s\"']{16,200})[\"']",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"example|sample|dummy|changeme|your|x{4,}|placeholder|[<>{}$%()]|test|\.\.\.|1234|abcd",
    re.IGNORECASE,
)
MIN_ENTROPY_BITS, MIN_HEX_ENTROPY_BITS = 3.5, 3.0
"""Bits a character. Yelp's detect-secrets asks 3.0 of hexadecimal strings and 4.5 of base64 ones;
16 characters cannot have more than 4, so ours is lower and asks for a name that says secret too."""


def entropy_bits(text: str) -> float:
    """Shannon entropy of the characters, in bits a character."""
    counts = Counter(text).values()
    return -sum(c / len(text) * math.log2(c / len(text)) for c in counts)


def _looks_random(value: str) -> bool:
    if _PLACEHOLDER.search(value) or not re.search(r"\d", value):
        return False
    if not re.search(r"[A-Za-z]", value):
        return False
    if re.fullmatch(r"[0-9a-fA-F]+", value):
        return entropy_bits(value) >= MIN_HEX_ENTROPY_BITS
    return (
        re.fullmatch(r"[A-Za-z0-9+/=_.~-]+", value) is not None
        and entropy_bits(value) >= MIN_ENTROPY_BITS
    )


def find_secrets(text: str) -> list[tuple[int, int]]:
    """Spans (start, end in characters) of secrets, in order, apart from each other."""
    spans = [match.span() for match in _SHAPES.finditer(text)]
    spans += [match.span(1) for match in _ASSIGNED.finditer(text) if _looks_random(match.group(1))]
    apart: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if not apart or start >= apart[-1][1]:
            apart.append((start, end))
    return apart
