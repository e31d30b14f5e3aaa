"""YAML as profiles use it: numbers as in YAML 1.2, no repeated keys, limits on size."""

from __future__ import annotations

import re
from typing import Any

import yaml

from leakrepro.types import unpaired_surrogate

_DEEPEST = 32  # nested mappings and lists
_LARGEST = 10_000  # values, with aliases written out


def parse_yaml(text: str) -> Any:
    """Parse YAML. ``1e-5`` is a number, as in YAML 1.2, and dates are strings.

    Args:
        text: YAML text.

    Returns:
        The parsed value.

    Raises:
        yaml.YAMLError: for text that is not YAML, a key that occurs twice in a mapping, an alias to
            a value that contains it, more than 10,000 values (aliases written out) or 32 nested
            ones, or text that is not Unicode.
    """
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where a float needs a dot and 1e-5 is a string."""

    depth = 0

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _measure(node, {})
        return node

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.depth >= _DEEPEST:
            raise _error(f"more than {_DEEPEST} nested values", event)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        found = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key must be one value", key)
            if (key.tag, key.value) in found:
                raise _error(f"the key {key.value!r} occurs twice", key)
            found.add((key.tag, key.value))
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise _error(f"{node.value!r:.40} is not a value of type {node.tag}", node) from error
        if isinstance(value, str) and (found := unpaired_surrogate(value)):
            raise _error(f"unpaired surrogate {found}", node)
        return value


def _measure(node: Any, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of values and levels of a node with its aliases written out.

    A few lines of aliases of aliases can describe billions of values, or a value within itself.
    """
    if id(node) in known:
        measured = known[id(node)]
        if measured is None:
            raise _error("an alias to a value that contains it", node)
        return measured
    known[id(node)] = None
    size, depth = 1, 1
    children = node.value if isinstance(node, yaml.CollectionNode) else ()
    for child in children:
        for part in child if isinstance(child, tuple) else (child,):
            more, below = _measure(part, known)
            size, depth = size + more, max(depth, below + 1)
    if size > _LARGEST or depth > _DEEPEST:
        raise _error(
            f"with its aliases more than {_LARGEST:,} values or {_DEEPEST} nested ones", node
        )
    known[id(node)] = size, depth
    return size, depth


def _error(problem: str, place: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, place.start_mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: str(node.value))
