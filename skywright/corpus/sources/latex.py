r"""From LaTeX to text: prose and formulas stay, markup goes.

Kept: paragraphs, section titles, list items, formulas as they are written (`$..$`, `\[..\]`,
`equation`, `align` and their kin, without labels), verbatim text, footnotes in brackets. Dropped:
comments (`\iffalse` too), the preamble (its title stays), figures, tables, algorithms,
bibliographies, references, citations and every command that writes nothing. Nothing is expanded:
an author's own macros go, their arguments stay. `\input` is not followed.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice

_TOKEN = re.compile(
    r"\\begin\s*\{([A-Za-z*]+)\}|\\end\s*\{([A-Za-z*]+)\}|\\([A-Za-z@]+)\*?|\\(.|\n)|"
    r"(%[^\n]*(?:\n[ \t]*)?)|(\$\$?)|([{}~])|(-{2,3}|``|'')",
    re.DOTALL,
)
_MATH = frozenset(
    [
        "equation",
        "align",
        "gather",
        "multline",
        "eqnarray",
        "displaymath",
        "math",
        "flalign",
        "alignat",
        "split",
        "subequations",
        "dmath",
        "IEEEeqnarray",
        "empheq",
    ]
)
_VERBATIM = frozenset(("verbatim", "lstlisting", "minted", "Verbatim", "alltt"))
_DROPPED = frozenset(
    [
        "figure",
        "table",
        "tabular",
        "tabularx",
        "longtable",
        "tikzpicture",
        "pspicture",
        "picture",
        "thebibliography",
        "comment",
        "wrapfigure",
        "sidewaystable",
        "algorithm",
        "algorithmic",
        "CCSXML",
        "filecontents",
    ]
)
_TITLES = frozenset(
    ["part", "chapter", "section", "subsection", "subsubsection", "paragraph", "title"]
)
# Commands that write nothing that belongs to the text, with the groups that go with them.
_ONE_GROUP = """label ref eqref pageref autoref cref Cref nameref cite citep citet citealp
citeauthor citeyear nocite includegraphics bibliography bibliographystyle usepackage documentclass
input include vspace hspace index pagestyle thispagestyle hypersetup thanks author date
address email affiliation institute keywords subjclass pagenumbering caption graphicspath
theoremstyle color pagecolor url phantom vphantom hphantom textcolor href newcounter"""
_TWO_GROUPS = """newcommand renewcommand providecommand newtheorem setcounter addtocounter setlength
addtolength DeclareMathOperator definecolor"""
_SILENT = dict.fromkeys(re.findall(r"\w+", _ONE_GROUP), 1)
_SILENT |= dict.fromkeys(re.findall(r"\w+", _TWO_GROUPS), 2)
_SILENT |= {"newenvironment": 3, "renewenvironment": 3}
# Boxes and the like: so many groups say how the text in the next one looks.
_LOOKS = {
    "raisebox": 1, "parbox": 1, "scalebox": 1, "rotatebox": 1, "colorbox": 1, "adjustbox": 1,
    "foreignlanguage": 1, "resizebox": 2, "fcolorbox": 2, "multicolumn": 2, "multirow": 2,
    "fontsize": 2, "rule": 2,
}  # fmt: skip
_ENVIRONMENT_GROUPS = {
    "minipage": 1, "multicols": 1, "minted": 1, "spacing": 1, "CJK": 2, "adjustwidth": 2, "list": 2,
}  # fmt: skip
"""How many groups behind `\\begin{..}` say how it looks."""
_SYMBOLS = {
    "ss": "ß", "o": "ø", "O": "Ø", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å",
    "AA": "Å", "l": "ł", "L": "Ł", "i": "ı", "j": "ȷ", "S": "§", "P": "¶", "dots": "…",
    "ldots": "…", "LaTeX": "LaTeX", "TeX": "TeX", "copyright": "©", "pounds": "£",
    "textbackslash": "\\", "textasciitilde": "~", "textendash": "–", "textemdash": "—",
    "quad": " ", "qquad": " ", "par": "\n\n", "newline": "\n", "linebreak": "\n",
    "item": "\n\n- ", "textquoteleft": "‘", "textquoteright": "’", "textgreater": ">",
    "textless": "<", "textbar": "|",
}  # fmt: skip
_SKIPS = frozenset(("vskip", "hskip", "kern", "parindent", "parskip", "baselineskip"))
_ACCENTS = {
    "'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304",
    ".": "\u0307", "c": "\u0327", "v": "\u030c", "u": "\u0306", "H": "\u030b", "r": "\u030a",
    "k": "\u0328", "d": "\u0323", "b": "\u0331",
}  # fmt: skip
_DASHES = {"--": "–", "---": "—", "``": "“", "''": "”"}
MAX_DEPTH = 20
"""Titles and labels inside one another; deeper ones are left out."""
MAX_MARKS = 200
"""Begins and ends of one environment in which its own end is looked for."""

_ACCENTED = re.compile(r"\s*(?:\{\s*(\\[ij]|[^\W\d_])?\s*\}|(\\[ij]\b ?|[^\W\d_]))")
_ARGUMENT = re.compile(r"\s*(?:\[[^\]]{0,500}\]\s*){0,3}\{")
_CONTROL = re.compile(r"\s*\\[A-Za-z@]+")
_LENGTH = (
    r"[ \t]*-?[ \t]*(?:[0-9.]*[ \t]*\\[A-Za-z]+"
    r"|[0-9.]+[ \t]*(?:true)?(?:pt|cm|mm|in|em|ex|pc|bp|fil{1,3}))"
)
_SKIP = re.compile(rf"[ \t]*=?{_LENGTH}(?:[ \t]*(?:plus|minus){_LENGTH}){{0,2}}[ \t]?")
_AFTER_BREAK = re.compile(rf"\*?(?:[ \t]*\[{_LENGTH}[ \t]*\])?")
_INLINE = re.compile(r"(?:\[[^\]\n]{0,200}\])?(?:\{([^\n}]{0,500})\}|([^\w\s*{])([^\n]{0,500}?)\2)")
_END_IF = re.compile(r"\\fi(?![A-Za-z@])")
_IN_MATH = re.compile(r"\\.|\$\$?|\n[ \t]*\n|%[^\n]*", re.DOTALL)
# What hides braces and per cent signs, or is one: \verb|..|, \url{..}, an escape, a comment.
_BRACES = re.compile(
    r"\\verb\*?([^\w\s*])[^\n]{0,500}?\1|\\(?:url|href)\s{0,9}(\{)[^{}\n]{0,2000}\}|\\.|%[^\n]*|[{}]",
    re.DOTALL,
)
_OPTIONAL = re.compile(r"\s*\[[^\[\]]{0,500}\]")
_COMMENT = re.compile(r"(?<!\\)(?:\\\\)*+%")
_LABEL = re.compile(r"\\label\s*\{[^{}]*\}|(?<!\\)%[^\n]*\n?")
_DEFINITION = re.compile(r"[^\n{]{0,200}(?:\{|(?=\n))")  # up to its body, or of \let, its line
_HELD = str.maketrans({"\n": "\v", " ": "\f"})  # what joining lines to paragraphs must not touch
_LET_GO = str.maketrans({"\v": "\n", "\f": " "})
_GONE = "\r"  # stands for a reference until the end
_EMPTY = re.compile(r"\s\((?:[\s,;]|and)*\)")  # what references may have left behind
_CJK = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff60\U00020000-\U0003ffff"
_CJK_LINES = re.compile(f"(?<=[{_CJK}])\n(?=[{_CJK}])")
_TITLE = re.compile(r"\\title\s*(?:\[[^\]]{0,500}\])?\s*\{")


def plain_text(source: str) -> str:
    """The text of a LaTeX document, or of a part of one without a preamble."""
    return _Reading(source).text()


class _Reading:
    def __init__(self, source: str) -> None:
        self._source = source.replace("\r\n", "\n").replace("\r", "\n")
        self._ends = _groups(self._source)
        self._stop = len(self._source)  # of the part that is being read
        self._missed: dict[str, int] = {}  # ends, and up to where they are known not to come
        self._out: list[str] = []
        self._depth = 0

    def text(self) -> str:
        source = self._source
        at, stop = 0, len(source)
        begun = _uncommented(source, "\\begin{document}", 0)
        if begun >= 0:
            at = begun + len("\\begin{document}")
            end = _uncommented(source, "\\end{document}", at)
            stop = end if end >= 0 else stop
            for title in _TITLE.finditer(source, 0, begun):
                if title.end() - 1 in self._ends:  # else it stands in a comment
                    self._span(title.end(), self._ends[title.end() - 1])
                    self._out.append("\n\n")
                    break
        self._span(at, stop)
        return _paragraphs("".join(self._out))

    def _inner(self, at: int, stop: int) -> None:
        """Read a part for itself; a part nested deeper than `MAX_DEPTH` is left out."""
        if self._depth < MAX_DEPTH:
            self._depth += 1
            self._span(at, stop)
            self._depth -= 1

    def _span(self, at: int, stop: int) -> None:
        source, out = self._source, self._out
        outer, self._stop = self._stop, stop
        while found := _TOKEN.search(source, at, stop):
            out.append(source[at : found.start()])
            at = found.end()
            begin, end, command, escaped, comment, dollar, brace, mark = found.groups()
            if begin:
                at = self._environment(begin, found.start(), at)
            elif end:
                out.append("\n\n")
            elif command:
                at = self._command(command, found.start(), at)
            elif escaped:
                at = self._escaped(escaped, found.start(), at)
            elif comment:
                out.append("\n\n" if _is_blank_line(source, found) else "")
            elif dollar:
                at = self._math(dollar, dollar, found.start(), at)
            elif brace == "~":
                out.append(" ")
            elif mark:
                out.append(_DASHES[mark])
        out.append(source[at:stop])
        self._stop = outer

    def _behind(self, needle: str, at: int) -> int | None:
        if at < self._missed.get(needle, 0):
            return None
        found = self._source.find(needle, at, self._stop)
        if found < 0:
            self._missed[needle] = self._stop
            return None
        return found + len(needle)

    def _behind_environment(self, name: str, at: int) -> int | None:
        """Behind the end of an environment that may stand in one of its own kind."""
        first = self._behind(f"\\end{{{name}}}", at)
        if first is None:
            return None
        depth = 1
        mark = re.compile(rf"\\(?:begin|(end))\{{{re.escape(name)}\}}")
        marks = mark.finditer(self._source, at, self._stop)
        for found in islice(marks, MAX_MARKS):
            depth += -1 if found.group(1) else 1
            if depth == 0:
                return found.end()
        return first

    def _environment(self, name: str, start: int, at: int) -> int:
        bare = name.rstrip("*")
        kept = bare in _MATH or bare in _VERBATIM
        if kept or bare in _DROPPED:
            closing = f"\\end{{{name}}}"
            end = self._behind(closing, at) if kept else self._behind_environment(name, at)
            if end is None:
                return at
            if bare in _MATH:
                self._out.append(f"\n\n{_formula(self._source[start:end])}\n\n")
            elif kept:
                inside = self._source[self._behind_look(bare, at) : end - len(closing)]
                self._out.append("\n\n" + inside.strip("\n").translate(_HELD) + "\n\n")
            return end
        self._out.append("\n\n")
        return self._behind_look(bare, at)

    def _behind_look(self, environment: str, at: int) -> int:
        groups = _ENVIRONMENT_GROUPS.get(environment)
        return self._behind_groups(groups, at) if groups else self._behind_optional(at)

    def _behind_optional(self, at: int) -> int:
        found = _OPTIONAL.match(self._source, at)
        return found.end() if found else at

    def _command(self, name: str, start: int, at: int) -> int:
        if name in _SILENT:
            if "ref" in name or "cite" in name:
                self._out.append(_GONE)
            at = self._behind_groups(_SILENT[name], at)
            # A line of its own goes with its end, which would else make an empty line.
            alone = self._source[start - 1 : start].isspace()
            return at + 1 if alone and self._source[at : at + 1] == "\n" else at
        if name in _LOOKS:
            at = self._behind_groups(_LOOKS[name], at)
            return self._behind_optional(self._behind_optional(at))
        if name in _TITLES or name == "footnote":
            begun = _ARGUMENT.match(self._source, at)
            end = self._ends.get(begun.end() - 1) if begun else None
            if begun and end:
                opening, closing = ("\n\n", "\n\n") if name in _TITLES else (" (", ")")
                self._out.append(opening)
                self._inner(begun.end(), end)
                self._out.append(closing)
                return end + 1
            return at
        if name in ("def", "gdef", "let"):
            defined = _DEFINITION.match(self._source, at)
            if not defined:
                return at
            brace = defined.end() - 1
            return self._ends.get(brace, brace) + 1 if "{" in defined.group() else defined.end()
        if name in _ACCENTS and len(name) == 1:
            return self._accent(name, at)
        if name in ("verb", "lstinline"):
            inline = _INLINE.match(self._source, at, self._stop)
            if inline:
                self._out.append((inline[1] or inline[3] or "").translate(_HELD))
            return inline.end() if inline else at
        if name == "iffalse":
            return self._behind_condition(at)
        if name in _SKIPS:
            skip = _SKIP.match(self._source, at)
            return skip.end() if skip else at
        self._out.append(_SYMBOLS.get(name, ""))
        if name == "item":
            label = _OPTIONAL.match(self._source, at)
            if label:
                self._inner(label.group().index("[") + at + 1, label.end() - 1)
                self._out.append(" ")
                return label.end()
            return at
        after = self._behind_optional(at)
        if after == at and self._source[at : at + 1] == " ":
            return at + 1 if name not in _SYMBOLS else at  # TeX swallows the space too
        return after

    def _behind_condition(self, at: int) -> int:
        """Behind the `\\fi` that ends what `\\iffalse` hides."""
        found = None
        if at >= self._missed.get("\\fi", 0):
            found = _END_IF.search(self._source, at, self._stop)
        if found is None:
            self._missed["\\fi"] = self._stop
        return found.end() if found else at

    def _behind_groups(self, groups: int, at: int) -> int:
        for number in range(groups):
            name = _CONTROL.match(self._source, at) if groups > 1 and number == 0 else None
            if name:  # \newcommand\name{..}, \setlength\parskip{..}
                at = name.end()
                continue
            begun = _ARGUMENT.match(self._source, at)
            if not begun:
                return self._behind_optional(at)
            at = self._ends.get(begun.end() - 1, begun.end() - 1) + 1
        return at

    def _escaped(self, character: str, start: int, at: int) -> int:
        if character in "([":
            return self._math("\\" + character, "\\)" if character == "(" else "\\]", start, at)
        if character in _ACCENTS:
            return self._accent(character, at)
        self._out.append(
            "\n" if character == "\\" else " " if character in ",;: \n" else
            character if character in "%&$#_{}" else ""
        )  # fmt: skip
        spaced = _AFTER_BREAK.match(self._source, at) if character == "\\" else None
        return spaced.end() if spaced else at

    def _accent(self, accent: str, at: int) -> int:
        found = _ACCENTED.match(self._source, at)
        letter = (found.group(1) or found.group(2) or "") if found else ""
        letter = {"\\i": "i", "\\j": "j"}.get(letter.strip(), letter)
        self._out.append(unicodedata.normalize("NFC", letter + _ACCENTS[accent]) if letter else "")
        return found.end() if found else at

    def _math(self, opener: str, closer: str, start: int, at: int) -> int:
        """A formula, up to its end; without one before the next blank line it is none to TeX."""
        end, stop = at, self._stop
        if at >= self._missed.get(closer, 0):
            while found := _IN_MATH.search(self._source, end, stop):
                mark, end = found.group(), found.end()
                if mark == closer or (closer == "$" and mark == "$$"):
                    end = found.start() + len(closer)
                    self._out.append(_formula(self._source[start:end]))
                    return end
                if mark[0] == "\n":
                    stop = found.start()
                    break
            self._missed[closer] = stop
        self._out.append(opener)
        return at


def _formula(source: str) -> str:
    """A formula without labels and comments; its lines are kept apart from the paragraphs'."""
    return _LABEL.sub("", source).strip().replace("\n", "\v" if len(source) > 200 else " ")


def _uncommented(source: str, mark: str, at: int) -> int:
    """Where `mark` stands first, from `at` on, outside a comment; -1 if it does not."""
    while (found := source.find(mark, at)) >= 0:
        line = source.rfind("\n", 0, found) + 1
        if not _COMMENT.search(source, line, found):
            return found
        at = source.find("\n", found)  # the comment reaches to the end of the line
        if at < 0:
            return -1
    return -1


def _groups(source: str) -> dict[int, int]:
    """Where each `{` that has an end is closed."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for found in _BRACES.finditer(source):
        mark = found.group()
        if found.group(2):
            ends[found.start(2)] = found.end() - 1
        elif mark == "{":
            opened.append(found.start())
        elif mark == "}" and opened:
            ends[opened.pop()] = found.start()
    return ends


def _is_blank_line(source: str, comment: re.Match[str]) -> bool:
    """Whether a comment stood alone before an empty line, which ends a paragraph."""
    return source[comment.end() : comment.end() + 1] == "\n"


def _paragraphs(text: str) -> str:
    """Lines joined to paragraphs, which stand apart by empty lines; Han lines without a space."""
    text = _EMPTY.sub(lambda found: "" if _GONE in found.group() else found.group(), text)
    text = re.sub(" ?\n ?", "\n", re.sub("[ \t]+", " ", text.replace(_GONE, "")))
    lines = (part.strip(" \n") for part in re.split("\n{2,}", text))
    paragraphs = (_CJK_LINES.sub("", part).replace("\n", " ") for part in lines)
    joined = "\n\n".join(part for part in paragraphs if part.strip("- \v\f"))
    return joined.translate(_LET_GO)
