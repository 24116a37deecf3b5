r"""From LaTeX to text: prose and formulas stay, markup goes.

Kept: paragraphs, section titles, list items, formulas as they are written (`$..$`, `\[..\]`,
`equation`, `align` and their kin, without labels), verbatim text, footnotes in brackets. Dropped:
comments, the preamble (its title stays), figures, tables, bibliographies, references, citations
and every command that writes nothing. Nothing is expanded: an author's own macros go, their
arguments stay. `\input` is not followed.
"""

from __future__ import annotations

import re
import unicodedata

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
input include vspace hspace vskip hskip index pagestyle thispagestyle hypersetup thanks author date
address email affiliation institute keywords subjclass pagenumbering caption graphicspath
theoremstyle color pagecolor url phantom vphantom hphantom textcolor href"""
_TWO_GROUPS = """newcommand renewcommand providecommand newtheorem setcounter addtocounter setlength
addtolength DeclareMathOperator newcounter definecolor"""
_SILENT = dict.fromkeys(re.findall(r"\w+", _ONE_GROUP), 1)
_SILENT |= dict.fromkeys(re.findall(r"\w+", _TWO_GROUPS), 2)
_SILENT |= {"newenvironment": 3, "renewenvironment": 3}
_SYMBOLS = {
    "ss": "ß", "o": "ø", "O": "Ø", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å",
    "AA": "Å", "l": "ł", "L": "Ł", "i": "ı", "j": "ȷ", "S": "§", "P": "¶", "dots": "…",
    "ldots": "…", "LaTeX": "LaTeX", "TeX": "TeX", "copyright": "©", "pounds": "£",
    "textbackslash": "\\", "textasciitilde": "~", "textendash": "–", "textemdash": "—",
    "quad": " ", "qquad": " ", "par": "\n\n", "newline": "\n", "linebreak": "\n",
    "item": "\n\n- ", "textquoteleft": "‘", "textquoteright": "’", "textgreater": ">",
    "textless": "<", "textbar": "|",
}  # fmt: skip
_ACCENTS = {
    "'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304",
    ".": "\u0307", "c": "\u0327", "v": "\u030c", "u": "\u0306", "H": "\u030b", "r": "\u030a",
    "k": "\u0328", "d": "\u0323", "b": "\u0331",
}  # fmt: skip
_DASHES = {"--": "–", "---": "—", "``": "“", "''": "”"}
MAX_DEPTH = 20
"""Titles and labels inside one another; deeper ones are left out."""

_ACCENTED = re.compile(r"\s*(?:\{\s*(\\[ij]|[^\W\d_])?\s*\}|(\\[ij]\b ?|[^\W\d_]))")
_ARGUMENT = re.compile(r"\s*(?:\[[^\]]{0,500}\])?\s*\{")
_OPTIONAL = re.compile(r"\s*\[[^\[\]]{0,500}\]")
_LABEL = re.compile(r"\\label\s*\{[^{}]*\}|(?<!\\)%[^\n]*\n?")
_DEFINITION = re.compile(r"[^\n{]{0,200}(?:\{|(?=\n))")  # up to its body, or of \let, its line
_HELD = str.maketrans({"\n": "\v", " ": "\f"})  # what joining lines to paragraphs must not touch
_LET_GO = str.maketrans({"\v": "\n", "\f": " "})
_EMPTY = re.compile(r"\s\((?:[\s,;]|and)*\)")  # what references leave behind
_TITLE = re.compile(r"\\title\s*(?:\[[^\]]{0,500}\])?\s*\{")


def plain_text(source: str) -> str:
    """The text of a LaTeX document, or of a part of one without a preamble."""
    return _Reading(source).text()


class _Reading:
    def __init__(self, source: str) -> None:
        self._source = source
        self._ends = _groups(source)
        self._endless: set[str] = set()  # ends that are known not to come any more
        self._out: list[str] = []
        self._depth = 0

    def text(self) -> str:
        source = self._source
        at, stop = 0, len(source)
        begun = source.find("\\begin{document}")
        if begun >= 0:
            at = begun + len("\\begin{document}")
            end = source.find("\\end{document}", at)
            stop = end if end >= 0 else stop
            title = _TITLE.search(source, 0, begun)
            if title:
                self._span(title.end(), self._ends.get(title.end() - 1, title.end()))
                self._out.append("\n\n")
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

    def _behind(self, needle: str, at: int) -> int | None:
        if needle in self._endless:
            return None
        found = self._source.find(needle, at)
        if found < 0:
            self._endless.add(needle)
            return None
        return found + len(needle)

    def _environment(self, name: str, start: int, at: int) -> int:
        bare = name.rstrip("*")
        kept = bare in _MATH or bare in _VERBATIM
        if kept or bare in _DROPPED:
            end = self._behind(f"\\end{{{name}}}", at)
            if end is None:
                return at
            if bare in _MATH:
                self._out.append(f"\n\n{_formula(self._source[start:end])}\n\n")
            elif kept:
                inside = self._source[self._behind_optional(at) : end - len(f"\\end{{{name}}}")]
                self._out.append("\n\n" + inside.strip("\n").translate(_HELD) + "\n\n")
            return end
        self._out.append("\n\n")
        return self._behind_optional(at)

    def _behind_optional(self, at: int) -> int:
        found = _OPTIONAL.match(self._source, at)
        return found.end() if found else at

    def _command(self, name: str, start: int, at: int) -> int:
        if name in _SILENT:
            at = self._silent(name, at)
            # A line of its own goes with its end, which would else make an empty line.
            alone = self._source[start - 1 : start].isspace()
            return at + 1 if alone and self._source[at : at + 1] == "\n" else at
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

    def _silent(self, name: str, at: int) -> int:
        for _ in range(_SILENT[name]):
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
            character if character in "%&$#_{}-" else ""
        )  # fmt: skip
        return at

    def _accent(self, accent: str, at: int) -> int:
        found = _ACCENTED.match(self._source, at)
        letter = (found.group(1) or found.group(2) or "") if found else ""
        letter = {"\\i": "i", "\\j": "j"}.get(letter.strip(), letter)
        self._out.append(unicodedata.normalize("NFC", letter + _ACCENTS[accent]) if letter else "")
        return found.end() if found else at

    def _math(self, opener: str, closer: str, start: int, at: int) -> int:
        while (end := self._behind(closer, at)) is not None:
            if closer != "$" or self._source[end - 2] != "\\":
                formula = self._source[start:end]
                if "\n\n" in formula and closer == "$":
                    break  # no formula: TeX ends a paragraph there
                self._out.append(_formula(formula))
                return end
            at = end
        self._out.append(opener)
        return at


def _formula(source: str) -> str:
    """A formula without labels and comments; its lines are kept apart from the paragraphs'."""
    return _LABEL.sub("", source).strip().replace("\n", "\v" if len(source) > 200 else " ")


def _groups(source: str) -> dict[int, int]:
    """Where each `{` that has an end is closed."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for found in re.finditer(r"\\.|%[^\n]*|[{}]", source, re.DOTALL):
        mark = found.group()
        if mark == "{":
            opened.append(found.start())
        elif mark == "}" and opened:
            ends[opened.pop()] = found.start()
    return ends


def _is_blank_line(source: str, comment: re.Match[str]) -> bool:
    """Whether a comment stood alone before an empty line, which ends a paragraph."""
    return source[comment.end() : comment.end() + 1] == "\n"


def _paragraphs(text: str) -> str:
    """Lines joined to paragraphs, which stand apart by empty lines."""
    text = re.sub(r"[ \t]*\n[ \t]*", "\n", _EMPTY.sub("", text))
    paragraphs = (re.sub(r"[ \t\n]+", " ", part).strip() for part in re.split(r"\n{2,}", text))
    joined = "\n\n".join(part for part in paragraphs if part.strip("- \v\f"))
    return joined.translate(_LET_GO)
