"""Train the line models of the own extractor and say how good they are on pages they never saw.

    python scripts/train_extractor.py [--packages DIR] [--folds 5] [--nested] [--out FILE]

Needs scikit-learn (>= 1.5) beside the project, which the project itself does not need. Every page
is extracted by models that saw no page of its site: the first model's scores of a page come from
the folds without it, and the second model is trained on such scores. (The scores that the second
model is trained on come from first models that may have seen the test pages; `--nested` avoids that
too, at four times the time, and serves as a check.) The models that are written are trained on all
pages. The lines that are kept out of fold go to `--predictions`: benchmarks/extraction.py compares
them with what the peers keep.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import gold
from skywright.corpus.extract import own
from skywright.corpus.extract.context import CONTEXT, OWN, context
from skywright.corpus.extract.features import FEATURES, features
from skywright.corpus.extract.lines import Lines
from skywright.corpus.extract.model import chosen

FOLDS = Path(__file__).parents[1] / "benchmarks/extraction_folds.json"
ASSET = Path(__file__).parents[1] / "skywright/corpus/extract/assets/lines.json"
# Small trees and few of them: they are evaluated on every line of every page.
FIRST = {
    "max_iter": 100, "learning_rate": 0.08, "max_leaf_nodes": 24, "l2_regularization": 5.0,
    "min_samples_leaf": 20, "max_features": 0.5, "max_bins": 64,
}  # fmt: skip
SECOND = {
    "max_iter": 30, "learning_rate": 0.12, "max_leaf_nodes": 8, "l2_regularization": 10.0,
    "min_samples_leaf": 30, "max_features": 0.5, "max_bins": 64,
}  # fmt: skip
THRESHOLDS = np.arange(0.2, 0.66, 0.05)
_MOST_TOKENS = 200  # a longer line weighs no more than this in training


class Example:
    """A page with its lines, their features, labels (0 to 1) and weights."""

    def __init__(self, page: gold.Page) -> None:
        self.page = page
        self.lines: Lines = own.page_lines(page.html)
        title = own.title_of(page.html)
        self.found = features(self.lines, title)
        text = self.lines.text.tobytes()
        bounds = zip(self.lines.starts, self.lines.ends, strict=True)
        self.tokens = gold.token_lists([text[a:b].decode() for a, b in bounds])
        self.labels = self._covered() if page.kept is None else page.kept.astype(float)
        weights = np.sqrt([min(len(line), _MOST_TOKENS) for line in self.tokens])
        self.weights = 50 * weights / max(weights.sum(), 1)

    def _covered(self) -> np.ndarray:
        """Share of each line's tokens that lie in a 4-gram which the gold has too."""
        wanted = gold.grams(self.page.tokens).keys()
        flat = [token for line in self.tokens for token in line]
        line_of = np.repeat(np.arange(len(self.tokens)), [len(line) for line in self.tokens])
        covered = np.zeros(len(flat))
        for i in range(len(flat) - gold.NGRAM + 1):
            if tuple(flat[i : i + gold.NGRAM]) in wanted:
                covered[i : i + gold.NGRAM] = 1
        sums = np.bincount(line_of, covered, len(self.tokens))
        return sums / np.maximum([len(line) for line in self.tokens], 1)

    def kept(self, scores: np.ndarray, threshold: float) -> np.ndarray:
        """The rule of the shipped model."""
        return chosen(scores, threshold) if len(scores) else np.zeros(0, bool)

    def overlap(self, keep: np.ndarray) -> tuple[float, float]:
        """Precision and recall of the kept lines."""
        kept = [token for line, k in zip(self.tokens, keep, strict=True) if k for token in line]
        return gold.overlap(kept, self.page.tokens)


def fitted(rows: list[np.ndarray], examples: list[Example], settings: dict[str, Any]) -> Any:
    """Boosted trees on the lines of these pages."""
    model = HistGradientBoostingClassifier(random_state=1, early_stopping=False, **settings)
    labels = np.concatenate([e.labels for e in examples]) > 0.5
    weights = np.concatenate([e.weights for e in examples])
    return model.fit(np.concatenate(rows), labels, weights)


def scored(model: Any, rows: np.ndarray) -> np.ndarray:
    """Probabilities float32 (n) of a page's lines."""
    return (model.predict_proba(rows)[:, 1] if len(rows) else np.zeros(0)).astype(np.float32)


def first_scores(examples: list[Example], fold: np.ndarray) -> list[np.ndarray]:
    """Scores of the first model, each page by the model that saw no page of its fold."""
    out: list[np.ndarray] = [np.zeros(0)] * len(examples)
    for k in np.unique(fold):
        train = [e for e, f in zip(examples, fold, strict=True) if f != k]
        model = fitted([e.found.rows for e in train], train, FIRST)
        for i in np.flatnonzero(fold == k):
            out[i] = scored(model, examples[i].found.rows)
    return out


def out_of_fold(
    examples: list[Example], fold: np.ndarray, first: list[np.ndarray], nested: bool
) -> list[np.ndarray]:
    """Scores of the second model for every page, without pages of its site in training."""
    out: list[np.ndarray] = [np.zeros(0)] * len(examples)
    for k in np.unique(fold):
        inside = np.flatnonzero(fold != k)
        train = [examples[i] for i in inside]
        seen = first_scores(train, fold[inside]) if nested else [first[i] for i in inside]
        rows = [context(e.found, s) for e, s in zip(train, seen, strict=True)]
        model = fitted(rows, train, SECOND)
        for i in np.flatnonzero(fold == k):
            out[i] = scored(model, context(examples[i].found, first[i]))
        print(f"fold {k}", file=sys.stderr, flush=True)
    return out


def written(model: Any) -> dict[str, Any]:
    """The trees as lists of numbers."""
    out: dict[str, Any] = {"start": float(model._baseline_prediction.ravel()[0])}
    columns: dict[str, list[Any]] = {
        name: [] for name in ("roots", "feature", "limit", "left", "right", "value")
    }
    for (tree,) in model._predictors:
        base = len(columns["feature"])
        columns["roots"].append(base)
        for node in tree.nodes:
            leaf = bool(node["is_leaf"])
            columns["feature"].append(-1 if leaf else int(node["feature_idx"]))
            # float32 on both sides of the comparison; rounding up keeps "at most" true.
            limit = np.float32(0 if leaf else node["num_threshold"])
            columns["limit"].append(float(f"{limit:.9g}"))
            columns["left"].append(0 if leaf else base + int(node["left"]))
            columns["right"].append(0 if leaf else base + int(node["right"]))
            columns["value"].append(float(f"{node['value']:.6g}") if leaf else 0.0)
    return out | columns


def main() -> None:
    """Report out-of-fold scores by set and write the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, help="folder of unpacked Debian packages")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--nested", action="store_true")
    parser.add_argument("--out", type=Path, default=ASSET)
    parser.add_argument("--predictions", type=Path, default=FOLDS)
    given = parser.parse_args()
    examples = [Example(page) for page in gold.load(given.packages)]
    print(f"{len(examples)} pages", file=sys.stderr, flush=True)
    fold = gold.folds([e.page for e in examples], given.folds, seed=1)
    unseen = first_scores(examples, fold)
    scores = out_of_fold(examples, fold, unseen, given.nested)
    sets = sorted({e.page.set for e in examples})
    report: dict[str, dict[str, float]] = {name: {} for name in sets}
    for threshold in THRESHOLDS:
        for name in sets:
            pairs = [
                e.overlap(e.kept(s, threshold))
                for e, s in zip(examples, scores, strict=True) if e.page.set == name
            ]  # fmt: skip
            report[name][f"{threshold:.2f}"] = round(gold.f1(np.array(pairs)), 4)
    # One threshold for all sets: the one with the best mean over them, web pages counting double.
    weight = {name: 2 if name.endswith("web") else 1 for name in sets}
    best = max(report[sets[0]], key=lambda t: sum(weight[s] * report[s][t] for s in sets))
    for name in sets:
        print(name, json.dumps(report[name]))
    print("threshold", best)
    around = [context(e.found, s) for e, s in zip(examples, unseen, strict=True)]
    asset = {
        "what": "line models of skywright's own extractor; written by scripts/train_extractor.py",
        "pages": {name: sum(e.page.set == name for e in examples) for name in sets},
        "out_of_fold_f1": {name: report[name][best] for name in sets},
        "scikit_learn": sklearn.__version__,
        "features": list(FEATURES),
        "context": [*CONTEXT, *OWN],
        "threshold": float(best),
        "first": written(fitted([e.found.rows for e in examples], examples, FIRST)),
        "second": written(fitted(around, examples, SECOND)),
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(asset, separators=(",", ":")) + "\n")
    rows = [
        {"set": e.page.set, "page": e.page.name, "kept": gold.ranges(e.kept(s, float(best)))}
        for e, s in zip(examples, scores, strict=True)
    ]
    given.predictions.write_text(
        "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"
    )


if __name__ == "__main__":
    main()
