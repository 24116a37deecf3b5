"""How a document is cut, prefixed and scored: the part of a number that is convention.

`own` is our protocol; the others restate what published evaluations do, so that one run can be
reported as each of them would report it. `shape` says what a protocol is; `identity` finds one by
its name and hashes it.
"""

from skywright.evaluate.protocols.identity import (
    PROTOCOLS,
    SCORING_VERSION,
    named,
    protocol_hash,
    protocol_record,
)
from skywright.evaluate.protocols.llm_compression import LLMCompression
from skywright.evaluate.protocols.lm_eval import LMEval
from skywright.evaluate.protocols.own import Protocol, cut_text, make_windows
from skywright.evaluate.protocols.shape import ModelTerms, Ratio, ScoringProtocol, Window
from skywright.evaluate.protocols.skywork2023 import Skywork2023
from skywright.evaluate.protocols.uncheatable import Uncheatable

__all__ = [
    "PROTOCOLS",
    "SCORING_VERSION",
    "LLMCompression",
    "LMEval",
    "ModelTerms",
    "Protocol",
    "Ratio",
    "ScoringProtocol",
    "Skywork2023",
    "Uncheatable",
    "Window",
    "cut_text",
    "make_windows",
    "named",
    "protocol_hash",
    "protocol_record",
]
