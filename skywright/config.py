"""Strict YAML to typed, frozen objects: extends, overrides, units, errors that name the place.

A recipe is YAML read into pydantic models with `extra="forbid"`. Three things are added to plain
YAML: `extends: FILE` (mappings merge, everything else is replaced), `a.b=c` overrides, and
quantities with units (`2T`, `100M tokens`, `16 MiB`, `90 s`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from skywright.errors import UserError


class Config(BaseModel):
    """Base of every configuration object: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---------------------------------------------------------------- quantities

_SCALES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_BYTE_SCALES = {
    "": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_TIME_SCALES = {"": 1.0, "s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*$")


def _quantity(value: Any, scales: dict[str, Any], kind: str, example: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected {kind}, such as {example!r}")
    if isinstance(value, int | float):
        return value
    match = _NUMBER.match(value)
    if not match or match.group(2) not in scales:
        raise ValueError(f"{value!r} is not {kind}; write it like {example!r}")
    number = match.group(1).replace("_", "")
    return (float(number) if re.search(r"[.eE]", number) else int(number)) * scales[match.group(2)]


def _whole(value: float, kind: str) -> int:
    if value != int(value):
        raise ValueError(f"{kind} must be a whole number, got {value!r}")
    return int(value)


def _parse_tokens(value: Any) -> int:
    if isinstance(value, str):
        value = re.sub(r"\s*tokens?\s*$", "", value)
    return _whole(_quantity(value, _SCALES, "a number of tokens", "100M tokens"), "tokens")


def _parse_bytes(value: Any) -> int:
    return _whole(_quantity(value, _BYTE_SCALES, "a size in bytes", "16 MiB"), "bytes")


def _parse_seconds(value: Any) -> float:
    return float(_quantity(value, _TIME_SCALES, "a time", "90 s"))


TokenCount = Annotated[int, BeforeValidator(_parse_tokens)]
"""An int from `2000000`, `2M`, `2M tokens` or `3.2T`."""
ByteSize = Annotated[int, BeforeValidator(_parse_bytes)]
"""An int from `1000`, `16 MiB` or `2 GB`."""
Duration = Annotated[float, BeforeValidator(_parse_seconds)]
"""Seconds as float from `90`, `90 s`, `5 min` or `2 h`."""


# ---------------------------------------------------------------- YAML with places


@dataclass(frozen=True)
class Place:
    """Where a value stands: file and line (1-based), or an override on the command line."""

    file: str
    line: int | None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


Path_ = tuple[str | int, ...]
Places = dict[Path_, Place]


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars: `6e-4` is a float, `on`, `off`, `yes`, `no` are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":bool")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)

_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _construct(node: yaml.Node, loader: _Loader, file: str, path: Path_, places: Places) -> Any:
    places[path] = Place(file, node.start_mark.line + 1)
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        raise UserError(f"{places[path]}: not valid YAML: the tag {node.tag!r} is not allowed")
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise UserError(f"{file}:{line}: the key {key!r} must be text; put it in quotes")
            if key in result:
                raise UserError(f"{file}:{line}: the key {key!r} stands twice; remove one")
            result[key] = _construct(value_node, loader, file, (*path, key), places)
            places[(*path, key)] = Place(file, line)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(child, loader, file, (*path, index), places)
            for index, child in enumerate(node.value)
        ]
    return loader.construct_object(node)


def _read_yaml(path: Path) -> tuple[dict[str, Any], Places]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    places: Places = {}
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        value = {} if node is None else _construct(node, loader, str(path), (), places)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    finally:
        loader.dispose()
    if not isinstance(value, dict):
        raise UserError(f"{path}: a recipe must be a mapping of keys to values")
    return value, places


def _merge(
    base: dict[str, Any], places: Places, top: dict[str, Any], top_places: Places, path: Path_
) -> None:
    """Lay `top` over `base` in place: mappings merge key by key, other values are replaced."""
    for key, value in top.items():
        here = (*path, key)
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], places, value, top_places, here)
        else:
            base[key] = value
            for old in [p for p in places if p[: len(here)] == here]:
                del places[old]
            places.update({p: at for p, at in top_places.items() if p[: len(here)] == here})


def read(path: Path, _seen: tuple[Path, ...] = ()) -> tuple[dict[str, Any], Places]:
    """Read a YAML file and all that it extends; return the merged mapping and its places."""
    path = Path(path)
    if path.resolve() in _seen:
        chain = " -> ".join(str(p) for p in (*_seen, path.resolve()))
        raise UserError(f"{path}: 'extends' goes in a circle: {chain}")
    value, places = _read_yaml(path)
    parents = value.pop("extends", [])
    if isinstance(parents, str):
        parents = [parents]
    if not isinstance(parents, list) or not all(isinstance(p, str) for p in parents):
        raise UserError(f"{places[('extends',)]}: 'extends' takes a file name or a list of them")
    merged: dict[str, Any] = {}
    merged_places: Places = {}
    for parent in parents:
        parent_path = path.parent / parent
        if not parent_path.is_file():
            raise UserError(
                f"{places[('extends',)]}: extends {parent!r}, but {parent_path} is no file"
            )
        base, base_places = read(parent_path, (*_seen, path.resolve()))
        _merge(merged, merged_places, base, base_places, ())
    _merge(merged, merged_places, value, places, ())
    return merged, merged_places


def _override(values: dict[str, Any], places: Places, text: str) -> None:
    dotted, separator, raw = text.partition("=")
    keys = dotted.split(".")
    if not separator or not all(keys):
        raise UserError(f"override {text!r}: write it as key.key=value")
    try:
        value = yaml.load(raw, Loader=_Loader)
    except yaml.YAMLError:
        raise UserError(f"override {text!r}: {raw!r} is not a YAML value") from None
    at: Any = values
    path: Path_ = ()
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(at, list):
            index = (
                int(key)
                if key.isdigit()
                else next(
                    (i for i, v in enumerate(at) if isinstance(v, dict) and v.get("name") == key),
                    -1,
                )
            )
            if not 0 <= index < len(at):
                raise UserError(f"override {text!r}: the list has no item {key!r}")
            path = (*path, index)
            if last:
                at[index] = value
            at = at[index]
        elif isinstance(at, dict):
            path = (*path, key)
            at = at.setdefault(key, {}) if not last else at
            if last:
                at[key] = value
        else:
            raise UserError(f"override {text!r}: {'.'.join(keys[:depth])!r} has no keys inside")
    for old in [p for p in places if p[: len(path)] == path]:
        del places[old]
    for length in range(1, len(path) + 1):
        places.setdefault(path[:length], Place(f"override {text!r}", None))


# ---------------------------------------------------------------- validation


def suggest(name: str, known: Iterable[str], what: str) -> str:
    """The end of a message about an unknown `name`: the nearest known one, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"{what} are {', '.join(known)}"


def _fields_at(model: type[BaseModel], path: Path_) -> list[str]:
    """Names of the fields a mapping at `path` may have (over all models a union allows)."""
    found: list[Any] = [model]
    for key in path:
        following: list[Any] = []
        for kind in found:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                if isinstance(key, str) and key in kind.model_fields:
                    following.append(kind.model_fields[key].annotation)
            else:
                following += get_args(kind)
        found = []
        while following:
            kind = following.pop()
            inner = get_args(kind)
            is_container = getattr(kind, "__origin__", None) in (list, tuple, dict)
            if inner and not is_container:
                following += inner
            else:
                found.append(kind)
    return sorted(
        {
            name
            for kind in found
            if isinstance(kind, type) and issubclass(kind, BaseModel)
            for name in [field.alias or key for key, field in kind.model_fields.items()]
        }
    )


def _place_of(places: Places, path: Path_, default: str) -> str:
    for length in range(len(path), -1, -1):
        if path[:length] in places:
            return str(places[path[:length]])
    return default


def _describe(error: ValidationError, model: type[BaseModel], places: Places, file: str) -> str:
    lines = []
    items = error.errors()
    if any(item["type"] != "too_short" for item in items):
        # A list whose only item is wrong counts as empty: its length is not what is to be mended.
        items = [item for item in items if item["type"] != "too_short"]
    for item in items:
        # Pydantic inserts the names of union members into the path; keep only what the file has.
        path: Path_ = ()
        for key in item["loc"]:
            if (*path, key) in places or key == item["loc"][-1]:
                path = (*path, key)
        where = _place_of(places, path, file)
        dotted = ".".join(str(key) for key in path)
        if item["type"] == "extra_forbidden":
            known = _fields_at(model, path[:-1])
            near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            message = f"{where}: unknown key {dotted!r}; {hint}"
        elif item["type"] == "missing":
            message = f"{where}: the key {dotted!r} is missing; add it"
        else:
            text = item["msg"].removeprefix("Value error, ")
            # A whole part of the recipe would bury the message.
            got = "" if isinstance(item["input"], dict | list) else f" (got {item['input']!r})"
            message = f"{where}: {dotted}: {text}{got}"
        if message not in lines:
            lines.append(message)
    return "\n".join(lines)


ConfigT = TypeVar("ConfigT", bound=BaseModel)


def load(path: Path, model: type[ConfigT], overrides: Sequence[str] = ()) -> ConfigT:
    """Read the recipe at `path` into `model`.

    `overrides` are `a.b=c` strings, `c` being YAML; a list item is named by its index or its
    `name` field. Raises `UserError` with one line a problem, each naming file and line.
    """
    values, places = read(Path(path))
    for text in overrides:
        _override(values, places, text)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(_describe(error, model, places, str(path))) from None
    except UserError as error:  # a validator's own, which knows the key but not the file
        raise UserError(f"{path}: {error}") from None
