"""Checks of the YAML files in a directory of the user's own (`--config-dir`).

Hydra would read them without a limit and report a mistake without the name of the file. A file may
come from others, so its tags and aliases are not trusted.
"""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import ConfigError
from pipeline.core.paths import CONF

# A file of settings is a few kilobytes; a long list of classes makes it some more.
MAX_BYTES = 256 << 10
# Brackets in brackets, and blocks in blocks.
MAX_DEPTH = 50
# An alias (`*name`) stands for all that its anchor holds. Aliases of aliases can stand for billions
# of values in a few lines.
MAX_VALUES = 100_000
# The parser in C takes no longer for what is nested. Not every installation has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_PLAIN = {"null", "bool", "int", "float", "str", "seq", "map", "timestamp", "merge", "value"}


def require_readable_files(own: Path) -> None:
    """Check all YAML files in the folders of a directory that are called as those of `conf/`.

    Raises:
        ConfigError: a file is no mapping in YAML, has a tag, refers to itself or to too much, or
            has the name of a file in `conf/`. The message names the file.
    """
    for path in _yaml_files(own):
        shipped = CONF / path.relative_to(own)
        # Hydra would read the file in `conf/` without a word.
        if shipped.exists() and shipped.resolve() != path.resolve():
            raise ConfigError(
                f"{path}: conf/ has a {path.parent.name}/{path.name}, too; give it another name"
            )
        try:
            _check(path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None


def _yaml_files(own: Path) -> Iterator[Path]:
    """Yield the files that Hydra may read. Other folders may hold anything, and as much."""
    for folder in sorted(CONF.iterdir()):
        if folder.is_dir():
            yield from sorted((own / folder.name).rglob("*.yaml"))


def _check(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: not a file")
    # The size of a device or of a pipe would say nothing, but these are no files.
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES >> 10} KiB")
    root = _root(path.read_bytes(), str(path))
    if root is not None:
        _require_known_defaults(root, path)


def plain_mapping(content: bytes, name: str) -> dict[str, Any]:
    """Return the values of YAML that others wrote.

    Args:
        content: the YAML.
        name: what it is, for messages.

    Raises:
        ConfigError: it is too large, or no mapping, or it has a tag, or refers to itself or to too
            much.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{name}: larger than {MAX_BYTES >> 10} KiB")
    if _root(content, name) is None:
        raise ConfigError(f"{name}: is empty")
    try:
        values = yaml.safe_load(content)
    except ValueError:
        # A date that is none, or a number of too many digits.
        values = None
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: not valid YAML")
    return values


def _root(content: bytes, name: str) -> yaml.MappingNode | None:
    """Return the checked content of a YAML file, None if it is empty."""
    try:
        text = content.decode("utf-8-sig")
        if _depth(text) > MAX_DEPTH:
            raise ConfigError(f"{name}: values in values, more than {MAX_DEPTH} deep")
        root = yaml.compose(text, Loader=_LOADER)
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: not UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML ({_where(error)})") from None
    if root is None:
        return None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{name}: must hold keys with values (key: value)")
    if _values(root, name, {}) > MAX_VALUES:
        raise ConfigError(f"{name}: its aliases stand for more than {MAX_VALUES:,} values")
    return root


def _require_known_defaults(root: yaml.MappingNode, path: Path) -> None:
    """Check that the defaults of a file name only files that are checked, too.

    Args:
        root: the content of the file.
        path: of the file, for messages.

    Raises:
        ConfigError: an entry leads out of the folders that are called as those of `conf/`.
    """
    defaults: list[yaml.Node] = []
    for key, value in root.value:
        if key.value == "defaults" and isinstance(value, yaml.SequenceNode):
            defaults += value.value
    for entry in defaults:
        # `/skeleton@skeleton: mine` and `override /data: mine` are pairs, `/data/mine` is a text.
        texts = [entry]
        if isinstance(entry, yaml.MappingNode):
            texts = list(chain.from_iterable(entry.value))
        for text in texts:
            words = str(text.value).split()
            if words and not _is_known(words[-1]):
                raise ConfigError(
                    f"{path}: line {text.start_mark.line + 1} has {words[-1]} among its defaults; "
                    "they may only name files in the folders that conf/ has, too"
                )


def _is_known(name: str) -> bool:
    """True if a name in a defaults list stays in the folders that are checked."""
    parts = re.split("[/@]", name)
    if ".." in parts:
        return False
    # A relative name lies in the folder of its file.
    return not name.startswith("/") or (CONF / parts[1]).is_dir()


def _depth(text: str) -> int:
    """Return how deep values lie in values. It stops early where this is too deep."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            return depth
    return 0


def _where(error: Exception) -> str:
    """Return what is wrong in a YAML file, and in which line."""
    problem = getattr(error, "problem", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark is not None else ""
    return " ".join(problem.split())[:200] + line


def _values(node: yaml.Node, name: str, known: dict[int, int | None]) -> int:
    """Return for how many values a node stands, and check its tags.

    Args:
        node: of the file.
        name: of the file, for messages.
        known: the id of a node -> its values, None while they are counted. Nodes that several
            aliases refer to are counted once.
    """
    if id(node) in known:
        number = known[id(node)]
        if number is None:
            raise ConfigError(f"{name}: line {node.start_mark.line + 1} refers to itself")
        return number
    known[id(node)] = None
    if node.tag.removeprefix(_TAG) not in _PLAIN:
        raise ConfigError(
            f"{name}: line {node.start_mark.line + 1} has the tag {node.tag}; "
            "tags are not read, write plain values"
        )
    number = 1
    if isinstance(node, yaml.CollectionNode):
        for child in node.value:
            # The children of a mapping are pairs of a key and a value.
            parts = child if isinstance(child, tuple) else (child,)
            number += sum(_values(part, name, known) for part in parts)
    known[id(node)] = number
    return number
