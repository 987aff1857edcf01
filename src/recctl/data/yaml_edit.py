"""Change values in a YAML text and leave every other character as it was.

A dump of the whole document, even a round-trip one, moves comments when a value before them goes
and rewrites quotes and spaces. Here ruamel.yaml says where each value lies, and only those
characters are replaced.
"""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node

from recctl.config import yaml_value
from recctl.errors import UserError

Path = tuple[str, ...]


def get(text: str, path: Path) -> Any:
    """The value at `path`; KeyError when there is none."""
    value = yaml_value(text, "params.yaml")
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

    Values are scalars or lists of them. Raises UserError when something other than a mapping lies
    on the way.

    >>> print(put("a:\\n  b: 1  # one\\nc: 2\\n", ("a", "b"), 3), end="")
    a:
      b: 3  # one
    c: 2
    """
    if has(text, path) and get(text, path) == value:
        return text
    changed = _put(text, path, value)
    assert get(changed, path) == value, f"edit of {path} went wrong"
    return changed


def _put(text: str, path: Path, value: Any) -> str:
    root = YAML(typ="rt", pure=True).compose(text)
    if root is None:
        return _with_newline(text) + _block(path, value, indent=0)
    node = _mapping(root, path, 0)
    for depth, key in enumerate(path):
        pair = _pair(node, key)
        if pair is None:
            return _append(text, node, _block(path[depth:], value, node.start_mark.column))
        name, child = pair
        if depth == len(path) - 1:
            return _replace(text, int(name.end_mark.index), child, value)
        if _is_null(child):
            block = _block(path[depth + 1 :], value, node.start_mark.column + 2)
            return _insert_after_line(text, child.end_mark.index, block)
        node = _mapping(child, path, depth + 1)
    raise AssertionError("an empty path names nothing")


def _mapping(node: Node, path: Path, depth: int) -> MappingNode:
    if isinstance(node, MappingNode):
        return node
    where = ".".join(path[:depth]) or "the document"
    raise UserError(f"params.yaml: '{where}' holds no settings", "write it as 'key: value' lines")


def _pair(node: MappingNode, key: str) -> tuple[Node, Node] | None:
    return next(((name, value) for name, value in node.value if name.value == key), None)


def _is_null(node: Node) -> bool:
    return str(node.tag) == "tag:yaml.org,2002:null"


def _in_block(node: Node) -> bool:
    return isinstance(node.value, list) and bool(node.value) and not getattr(node, "flow_style", 0)


def _end(node: Node) -> int:
    """Where the node's last character lies; a block's own mark is only where the next token is."""
    if not _in_block(node):
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _replace(text: str, name_end: int, node: Node, value: Any) -> str:
    """The new value in place of `node`, whose key ends at `name_end`."""
    if node.start_mark.index == node.end_mark.index:  # nothing is written there
        colon = text.index(":", name_end) + 1
        return f"{text[:colon]} {_scalar(value)}{text[colon:]}"
    if _in_block(node):  # it begins on a line of its own; a comment may follow the key
        colon = text.index(":", name_end) + 1
        comment = text[colon : text.index("\n", colon)]
        return f"{text[:colon]} {_scalar(value)}{comment}{text[_end(node) :]}"
    return text[: node.start_mark.index] + _scalar(value) + text[_end(node) :]


def _append(text: str, node: MappingNode, block: str) -> str:
    if node.flow_style:
        comma = ", " if node.value else ""
        inner = " ".join(block.split())
        end = int(node.end_mark.index) - 1
        return text[:end].rstrip() + comma + inner + text[end:]
    return _insert_after_line(text, _end(node), block)


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
