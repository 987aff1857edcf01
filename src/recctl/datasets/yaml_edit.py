"""Changes values in a YAML text and leaves every other character as it was.

Dumping the whole document, even by a round trip, moves comments when a value before them goes
and rewrites quotes and spaces. Here the parser gives the position of each value, and only its
characters are replaced. The changed text is parsed and compared with the expected settings: where
they differ, because of an anchor, an alias or a form not handled here, the edit is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from recctl.config import yaml_value
from recctl.errors import UserError

Path = tuple[str, ...]
_FILE = "params.yaml"


def get(text: str, path: Path) -> Any:
    """The value at `path`; KeyError when there is none."""
    value = yaml_value(text, _FILE)
    for key in path:
        if not isinstance(value, dict) or key not in value:
            raise KeyError(".".join(path))
        value = value[key]
    return value


def has(text: str, path: Path) -> bool:
    """Whether there is a value at `path`."""
    try:
        get(text, path)
    except KeyError:
        return False
    return True


def put(text: str, path: Path, value: Any) -> str:
    """The text with `value` at `path`; missing keys are added at the end of their mapping.

    Values are scalars or lists of them. A byte order mark and the kind of line ends stay. Raises
    UserError, which names the line, where the edit would change anything else or where a value on
    the path is not a mapping.

    >>> print(put("a:\\n  b: 1  # one\\nc: 2\\n", ("a", "b"), 3), end="")
    a:
      b: 3  # one
    c: 2
    """
    if has(text, path) and repr(get(text, path)) == repr(value):
        return text
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    plain = text.removeprefix(mark)
    windows = "\r\n" in plain and not re.search("(?<!\r)\n", plain)
    changed, line = _put(plain.replace("\r\n", "\n") if windows else plain, path, value)
    changed = mark + (changed.replace("\n", "\r\n") if windows else changed)
    if not _says(changed, _expected(yaml_value(text, _FILE), path, value)):
        raise UserError(
            f"{_FILE}, line {line}: '{'.'.join(path)}' cannot be changed without changing more",
            f"write it as a plain 'key: value' line, without anchors and aliases, or set it to "
            f"{_scalar(value)} yourself",
        )
    return changed


def _expected(settings: Any, path: Path, value: Any) -> Any:
    """A copy of the settings with the value at the path."""
    if not path:
        return value
    own = dict(settings) if isinstance(settings, dict) else {}
    return own | {path[0]: _expected(own.get(path[0]), path[1:], value)}


def _says(text: str, expected: Any) -> bool:
    try:
        return _unordered(yaml_value(text, _FILE)) == _unordered(expected)
    except UserError:
        return False


def _unordered(value: Any) -> str:
    """A value as text that distinguishes 1, 1.0 and true and ignores the order of keys."""
    if isinstance(value, dict):
        return f"{{{sorted(f'{key!r}: {_unordered(part)}' for key, part in value.items())}}}"
    if isinstance(value, list):
        return f"[{[_unordered(part) for part in value]}]"
    return repr(value)


@dataclass
class _Node:
    """A value and its position in the text; an alias is not resolved."""

    event: Any
    end: int
    """The end of its last character; the end mark of a block is only at the next token."""
    pairs: list[tuple["_Node", "_Node"]] = field(default_factory=list)

    @property
    def start(self) -> int:
        return int(self.event.start_mark.index)

    @property
    def line(self) -> int:
        return int(self.event.start_mark.line) + 1

    @property
    def indent(self) -> int:
        return int(self.event.start_mark.column)

    @property
    def flow(self) -> bool:
        return bool(getattr(self.event, "flow_style", False))

    @property
    def folded(self) -> bool:
        """Whether it is a block scalar, after `|` or `>`."""
        return getattr(self.event, "style", None) in ("|", ">")

    @property
    def block(self) -> bool:
        """Whether it begins on a line below its key."""
        return not isinstance(self.event, ScalarEvent | AliasEvent) and not self.flow

    @property
    def null(self) -> bool:
        plain = isinstance(self.event, ScalarEvent) and self.event.style in (None, "")
        return plain and self.event.value in ("", "~", "null", "Null", "NULL")


def _root(text: str) -> _Node | None:
    events = iter(YAML(typ="safe").parse(text))
    first = next((event for event in events if isinstance(event, NodeEvent)), None)
    return None if first is None else _node(text, first, events)


def _node(text: str, event: NodeEvent, events: Iterator[Any]) -> _Node:
    if isinstance(event, ScalarEvent | AliasEvent):
        end = int(event.end_mark.index)
        node = _Node(event, end)
        if node.folded:  # its end mark is after the blank lines that follow
            node.end = len(text[:end].rstrip())
        return node
    children = []
    for inner in events:
        if isinstance(inner, CollectionEndEvent):
            break
        children.append(_node(text, inner, events))
    node = _Node(event, int(inner.end_mark.index))
    if node.block and children:
        node.end = children[-1].end
    if isinstance(event, MappingStartEvent):
        node.pairs = list(zip(children[::2], children[1::2], strict=True))
    return node


def _put(text: str, path: Path, value: Any) -> tuple[str, int]:
    """The changed text, and the number of the changed line."""
    node = _root(text)
    if node is None or node.null:
        return _with_newline(text) + _block(path, value, indent=0), 1
    for depth, key in enumerate(path):
        if not isinstance(node.event, MappingStartEvent):
            where = ".".join(path[:depth]) or "the document"
            what = "is an alias" if isinstance(node.event, AliasEvent) else "holds no settings"
            raise UserError(
                f"{_FILE}, line {node.line}: '{where}' {what}", "write it as 'key: value' lines"
            )
        pair = next((pair for pair in node.pairs if _is_key(pair[0], key)), None)
        if pair is None:
            return _append(text, node, _block(path[depth:], value, node.indent)), node.line
        name, child = pair
        if depth == len(path) - 1:
            return _replace(text, name.end, child, value), name.line
        if child.null and not node.flow:
            block = _block(path[depth + 1 :], value, node.indent + 2)
            return _insert_after_line(text, child.end, block), name.line
        node = child
    raise AssertionError("the path is empty")


def _is_key(node: _Node, key: str) -> bool:
    return isinstance(node.event, ScalarEvent) and node.event.value == key


def _replace(text: str, name_end: int, node: _Node, value: Any) -> str:
    """The new value in place of `node`, whose key ends at `name_end`."""
    if node.start == node.end:  # the value is empty
        colon = text.index(":", name_end) + 1
        return f"{text[:colon]} {_scalar(value)}{text[colon:]}"
    if node.block:  # a comment may follow the key
        colon = text.index(":", name_end) + 1
        comment = text[colon : text.index("\n", colon)]
        return f"{text[:colon]} {_scalar(value)}{comment}{text[node.end :]}"
    header = text[node.start : node.end].partition("\n")[0]
    kept = (
        re.search(r"\s+#.*", header) if getattr(node.event, "style", None) in ("|", ">") else None
    )
    comment = kept[0] if kept else ""
    return text[: node.start] + _scalar(value) + comment + text[node.end :]


def _append(text: str, node: _Node, block: str) -> str:
    if node.flow:
        comma = ", " if node.pairs else ""
        end = node.end - 1
        return text[:end].rstrip().removesuffix(",") + comma + _in_braces(block) + text[end:]
    return _insert_after_line(text, node.end, block)


def _in_braces(block: str) -> str:
    """`a:`, `  b: 1` as `a: {b: 1}`."""
    *outer, last = [line.strip() for line in block.splitlines()]
    return "".join(f"{key} {{" for key in outer) + last + "}" * len(outer)


def _insert_after_line(text: str, index: int, block: str) -> str:
    end = text.find("\n", index)
    if end < 0:
        return _with_newline(text) + block
    return text[: end + 1] + block + text[end + 1 :]


def _with_newline(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _block(path: Path, value: Any, indent: int) -> str:
    lines = [f"{' ' * (indent + 2 * depth)}{key}:" for depth, key in enumerate(path)]
    return "\n".join(lines) + f" {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    """The value on one line. Plain words need no quotes."""
    if isinstance(value, list):
        return "[" + ", ".join(_scalar(part) for part in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    return repr(value)


def _is_plain(value: str) -> bool:
    safe = value.isascii() and all(char.isalnum() or char in "_-./" for char in value)
    return safe and value[:1].isalpha() and value.lower() not in _WORDS


_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def _quoted(value: str) -> str:
    return '"' + "".join(_escaped(char) for char in value) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08x}"
