"""Compiled readers of tokens for linear models: n-grams, hashed into buckets, scored or learned.

A document's features are its token 1-, 2- and 3-grams, each hashed into one of 2^k buckets; its
logit is the bias plus the mean weight of its features. That is a fastText classifier of one
dimension a label (Joulin et al. 2016, arXiv 1607.01759: a linear model over the mean of hashed
n-gram embeddings), without a dictionary and with the tokens that the rest of the corpus uses.
"""

from __future__ import annotations

import numpy as np

from skywright.engine.compiled import compiled

VERSION = "hashed-ngrams/v1"
MAX_TOKENS = 4096
"""Tokens of a document that are looked at, from its start: about 20 KB of English, 12 KB of
Chinese. What a page is shows there, and no page costs more than that."""

FEATURE_SCALE = 16.0
"""Factor on a feature's share of its document while learning: brings the length of a page's
feature vector near 1 (256 distinct features give exactly 1), where step sizes of about 1 are right.
"""

_BASE_2 = np.uint64(0xC2B2AE3D27D4EB4F)  # odd constants of well-mixed bits (xxHash's primes)
_BASE_3 = np.uint64(0x165667B19E3779F9)
_MIX = np.uint64(0xFF51AFD7ED558CCD)  # MurmurHash3's finaliser
_32 = np.uint64(32)


@compiled
def _buckets(hashes, begin, end, mask, out):  # type: ignore[no-untyped-def]
    """Write the buckets of the 1-, 2- and 3-grams of hashes[begin:end] to out; their number."""
    n = 0
    for t in range(begin, end):
        h = hashes[t]
        out[n] = np.int64((h ^ (h >> _32)) & mask)
        n += 1
        if t > begin:
            pair = (hashes[t - 1] * _BASE_2 + h) * _MIX
            out[n] = np.int64((pair ^ (pair >> _32)) & mask)
            n += 1
            if t > begin + 1:
                triple = ((hashes[t - 2] * _BASE_3 + hashes[t - 1]) * _BASE_2 + h) * _MIX
                out[n] = np.int64((triple ^ (triple >> _32)) & mask)
                n += 1
    return n


@compiled
def mean_weights(hashes, offsets, weights, max_tokens):  # type: ignore[no-untyped-def]
    """Mean weight of each document's features: float64 (documents, labels).

    weights int8 (buckets, labels), buckets a power of two. A document without tokens has 0.
    """
    documents = len(offsets) - 1
    buckets, labels = weights.shape
    mask = np.uint64(buckets - 1)
    out = np.zeros((documents, labels))
    features = np.empty(3 * max_tokens, np.int64)
    total = np.zeros(labels, np.int64)
    for d in range(documents):
        end = min(offsets[d + 1], offsets[d] + max_tokens)
        n = _buckets(hashes, offsets[d], end, mask, features)
        total[:] = 0
        for i in range(n):
            row = features[i]
            for label in range(labels):
                total[label] += weights[row, label]
        for label in range(labels):
            if n > 0:
                out[d, label] = total[label] / n
    return out


@compiled
def learn(hashes, offsets, order, targets, importance, weights, bias, decay, max_tokens, scale):  # type: ignore[no-untyped-def]
    """Logistic regression of one label by stochastic gradient, in the given order of documents.

    targets float64 (n) 0 or 1; importance float64 (n) weighs each example; weights float64
    (buckets) and bias float64 (1) are changed in place. decay: the strength of the squared penalty.
    Steps shrink as 1 / (1 + decay * t) (Bottou 2012, "Stochastic gradient descent tricks", 5.2).
    """
    mask = np.uint64(len(weights) - 1)
    features = np.empty(3 * max_tokens, np.int64)
    shrink = 1.0  # weights = shrink * stored, so that the penalty costs one multiplication a step
    for t in range(len(order)):
        d = order[t]
        end = min(offsets[d + 1], offsets[d] + max_tokens)
        n = _buckets(hashes, offsets[d], end, mask, features)
        if n == 0:
            continue
        total = 0.0
        for i in range(n):
            total += weights[features[i]]
        logit = bias[0] + shrink * total * scale / n
        slope = (1.0 / (1.0 + np.exp(-logit)) - targets[d]) * importance[d]
        step = 1.0 / (1.0 + decay * t)
        shrink *= 1.0 - step * decay
        change = step * slope * scale / n / shrink
        for i in range(n):
            weights[features[i]] -= change
        bias[0] -= 0.1 * step * slope  # the bias sees every example: a tenth keeps it calm
    for row in range(len(weights)):
        weights[row] *= shrink
