"""Grow a SentencePiece BPE vocabulary: characters from a list, frequent words, reserved symbols.

As Skywork grew LLaMA's 32,000 ids to 65,536 (arXiv 2310.19341, section 3.1). The ids that are
there keep their meaning. New ids follow in this order: characters in order of their list, words
from the most frequent on, bridges (see `reach`), reserved symbols; their scores go on below the
lowest of the model, so every merge of the model comes before every new one.

A text is therefore cut as before, and then some neighbours are joined: the highest score merges
first, so all merges of the model are done before a new one fires, and what a new one makes is part
of no old piece. In other words, each new id written out as the old ids of its piece gives the old
encoding of every text. Where no added piece stands nothing is joined; every added piece has only
Han characters or is one of the added characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from skywright.engine.files import read_json, sha256_file, stable_hash
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.tokenizer.config import ExtendConfig, TokenizerConfig
from skywright.tokenizer.fertility import fertility
from skywright.tokenizer.huggingface import (
    check,
    normal_scores,
    reserved_pieces,
    tokenizer_json,
)
from skywright.tokenizer.model_file import ModelFile, Piece, add_pieces, read_model
from skywright.tokenizer.reach import Selection, Selector
from skywright.tokenizer.sample import Document, by_lang, read_documents
from skywright.tokenizer.tokenizer import Tokenizer
from skywright.tokenizer.train import choose_sample, write_folder
from skywright.tokenizer.words import (
    Counted,
    count_words,
    is_han,
    is_han_word,
    read_characters,
    read_words,
)

PARKED = -1e9
"""Score of LLaMA's runs of spaces (16 ordinary pieces): they merge when nothing else does."""

MEASURED_BYTES = 1_000_000
"""Compression is measured on so much of each language's sample."""


def extend(
    config: TokenizerConfig, corpus: Sequence[Path], out: Path, progress: Progress = silent
) -> dict[str, Any]:
    """Grow `config.extend.model` to `config.vocab_size` ids in the folder `out`.

    `corpus`: the corpus's Parquet documents, in which words are counted and compression is
    measured; may be empty if a list of words is given. Returns the summary. Files are those of
    `train`; `summary.json` holds every count and the SHA-256 of everything read. The same inputs
    give the same bytes. A folder made of the same inputs is left as it is, one made of others is
    refused, as are inputs that do not fill the vocabulary (`UserError`).
    """
    ext = config.extend
    assert ext is not None
    out = Path(out)
    model_bytes, model = _read_base(ext.model)
    lineage = _lineage(config, ext, corpus)
    if (out / "summary.json").is_file():
        standing = read_json(out / "summary.json")
        if standing.get("made_from") != lineage["made_from"]:
            raise UserError(
                f"{out / 'summary.json'}, made_from: this folder holds a vocabulary made of other"
                " inputs or settings; give a new folder or remove this one"
            )
        return standing
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: holds other files; give a new folder")
    progress(0, 4, "reading the lists")
    listed = read_characters(ext.characters) if ext.characters else []
    scores = normal_scores(model)
    characters = [char for char in listed if char not in scores]
    slots = _slots(config, model, len(characters))
    progress(1, 4, "choosing the sample")
    chosen = choose_sample(config, read_documents(sorted(corpus))) if corpus else {}
    lowest = min(score for score in scores.values() if score > PARKED)
    known = scores | {char: lowest - place for place, char in enumerate(characters, 1)}
    progress(2, 4, "counting words")
    ranked, found = _ranked(ext, chosen, known, slots)
    selector = Selector(known, lowest - len(characters), ranked, slots)
    selection = selector.drop() if ext.unreachable == "drop" else selector.bridge()
    added = [*characters, *selection.words, *selection.bridges]
    _check_full(config, len(model.pieces) + len(added))
    progress(3, 4, "writing and measuring the vocabulary")
    pieces = [Piece(text, lowest - place) for place, text in enumerate(added, 1)]
    new_bytes = add_pieces(model_bytes, [*pieces, *reserved_pieces(model, config.reserved)])
    definition = tokenizer_json(read_model(new_bytes)).encode()
    tokenizer = Tokenizer(definition, str(out))
    summary = {
        "vocab_size": tokenizer.vocab_size,
        "fingerprint": tokenizer.fingerprint,
        "measured_on": f"the first {MEASURED_BYTES:,} bytes of each language's sample",
        "rows": [
            fertility(tokenizer, lang, _first(texts)) for lang, texts in by_lang(chosen).items()
        ],
        "reserved_ids": list(tokenizer.reserved_ids),
        "model": _base_counts(model, scores, lowest),
        "characters": _character_counts(listed, characters),
        "words": found | _word_counts(selector, selection, scores, slots),
        **lineage,
    }
    write_folder(out, new_bytes, definition, summary)
    progress(4, 4, "vocabulary written")
    return summary


def _read_base(path: Path) -> tuple[bytes, ModelFile]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); name a SentencePiece .model"
        ) from None
    try:
        model = read_model(data)
        check(model)
    except ValueError as error:
        raise UserError(
            f"{path}: cannot be extended: {error}; give a SentencePiece BPE model of LLaMA's form"
        ) from None
    return data, model


def _lineage(config: TokenizerConfig, ext: ExtendConfig, corpus: Sequence[Path]) -> dict[str, Any]:
    """What the vocabulary is made of, by name and content, and the hash of all that."""
    settings = config.model_dump(mode="json", exclude={"character_coverage"})
    inputs = {}
    for name in ("model", "characters", "words"):
        path = getattr(ext, name)
        try:
            inputs[name] = path and {"file": path.name, "sha256": sha256_file(path)}
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
        settings["extend"].pop(name)
    inputs["corpus"] = [{"file": p.name, "sha256": sha256_file(p)} for p in sorted(corpus)]
    made = {"format": 1, "sentencepiece": sentencepiece.__version__, "settings": settings}
    return {"inputs": inputs, **made, "made_from": stable_hash({**made, "inputs": inputs})}


def _slots(config: TokenizerConfig, model: ModelFile, characters: int) -> int:
    """Ids left for words."""
    taken = len(model.pieces) + characters + config.reserved
    if taken > config.vocab_size:
        raise UserError(
            f"tokenizer.vocab_size: {config.vocab_size:,} ids do not hold the model's"
            f" {len(model.pieces):,}, {characters:,} characters and {config.reserved} reserved"
            f" symbols; give {taken:,} or more"
        )
    return config.vocab_size - taken


def _ranked(
    ext: ExtendConfig,
    chosen: dict[str, list[Document]],
    known: dict[str, float],
    slots: int,
) -> tuple[list[str], dict[str, Any]]:
    """Words to choose from, most frequent first, and how they were found."""
    if ext.words is not None:
        listed = read_words(ext.words)
        refused: Counter[str] = Counter()
        ranked = []
        for word in listed:
            if not is_han_word(word):
                refused["not_all_han"] += 1
            elif not all(char in known for char in word):
                refused["character_without_piece"] += 1
            elif word in known:
                refused["in_the_model"] += 1
            else:
                ranked.append(word)
        return ranked, {"from": "list", "listed": len(listed), "refused": dict(refused)}
    if not chosen and slots:
        raise UserError(
            f"tokenizer.extend.words: {slots:,} ids are free for words; give a list of words, or a"
            " corpus to count them in"
        )
    characters = {text for text in known if len(text) == 1 and is_han(text)}
    texts = [text for group in sorted(chosen) for _, _, text in chosen[group]]
    wanted = slots + sum(is_han_word(piece) for piece in known)  # some may be there already
    counted = count_words(texts, characters, wanted, ext.max_word_chars, ext.min_count)
    ranked = [word for word in counted.words if word not in known]
    return ranked, {"from": "corpus", **_counted(counted)}


def _counted(counted: Counted) -> dict[str, Any]:
    lowest = min(counted.counts, default=None)
    return {"sample_han_chars": counted.sample_chars, "lowest_count": lowest}


def _check_full(config: TokenizerConfig, used: int) -> None:
    missing = config.vocab_size - used - config.reserved
    if missing:
        raise UserError(
            f"tokenizer.vocab_size: {missing:,} of {config.vocab_size:,} ids find no word; set it"
            f" to {config.vocab_size - missing:,}, or give a longer list, more text, or a lower"
            " min_count"
        )


def _first(texts: Sequence[str]) -> list[str]:
    found, left = [], MEASURED_BYTES
    for text in texts:
        if left <= 0:
            break
        found.append(text)
        left -= len(text.encode())
    return found


def _base_counts(model: ModelFile, scores: dict[str, float], lowest: float) -> dict[str, Any]:
    return {
        "ids": len(model.pieces),
        "han_characters": sum(len(text) == 1 and is_han(text) for text in scores),
        "lowest_score": lowest,
        "pieces_at_-1e9": sum(score <= PARKED for score in scores.values()),
    }


def _character_counts(listed: Sequence[str], added: Sequence[str]) -> dict[str, int]:
    return {
        "listed": len(listed),
        "in_the_model": len(listed) - len(added),
        "added": len(added),
        "added_not_han": sum(not is_han(char) for char in added),
    }


def _word_counts(
    selector: Selector, selection: Selection, old: dict[str, float], slots: int
) -> dict[str, Any]:
    """Both ways with words that cannot be reached are counted, whichever was taken."""
    dropping, bridging = selector.drop(), selector.bridge()
    return {
        "free_ids": slots,
        "added": len(selection.words),
        "bridges": len(selection.bridges),
        "of_characters_in_the_model": sum(set(word) <= old.keys() for word in selection.words),
        "without_split_among_first": len(selector.without_split()),
        "if_dropped": {"words": len(dropping.words), "dropped": len(dropping.dropped)},
        "if_bridged": {"words": len(bridging.words), "bridges": len(bridging.bridges)},
    }
