"""Programming languages by file name, and how each writes a comment.

The list is RedPajama v1's (data_prep/github), with the data formats that it leaves out and this
corpus keeps at a chosen share.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple


class Language(NamedTuple):
    """`line` opens a comment to the end of its line; `block` opens and closes a longer one."""

    name: str
    line: tuple[str, ...] = ()
    block: tuple[tuple[str, str], ...] = ()


_C = (("/*", "*/"),)
_XML = (("<!--", "-->"),)

_ROWS: tuple[tuple[str, str, tuple[str, ...], tuple[tuple[str, str], ...]], ...] = (
    ("assembly", ".asm", (";", "//", "#"), _C),
    ("batch", ".bat .cmd", ("::", "REM ", "rem "), ()),
    ("c", ".c .h", ("//",), _C),
    ("csharp", ".cs", ("//",), _C),
    ("cpp", ".cpp .hpp .c++ .h++ .cc .hh .C .H .cxx .hxx", ("//",), _C),
    ("cmake", ".cmake CMakeLists.txt", ("#",), ()),
    ("css", ".css", (), _C),
    ("dockerfile", ".dockerfile Dockerfile", ("#",), ()),
    ("fortran", ".f90 .f .f03 .f08 .f77 .f95 .for .fpp", ("!", "C ", "c ", "*"), ()),
    ("go", ".go", ("//",), _C),
    ("haskell", ".hs", ("--",), (("{-", "-}"),)),
    ("html", ".html .htm", (), _XML),
    ("java", ".java", ("//",), _C),
    ("javascript", ".js .mjs .jsx", ("//",), _C),
    ("json", ".json .jsonl .ipynb", (), ()),
    ("julia", ".jl", ("#",), (("#=", "=#"),)),
    ("kotlin", ".kt", ("//",), _C),
    ("lua", ".lua", ("--",), (("--[[", "]]"),)),
    ("makefile", "Makefile .mk", ("#",), ()),
    ("markdown", ".md .markdown", (), _XML),
    ("perl", ".pl .pm .pod .perl", ("#",), ()),
    ("php", ".php .php3 .php4 .php5 .phps .phpt", ("//", "#"), _C),
    ("powershell", ".ps1 .psd1 .psm1", ("#",), (("<#", "#>"),)),
    ("python", ".py .pyi", ("#",), ()),
    ("restructuredtext", ".rst", ("..",), ()),
    ("ruby", ".rb", ("#",), (("=begin", "=end"),)),
    ("rust", ".rs", ("//",), _C),
    ("scala", ".scala", ("//",), _C),
    ("shell", ".sh .bash .command .zsh", ("#",), ()),
    ("smali", ".smali", ("#",), ()),
    ("sql", ".sql", ("--",), _C),
    ("swift", ".swift", ("//",), _C),
    ("tex", ".tex", ("%",), ()),
    ("typescript", ".ts .tsx", ("//",), _C),
    ("visual_basic", ".vb", ("'",), ()),
    ("xml", ".xml .xsd .xsl", (), _XML),
    ("yaml", ".yaml .yml", ("#",), ()),
)

_BY_ENDING = {
    ending: Language(name, line, block)
    for name, endings, line, block in _ROWS
    for ending in endings.split()
}

LANGUAGES = tuple(row[0] for row in _ROWS)
DATA_FORMATS = ("json", "xml", "yaml", "html")


def language_of(path: str | None) -> Language | None:
    """The language that a file's name tells; None for names that are not in the list.

    `.C` and `.H` are C++, `.c` and `.h` C; other endings are read in any case.
    """
    name = PurePosixPath(path or "").name
    ending = PurePosixPath(name).suffix
    for key in (name, ending, ending.lower()):
        if key in _BY_ENDING:
            return _BY_ENDING[key]
    return None
