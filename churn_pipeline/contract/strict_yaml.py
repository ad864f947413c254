"""YAML as people should write it: a key that comes twice is an error instead of silently replacing the first.

Belongs here: reading text, for contract files and job files alike. Does not: what the keys mean.
"""

from collections.abc import Hashable
from typing import Any

import yaml


class KeyTwice(yaml.MarkedYAMLError):
    """A mapping names a key twice.

    Attributes:
        key: the key.
        line: of the second time, from 1.
    """

    def __init__(self, node: yaml.Node) -> None:
        super().__init__(problem=f"{node.value!r} comes twice", problem_mark=node.start_mark)
        self.key, self.line = str(node.value), node.start_mark.line + 1


def load(text: str) -> Any:
    """Plain values of a YAML text.

    Raises:
        yaml.YAMLError: it is none, or a key comes twice (`KeyTwice`).
    """
    return yaml.load(text, _OneOfEach)


class _OneOfEach(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise KeyTwice(key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
