"""Compiled scan of a chunk of documents: one pass for characters, tokens, sentences and lines.

One file, because a compiled function calls only those of its own file (`engine.compiled`). State
that changes with every character lives in local variables; what changes once a line or a phrase
lives in `memory`, one small array, whose places have names below.
"""

from __future__ import annotations

import numpy as np

from skywright.corpus import fold
from skywright.corpus.signals import counts as c
from skywright.corpus.signals import phrases as p
from skywright.engine.compiled import compiled

_BLANK, _NEWLINE, _WORD = fold.SPACE | fold.NEWLINE, fold.NEWLINE, fold.LETTER | fold.NUMBER
_HAN, _KANA, _HANGUL, _LATIN = fold.HAN, fold.KANA, fold.HANGUL, fold.LATIN
_LETTER, _DIGIT, _MARK, _UPPER = fold.LETTER, fold.DIGIT, fold.MARK, fold.UPPER
_TERMINAL, _BULLET, _TRADITIONAL = fold.TERMINAL, fold.BULLET, fold.TRADITIONAL
_SENTENCE, _TECHNICAL, _SEPARATOR = fold.SENTENCE, fold.TECHNICAL, fold.SEPARATOR
_SIGNS = fold.SENTENCE | fold.SEPARATOR | fold.COUNTED
_STOP = fold.ZH_STOP | fold.COMMON

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd (Knuth, TAOCP 3, 6.4)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)  # fmix64 of MurmurHash3, as in skywright.corpus.kernels
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_PARAGRAPH = np.uint64(0xD6E8FEB86659FD93)  # tells hashes of paragraphs from those of lines
_1, _32, _33, _63 = np.uint64(1), np.uint64(32), np.uint64(33), np.uint64(63)
_SPACE_CODE = np.uint64(0x20)

_DOT, _FULL_STOP, _ELLIPSIS, _HASH, _CURLY, _COMMA = 0x2E, 0x3002, 0x2026, 0x23, 0x7B, 0x2C
_SLASH, _STAR, _MINUS = 0x2F, 0x2A, 0x2D
_OPEN, _CLOSE = np.array([0x3010, 0x300A, 0x3C]), np.array([0x3011, 0x300B, 0x3E])  # 【《< 】》>

_I = {name: place for place, name in enumerate(c.COUNTS)}
_UI, _JAVASCRIPT, _POLICY, _FEW_WORDS, _LONG_WORD, _NO_END = range(6)
_UPPER_LINE, _NUMERIC, _COUNTER, _ONE_TOKEN, _FURNITURE = range(6, 11)
_FLAGS = len(c.LINE_FLAGS)
_REFINEDWEB = sum(1 << f for f in (_UPPER_LINE, _NUMERIC, _COUNTER, _ONE_TOKEN, _FURNITURE))
(
    _VIEW, _SOLID, _NEWLINES, _LINES, _LINE_CHARS, _MAX_LINE, _RAW_LINES, _MAX_RAW, _BULLETS,
    _ELLIPSIS_LINES, _TERMINALS, _SHORT, _SHORT_HAN, _COMMENTS, _DUP_LINES, _DUP_LINE_CHARS,
    _PARAGRAPHS, _DUP_PARAGRAPHS, _DUP_PARAGRAPH_CHARS, _REFINEDWEB_TOKENS, _HASHES, _ELLIPSES,
    _BRACKET, _TITLE, _MARKUP, _CURLIES, _LISTED, _N_HAN, _N_KANA, _N_HANGUL, _N_LATIN, _LETTERS,
    _WORD_CHARS, _DIGITS, _UPPERS, _TRADITIONALS, _EN_STOP, _ZH_STOP, _COMMON, _TOKEN_CHARS,
    _LETTER_TOKENS, _CONTACTS, _SENTENCES, _QUESTIONABLE, _ODD_CASE, _ODD_LENGTH, _TECHNICALS,
    _CURSED, _LOREM, _XML, _GENERATED, _PORN, _GAMBLING,
) = range(_FLAGS, len(c.COUNTS))  # fmt: skip

# Places of `memory`: of the sentence, of the word, of the line, of the paragraph.
(
    _M_CURSED, _M_CURSED_END, _M_CAPS, _M_SENTENCE_TOKEN, _M_SENTENCE_CHARS, _M_TECHNICAL,
    _M_WORDS, _M_LONGEST,
    _M_GROUPS, _M_FURNITURE, _M_FURNITURE_END, _M_CUE, _M_NAMES,
    _M_LINE_TOKEN, _M_LINE_SOLID, _M_LINE_DIGITS, _M_LINE_UPPER, _M_LINE_HAN,
    _M_ITEM, _M_SEPARATED, _M_PARAGRAPH_CHARS, _PLACES,
) = range(22)  # fmt: skip


@compiled
def _mix(h):  # type: ignore[no-untyped-def]
    h = (h ^ (h >> _33)) * _MIX_1
    h = (h ^ (h >> _33)) * _MIX_2
    return h ^ (h >> _33)


@compiled
def _is_new(keys, stamps, mask, stamp, key):  # type: ignore[no-untyped-def]
    """Whether `key` is not in the table yet; it is afterwards. Other stamps count as free."""
    slot = ((key ^ (key >> _32)) * _GOLDEN >> _32) & mask
    while stamps[slot] == stamp and keys[slot] != key:
        slot = (slot + _1) & mask
    if stamps[slot] == stamp:
        return False
    stamps[slot] = stamp
    keys[slot] = key
    return True


@compiled
def _phrase(group, number, begin, i, first, kinds, memory, hits, out):  # type: ignore[no-untyped-def]
    """A phrase stands at begin..i."""
    if group <= p.POLICY:
        memory[_M_GROUPS] |= np.int64(1) << group
    elif group == p.PORN or group == p.GAMBLING:
        hits[group - p.PORN] |= _1 << np.uint64(number)
    elif group == p.CONTACT:
        memory[_M_CUE] = i
    elif group == p.CURSED or (group == p.CURSED_CAPITAL and kinds[begin] & _UPPER):
        memory[_M_CURSED] = 1
    elif group == p.CURSED_END:
        memory[_M_CURSED_END] = i
    elif group == p.FURNITURE_ANYWHERE or (group == p.FURNITURE_START and begin == first):
        memory[_M_FURNITURE] = 1
    elif group == p.FURNITURE_END:
        memory[_M_FURNITURE_END] = i
    elif group == p.LOREM:
        out[_LOREM] += 1
    elif group == p.XML and begin < 100:  # StarCoder: in the first 100 characters
        out[_XML] = 1
    elif group == p.GENERATED and out[_LINES] < 5:  # StarCoder: in the first five lines
        out[_GENERATED] = 1


@compiled
def _mixed_token(begin, end, all_of, kinds, codes, memory, out):  # type: ignore[no-untyped-def]
    """Count the characters of a token that is not all Latin letters; and addresses."""
    digits = out[_DIGITS]
    for j in range(begin, end):
        out[_WORD_CHARS] += kinds[j] & _WORD != 0
        out[_LETTERS] += kinds[j] & _LETTER != 0
        out[_N_LATIN] += kinds[j] & _LATIN != 0
        out[_DIGITS] += kinds[j] & _DIGIT != 0
        out[_N_KANA] += kinds[j] & _KANA != 0
        out[_N_HANGUL] += kinds[j] & _HANGUL != 0
    if out[_DIGITS] > digits:
        chars = end - begin
        # A Chinese mobile number has 11 digits and begins with 13 to 19.
        mobile = chars == 11 and all_of & _DIGIT != 0 and codes[begin] == 0x31
        mobile = mobile and codes[begin + 1] >= 0x33
        announced = chars >= 5 and begin - memory[_M_CUE] <= c.CUE_CHARS
        out[_CONTACTS] += mobile or announced
        if announced:
            memory[_M_CUE] = -c.CUE_CHARS - 1


@compiled
def _close_sentence(last, tokens, chars, technical, caps, memory, out):  # type: ignore[no-untyped-def]
    """Judge a sentence that has tokens by MADLAD-400's rules 2 to 5."""
    n = tokens - memory[_M_SENTENCE_TOKEN]
    size = chars - memory[_M_SENTENCE_CHARS]
    if n > 0:
        case = n >= c.CASE_TOKENS and 2 * (caps - memory[_M_CAPS]) > n
        length = size < c.SENTENCE_CHARS[0] or size > c.SENTENCE_CHARS[1]
        full_of_signs = 5 * (technical - memory[_M_TECHNICAL]) > size
        cursed = memory[_M_CURSED] != 0 or memory[_M_CURSED_END] == last
        out[_SENTENCES] += 1
        out[_ODD_CASE] += case
        out[_ODD_LENGTH] += length
        out[_TECHNICALS] += full_of_signs
        out[_CURSED] += cursed
        out[_QUESTIONABLE] += case or length or full_of_signs or cursed
    memory[_M_CURSED] = 0
    memory[_M_CAPS] = caps
    memory[_M_SENTENCE_TOKEN] = tokens
    memory[_M_SENTENCE_CHARS] = chars
    memory[_M_TECHNICAL] = technical


@compiled
def _line_flags(kinds, last, chars, tokens, last_hash, counters, ellipsis, memory, out):  # type: ignore[no-untyped-def]
    """Bits of c.LINE_FLAGS of a line."""
    flags = np.int64(0)
    groups = memory[_M_GROUPS]
    if (groups & (1 << p.UI) and chars <= c.SHORT_LINE_CHARS) or (
        groups & (1 << p.UI_BRIEF) and chars <= c.BRIEF_LINE_CHARS
    ):
        flags |= 1 << _UI
    if groups & (1 << p.JAVASCRIPT):
        flags |= 1 << _JAVASCRIPT
    if groups & (1 << p.POLICY):
        flags |= 1 << _POLICY
    if memory[_M_WORDS] < c.MIN_LINE_WORDS:
        flags |= 1 << _FEW_WORDS
    if memory[_M_LONGEST] > c.MAX_WORD_CHARS:
        flags |= 1 << _LONG_WORD
    if kinds[last] & _TERMINAL == 0 or ellipsis:
        flags |= 1 << _NO_END
    if 2 * (out[_UPPERS] - memory[_M_LINE_UPPER]) > chars:
        flags |= 1 << _UPPER_LINE
    if out[_DIGITS] - memory[_M_LINE_DIGITS] == out[_SOLID] - memory[_M_LINE_SOLID]:
        flags |= 1 << _NUMERIC
    if tokens >= 2 and memory[_M_NAMES] == 1:
        for k in range(len(counters)):
            if counters[k] == last_hash:
                flags |= 1 << _COUNTER
    if tokens == 1:
        flags |= 1 << _ONE_TOKEN
    if tokens <= c.FURNITURE_TOKENS and (
        memory[_M_FURNITURE] != 0 or memory[_M_FURNITURE_END] == last
    ):
        flags |= 1 << _FURNITURE
    return flags


@compiled
def _close_line(  # type: ignore[no-untyped-def]
    codes, kinds, first, last, chars, tokens, h, last_hash, counters, table, memory, out
):  # fmt: skip
    """Count a line that is not blank; returns its flags. first, last: its solid characters."""
    keys, stamps, mask, stamp = table
    line_tokens = tokens - memory[_M_LINE_TOKEN]
    out[_LINES] += 1
    out[_LINE_CHARS] += chars
    out[_MAX_LINE] = max(out[_MAX_LINE], chars)
    out[_SHORT] += chars <= c.SHORT_LINE_CHARS
    out[_SHORT_HAN] += out[_N_HAN] - memory[_M_LINE_HAN] <= c.SHORT_HAN_CHARS
    out[_TERMINALS] += kinds[last] & _TERMINAL != 0
    out[_BULLETS] += kinds[first] & _BULLET != 0
    code = codes[last]
    ellipsis = code == _ELLIPSIS or (
        code in (_DOT, _FULL_STOP)
        and last - first >= 2
        and codes[last - 1] == code
        and codes[last - 2] == code
    )
    out[_ELLIPSIS_LINES] += ellipsis
    head = codes[first]
    after = codes[min(first + 1, last)]
    out[_COMMENTS] += (
        head in (_HASH, _STAR)
        or (head == _SLASH and after in (_SLASH, _STAR))
        or (head == _MINUS and after == _MINUS and last > first)
    )
    if not _is_new(keys, stamps, mask, stamp, h):
        out[_DUP_LINES] += 1
        out[_DUP_LINE_CHARS] += chars
    if memory[_M_SEPARATED] != 0 and out[_WORD_CHARS] - memory[_M_ITEM] <= c.ITEM_CHARS:
        out[_LISTED] += out[_WORD_CHARS] - memory[_M_ITEM]
    flags = _line_flags(kinds, last, chars, line_tokens, last_hash, counters, ellipsis, memory, out)
    for k in range(_FLAGS):
        out[k] += (flags >> k) & 1
    if flags & _REFINEDWEB:
        out[_REFINEDWEB_TOKENS] += line_tokens
    memory[_M_PARAGRAPH_CHARS] += chars
    return flags


@compiled
def _open_line(tokens, memory, out):  # type: ignore[no-untyped-def]
    """Forget the line that ended; what follows is measured from here."""
    memory[_M_GROUPS] = 0
    memory[_M_FURNITURE] = 0
    memory[_M_FURNITURE_END] = -1
    memory[_M_CUE] = -c.CUE_CHARS - 1
    memory[_M_LINE_TOKEN] = tokens
    memory[_M_LINE_SOLID] = out[_SOLID]
    memory[_M_LINE_DIGITS] = out[_DIGITS]
    memory[_M_LINE_UPPER] = out[_UPPERS]
    memory[_M_LINE_HAN] = out[_N_HAN]
    memory[_M_ITEM] = out[_WORD_CHARS]
    memory[_M_SEPARATED] = 0


@compiled
def _close_paragraph(h, table, memory, out):  # type: ignore[no-untyped-def]
    keys, stamps, mask, stamp = table
    out[_PARAGRAPHS] += 1
    if not _is_new(keys, stamps, mask, stamp, _mix(h)):
        out[_DUP_PARAGRAPHS] += 1
        out[_DUP_PARAGRAPH_CHARS] += memory[_M_PARAGRAPH_CHARS]
    memory[_M_PARAGRAPH_CHARS] = 0


@compiled
def _sign(i, code, kind, codes, solid, opened, memory, out):  # type: ignore[no-untyped-def]
    """Count a solid character that is no letter and no number."""
    if code == _HASH:
        out[_HASHES] += 1
    elif code == _CURLY:
        out[_CURLIES] += 1
    elif code in (_DOT, _FULL_STOP):
        out[_ELLIPSES] += (
            i >= 2 and codes[i - 1] == code and codes[i - 2] == code
            and (i == 2 or codes[i - 3] != code)
        )  # fmt: skip
    elif code == _ELLIPSIS:
        out[_ELLIPSES] += i == 0 or codes[i - 1] != code
    else:
        for k in range(len(opened)):
            if code == _OPEN[k]:
                opened[k] = solid - 1 if opened[k] < 0 else opened[k]
            elif code == _CLOSE[k] and opened[k] >= 0:
                out[_BRACKET + k] += solid - opened[k]
                opened[k] = -1
    if kind & _SEPARATOR:
        item = out[_WORD_CHARS] - memory[_M_ITEM]
        if item <= c.ITEM_CHARS:
            out[_LISTED] += item
        memory[_M_ITEM] = out[_WORD_CHARS]
        memory[_M_SEPARATED] = 1


@compiled
def _scan_document(  # type: ignore[no-untyped-def]
    codes, kinds, machine, words, table, histogram, touched, memory, hits, opened, stop_seen,
    hashes, sizes, t, numbers, flags, m, out,
):  # fmt: skip
    """Scan one document; tokens are written from hashes[t], flagged lines from numbers[m].

    Returns (t, m, entropy in nats of the first solid characters) after the document. What happens
    with every character or word is written out here: a call passes each array as seven numbers,
    and half of the time went into calls.
    """
    alphabet, moves, letters, accepting, outputs, group, number, size = machine
    en_stop, zh_stop, common, counters = words
    n = len(codes)
    token_0 = t
    first, last, word_begin, raw_begin = -1, -1, 0, 0  # of the line and of the word
    solid, gaps, line_solid, line_gaps, technical, distinct = 0, 0, 0, 0, 0, 0
    latin, uppers, caps, names, token_chars, letter_tokens = 0, 0, 0, 0, 0, 0
    word_count, longest, singles, pairs, comma = 0, 0, 0, 0, 0
    line_hash, token_hash, paragraph_hash = _GOLDEN, _GOLDEN, _GOLDEN
    token_begin, any_of, all_of = -1, np.int64(0), np.int64(-1)
    stop_bits, common_bits, last_hash = np.uint64(0), np.uint64(0), np.uint64(0)
    state = np.uint32(0)
    stop_mask = np.uint64(0)
    for k in range(len(en_stop)):
        stop_mask |= _1 << (en_stop[k] & _63)
    for i in range(n + 1):
        kind = np.int64(kinds[i]) if i < n else np.int64(_NEWLINE)
        code = codes[i] if i < n else np.uint32(0x0A)
        in_token = kind & _HAN == 0 and (
            kind & _WORD != 0 or (token_begin >= 0 and kind & _MARK != 0)
        )
        if token_begin >= 0 and not in_token:
            chars = i - token_begin
            last_hash = _mix(token_hash)
            hashes[t] = last_hash
            sizes[t] = chars
            t += 1
            token_chars += chars
            letter_tokens += any_of & _LETTER != 0
            head = np.int64(kinds[token_begin])
            caps += head & _UPPER != 0
            names += head & _DIGIT == 0
            if any_of & _UPPER:
                for j in range(token_begin, i):
                    uppers += kinds[j] & _UPPER != 0
            if all_of & _LATIN:
                latin += chars
            else:
                _mixed_token(token_begin, i, all_of, kinds, codes, memory, out)
            if (stop_mask >> (last_hash & _63)) & _1:  # perhaps a stop word: one token in nine
                for k in range(len(en_stop)):
                    if last_hash == en_stop[k]:
                        stop_seen[k] = True
            token_begin = -1
        if kind & _BLANK:
            if first >= 0 and last == i - 1:  # a word ends
                chars = i - word_begin
                word_count += 1
                longest = max(longest, chars)
                singles = singles + 1 if chars == 1 else 0
                is_comma = codes[last] == _COMMA
                if is_comma and (chars == 3 or (chars == 4 and codes[last - 1] == _COMMA)):
                    pairs += comma
                else:
                    pairs = 0
                comma = 1 if is_comma else 0
                if singles >= 9 or pairs >= 4:  # MADLAD-400's two spaced patterns
                    memory[_M_CURSED] = 1
            if kind & _NEWLINE:
                out[_NEWLINES] += i < n
                out[_RAW_LINES] += i < n or i > raw_begin
                out[_MAX_RAW] = max(out[_MAX_RAW], i - raw_begin)
                raw_begin = i + 1
                out[_SOLID] = solid
                out[_UPPERS] = uppers
                _add_latin(latin, out)
                latin = 0
                if first >= 0:
                    _close_sentence(last, t - token_0, solid + gaps, technical, caps, memory, out)
                    memory[_M_WORDS] = word_count
                    memory[_M_LONGEST] = longest
                    memory[_M_NAMES] = names
                    found = _close_line(
                        codes, kinds, first, last, solid - line_solid + gaps - line_gaps,
                        t - token_0, line_hash, last_hash, counters, table, memory, out,
                    )  # fmt: skip
                    if found:
                        numbers[m] = out[_NEWLINES] - (i < n)
                        flags[m] = found
                        m += 1
                    paragraph_hash = (paragraph_hash ^ line_hash) * _PARAGRAPH
                elif memory[_M_PARAGRAPH_CHARS] > 0:
                    _close_paragraph(paragraph_hash, table, memory, out)
                    paragraph_hash = _GOLDEN
                _open_line(t - token_0, memory, out)
                first, last, state, line_hash = -1, -1, np.uint32(0), _GOLDEN
                line_solid, line_gaps, names = solid, gaps, 0
                word_count, longest, singles, pairs, comma = 0, 0, 0, 0, 0
                opened[:] = -1
            continue
        if first < 0:
            first = i
            word_begin = i
        elif last != i - 1:
            line_hash = (line_hash ^ _SPACE_CODE) * _GOLDEN
            gaps += 1
            word_begin = i
            state = moves[state + alphabet[0x20]]
            if state >= accepting:
                for k in range(outputs[state // letters], outputs[state // letters + 1]):
                    _phrase(
                        group[k], number[k], i - size[k], i - 1, first, kinds, memory, hits, out
                    )
        last = i
        solid += 1
        technical += kind & _TECHNICAL != 0
        line_hash = (line_hash ^ np.uint64(code)) * _GOLDEN
        if solid <= c.ENTROPY_CHARS:
            seen = histogram[code]
            histogram[code] = seen + 1
            if seen == 0:
                touched[distinct] = code
                distinct += 1
        state = moves[state + alphabet[code]]
        if state >= accepting:
            for k in range(outputs[state // letters], outputs[state // letters + 1]):
                _phrase(group[k], number[k], i + 1 - size[k], i, first, kinds, memory, hits, out)
        if in_token:
            if token_begin < 0:
                token_begin = i
                token_hash = _GOLDEN
                any_of = np.int64(0)
                all_of = np.int64(-1)
            token_hash = (token_hash ^ np.uint64(code)) * _GOLDEN
            any_of |= kind
            all_of &= kind
        elif kind & _HAN:
            last_hash = _mix((_GOLDEN ^ np.uint64(code)) * _GOLDEN)
            hashes[t] = last_hash
            sizes[t] = 1
            t += 1
            names += 1
            out[_N_HAN] += 1
            out[_LETTERS] += kind & _LETTER != 0
            out[_TRADITIONALS] += kind & _TRADITIONAL != 0
            out[_WORD_CHARS] += 1
            if kind & _STOP:
                for k in range(len(zh_stop)):
                    if zh_stop[k] == code:
                        stop_bits |= _1 << np.uint64(k)
                for k in range(len(common)):
                    if common[k] == code:
                        common_bits |= _1 << np.uint64(k)
        elif kind & _SIGNS:
            _add_latin(latin, out)
            latin = 0
            _sign(i, code, kind, codes, solid, opened, memory, out)
            if kind & _SENTENCE:
                after = np.int64(kinds[i + 1]) if i + 1 < n else np.int64(_NEWLINE)
                if after & _SENTENCE == 0 and (code != _DOT or after & _BLANK != 0):
                    _close_sentence(last, t - token_0, solid + gaps, technical, caps, memory, out)
    if memory[_M_PARAGRAPH_CHARS] > 0:
        _close_paragraph(paragraph_hash, table, memory, out)
    for k in range(64):
        bit = np.uint64(k)
        out[_ZH_STOP] += (stop_bits >> bit) & _1 != 0
        out[_COMMON] += (common_bits >> bit) & _1 != 0
        out[_PORN] += (hits[0] >> bit) & _1 != 0
        out[_GAMBLING] += (hits[1] >> bit) & _1 != 0
    counted = min(solid, c.ENTROPY_CHARS)
    entropy = 0.0
    for k in range(distinct):
        share = histogram[touched[k]] / counted
        entropy -= share * np.log(share)
        histogram[touched[k]] = 0
    out[_TOKEN_CHARS] = token_chars + out[_N_HAN]
    out[_LETTER_TOKENS] = letter_tokens + out[_N_HAN]
    return t, m, max(entropy, 0.0)


@compiled
def _add_latin(chars, out):  # type: ignore[no-untyped-def]
    out[_N_LATIN] += chars
    out[_LETTERS] += chars
    out[_WORD_CHARS] += chars


@compiled
def scan_chunk(codes, kinds, view_offsets, machine, words):  # type: ignore[no-untyped-def]
    """Scan a chunk of views.

    machine: a `phrases.Automaton`; words: hashes uint64 of the English stop words, code points
    uint32 of the Chinese ones and of the common characters, hashes of the counter words.

    Returns counts int64 (documents, len(COUNTS)); entropy float64 (documents); tokens as hashes
    uint64, sizes int32 and offsets int64 (documents + 1); flagged lines as numbers int32 (from 0),
    flags int32 and offsets int64 (documents + 1).
    """
    documents = len(view_offsets) - 1
    counts = np.zeros((documents, len(c.COUNTS)), np.int64)
    entropy = np.zeros(documents, np.float64)
    lines = np.zeros(documents, np.int64)
    for d in range(documents):
        for i in range(view_offsets[d], view_offsets[d + 1]):
            lines[d] += kinds[i] & _NEWLINE != 0
    hashes = np.empty(len(codes), np.uint64)
    sizes = np.empty(len(codes), np.int32)
    token_offsets = np.zeros(documents + 1, np.int64)
    numbers = np.empty(lines.sum() + documents, np.int32)
    flags = np.empty(lines.sum() + documents, np.int32)
    line_offsets = np.zeros(documents + 1, np.int64)
    slots = 8
    while slots < 4 * (lines.max() + 2) if documents else False:
        slots *= 2
    keys = np.empty(slots, np.uint64)
    stamps = np.zeros(slots, np.int64)
    histogram = np.zeros(0x110000, np.int32)
    touched = np.empty(c.ENTROPY_CHARS, np.uint32)
    memory = np.zeros(_PLACES, np.int64)
    t = 0
    m = 0
    for d in range(documents):
        slots = 8
        while slots < 4 * (lines[d] + 2):  # room for lines and paragraphs, half empty
            slots *= 2
        memory[:] = 0
        memory[_M_CURSED_END] = -1
        memory[_M_FURNITURE_END] = -1
        memory[_M_CUE] = -c.CUE_CHARS - 1
        stop_seen = np.zeros(len(words[0]), np.bool_)
        out = counts[d]
        begin, end = view_offsets[d], view_offsets[d + 1]
        t, m, entropy[d] = _scan_document(
            codes[begin:end], kinds[begin:end], machine, words,
            (keys, stamps, np.uint64(slots - 1), d + 1), histogram, touched, memory,
            np.zeros(2, np.uint64), np.full(3, -1, np.int64), stop_seen,
            hashes, sizes, t, numbers, flags, m, out,
        )  # fmt: skip
        out[_VIEW] = end - begin
        out[_EN_STOP] = stop_seen.sum()
        token_offsets[d + 1] = t
        line_offsets[d + 1] = m
    return (
        counts, entropy, hashes[:t], sizes[:t], token_offsets, numbers[:m], flags[:m], line_offsets
    )  # fmt: skip
