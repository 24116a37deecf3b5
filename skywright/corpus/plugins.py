"""Signals and rules of a user: a function named `module:function`, versioned by its source.

The module is a file beside the recipe (`module.py`) or in an installed package. A file's text
travels with the recipe, so that a worker on any machine runs what was read, and so that a changed
file is another version.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import types
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from skywright.config import Config
from skywright.errors import UserError


class Plugin(Config):
    """A function: `ref` is `module:function`, `source` the text of a file beside the recipe (None:
    an installed module), `sha256` that of the module's text.
    """

    ref: str
    source: str | None = None
    sha256: str


def find(ref: str, folder: Path, where: str) -> Plugin:
    """The function `ref`, from `folder` or from an installed package.

    Raises UserError, naming `where` in the recipe, when there is no such module or function.
    """
    module, _, function = ref.partition(":")
    if not module or not function.isidentifier():
        raise UserError(
            f"{where}: {ref!r} is no `module:function`; write for example my_rules:shouts"
        )
    path = folder / f"{module.replace('.', '/')}.py"
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        plugin = Plugin(ref=ref, source=text, sha256=_digest(text))
    else:
        try:
            text = inspect.getsource(importlib.import_module(module))
        except (ImportError, OSError, TypeError) as error:
            raise UserError(
                f"{where}: no module {module!r} in {folder} or installed ({error}); "
                f"put {path.name} beside the recipe"
            ) from None
        plugin = Plugin(ref=ref, sha256=_digest(text))
    load(plugin, where)
    return plugin


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=64)
def _module(name: str, source: str) -> types.ModuleType:
    module = types.ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


def load(plugin: Plugin, where: str) -> Callable[..., Any]:
    """The function itself. Raises UserError when its module fails or has no such function."""
    name, _, function = plugin.ref.partition(":")
    try:
        if plugin.source is None:
            module = importlib.import_module(name)
            if _digest(inspect.getsource(module)) != plugin.sha256:
                raise UserError(f"{where}: the module {name!r} differs between processes")
        else:
            module = _module(name, plugin.source)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: {name}.py fails: {type(error).__name__}: {error}") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise UserError(f"{where}: {name} has no function {function!r}; check the name")
    return found
