"""The YAML of a config: text → plain values, bounded.

Read is what configs are written with: mappings, lists, texts, whole numbers, fractions, yes and no,
null, and aliases. What makes a small text a large document, or takes the library out of its
depth, is refused: tags, numbers to the base 60, times, thousands of values behind aliases.
"""

import re
from typing import Any, Final

import yaml
from yaml.composer import ComposerError
from yaml.scanner import ScannerError

LONGEST: Final = 64 << 10
_DEEPEST: Final = 16
_MOST_VALUES: Final = 10_000
# That a text is one may be said; what else a tag says, the type of a key says already.
_TAGS: Final = frozenset({None, "!", "tag:yaml.org,2002:str"})
# What PyYAML quotes from the text, with all that follows: names and characters. Punctuation, tabs
# and its own words for parts of a document tell what is wrong and no more.
_QUOTED: Final = re.compile(
    r"""(?:, but (?:found|got))?(?:^| )(?!'(?:\W|\\t|<[a-z ]+>)')['"].*""", re.DOTALL
)
_PROBLEMS: Final = (yaml.YAMLError, RecursionError, ValueError)


class ConfigTextError(Exception):
    """The text cannot be read; the message says where and why, but not what is written there."""


def read_yaml(text: str) -> Any:  # noqa: ANN401  a document may be anything
    """Return the document in a YAML text; ConfigTextError if it is none, or too large a one."""
    if len(text) > LONGEST:
        raise ConfigTextError(f"is longer than {LONGEST >> 10} KiB")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  made from SafeLoader
    except _PROBLEMS as error:
        raise ConfigTextError(f"is not valid YAML{_where(error)}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with less in it."""

    # Empty, so that those of SafeLoader are not inherited; filled below.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def fetch_flow_collection_start(self, token: type) -> None:
        """Begin a `[` or `{`; refused here, for the scanner runs far ahead of what is composed."""
        if self.flow_level == _DEEPEST:
            raise ScannerError(None, None, "it is nested too deep", self.get_mark())
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node; tags and what is nested too deep are refused."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # not in the stubs
        if getattr(event, "tag", None) not in _TAGS:
            raise ComposerError(None, None, "tags are not used here", event.start_mark)
        if self._depth == _DEEPEST:
            raise ComposerError(None, None, "it is nested too deep", event.start_mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401  stubs err
        """Return the next mapping; a key that is in it twice is refused, not taken once."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        known = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in known:
                    raise ComposerError(None, None, "this key is there already", key.start_mark)
                known.add((key.tag, key.value))
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Return the document; one that aliases make too large, or endless, is refused."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _values(node, {}) > _MOST_VALUES:
            raise ComposerError(None, None, f"it has more than {_MOST_VALUES} values")
        return node


def _values(node: yaml.Node, known: dict[yaml.Node, float]) -> float:
    """Return how many values a document has with its aliases written out."""
    if node not in known:
        known[node] = float("inf")  # if it comes back to itself
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        flat = (one for child in children for one in (child if type(child) is tuple else (child,)))
        known[node] = 1 + sum(_values(one, known) for one in flat)
    return known[node]


def _where(error: Exception) -> str:
    """Return where a YAML text breaks off and why; never the text, which may hold a secret."""
    mark = getattr(error, "problem_mark", None)
    place = "" if mark is None else f", line {mark.line + 1}"
    problem = _QUOTED.sub("", getattr(error, "problem", None) or "")
    return f"{place}: {problem or type(error).__name__}"


for _kind, _pattern, _first in (
    ("bool", r"(?i:yes|no|true|false|on|off)", "yYnNtTfFoO"),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,17})", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), list(_first)
    )
