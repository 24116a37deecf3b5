"""Is this model fit to be scored? Checks that come before the first number.

`examine` makes them all, `quick_checks` those that any score depends on, `examined` wraps a
back-end so that it is checked before its first loss. `tokenizer`, `numerics` and `start` hold the
checks: plain functions of a back-end or of a `Sample` of texts."""

from skywright.evaluate.doctor.check import Check, NoiseFloor, Report
from skywright.evaluate.doctor.examine import examine, examined, quick_checks, refuse_unsound
from skywright.evaluate.doctor.numerics import noise_floor
from skywright.evaluate.doctor.sample import Sample
from skywright.evaluate.doctor.start import Start, StartProbe, probe_start
from skywright.evaluate.doctor.texts import shipped_texts, texts_of, tokens_of

__all__ = [
    "Check",
    "NoiseFloor",
    "Report",
    "Sample",
    "Start",
    "StartProbe",
    "examine",
    "examined",
    "noise_floor",
    "probe_start",
    "quick_checks",
    "refuse_unsound",
    "shipped_texts",
    "texts_of",
    "tokens_of",
]
