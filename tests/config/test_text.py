"""The YAML of a config: what it is read as, and what is refused before it costs anything."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.text import LONGEST, ConfigTextError, read_yaml

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text(st.characters(codec="ascii", min_codepoint=32)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab<:"), inner, max_size=3),
    max_leaves=20,
)


@given(PLAIN)
def test_read_yaml__what_yaml_writes(document: object) -> None:
    """Whatever of texts, numbers, lists and mappings YAML writes is read to the same."""
    assert document == read_yaml(yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("yes", True),
        ("Off", False),
        ("12", 12),
        ("-0", 0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("!!str yes", "yes"),
        # What YAML 1.1 makes of these surprises whoever wrote them.
        ("10:30", "10:30"),
        ("0700", "0700"),
        ("2001-01-01", "2001-01-01"),
        ("1_0", "1_0"),
        ("9" * 19, "9" * 19),
        ("a: &a [1]\nb: *a", {"a": [1], "b": [1]}),
        ("a: &a {b: 1}\nc: {<<: *a, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)
def test_read_yaml__values(text: str, value: object) -> None:
    """A text is read as what it says; what only YAML takes for a number or a time is a text."""
    found = read_yaml(text)

    assert (value, type(value)) == (found, type(found))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML, line 1: "),
        ("a: 1\nb: !!timestamp x", "is not valid YAML, line 2: tags are not used here"),
        ("!!int ''", "is not valid YAML, line 1: tags are not used here"),
        ("[" * 20_000, "is not valid YAML, line 1: it is nested too deep"),
        ("{[a]: b}", "is not valid YAML, line 1: found unhashable key"),
        ("a: &a [*a]", "is not valid YAML: it has more than 10000 values"),
        ("x" * (LONGEST + 1), "is longer than 64 KiB"),
        ("\x00", "is not valid YAML: ReaderError"),
        # YAML would take the last one, and drop what stands under the first.
        ("a: {b: 1}\nc: 2\na: {d: 3}", "is not valid YAML, line 3: this key is there already"),
        ("a: {b: 1, b: 2}", "is not valid YAML, line 1: this key is there already"),
    ],
)
def test_read_yaml__refused(text: str, message: str) -> None:
    """What is no YAML, or too much of it, is refused with its line and without its words."""
    with pytest.raises(ConfigTextError) as error:
        read_yaml(text)

    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: *hunter2", "line 1: found undefined alias"),
        ("a: !hunter2!x 1", "line 1: found undefined tag handle"),
        ("%TAG !hunter2! x\n%TAG !hunter2! x\n--- a", "line 2: duplicate tag handle"),
        ("a: &hunter2 1\nb: &hunter2 2", "line 2: second occurrence"),
        ("a: &'hunter2' 1", "line 1: expected alphabetic or numeric character"),
        ("%YAML hunter2", "line 1: expected a digit"),
        ("a: >hunter2", "line 1: expected chomping or indentation indicators"),
        ('a: "\\xhunter2"', "line 1: expected escape sequence of 2 hexadecimal numbers"),
        ("a: !%FFhunter2 x", "line 1: ScannerError"),
        # No words of the text: what is wrong is still told.
        ("a: 1\nhunter2\nb: 1", "line 3: could not find expected ':'"),
        ("a:\n\t- hunter2", "line 2: found character '\\t' that cannot start any token"),
        ("a: {b: hunter2]", "line 1: expected ',' or '}', but got ']'"),
        ("a: 1\n b: hunter2", "line 2: mapping values are not allowed here"),
        ("- a\nhunter2: 1", "line 2: expected <block end>, but found '?'"),
        ("a: b\n- hunter2: 1", "line 2: expected <block end>, but found '-'"),
        ("a: [hunter2\n", "line 2: expected ',' or ']', but got '<stream end>'"),
    ],
)
def test_read_yaml__refused_without_its_words(text: str, message: str) -> None:
    """Names that PyYAML would repeat, of aliases and handles, may be a secret's own words."""
    with pytest.raises(ConfigTextError) as error:
        read_yaml(text)

    assert f"is not valid YAML, {message}" == str(error.value)


@pytest.mark.parametrize("inside", ["[*a{0}, *a{0}, *a{0}]", "{{<<: [*a{0}, *a{0}, *a{0}]}}"])
def test_read_yaml__a_billion(inside: str) -> None:
    """Aliases of aliases, also merged, are refused by what they would become."""
    first = "{x: 1}" if "<<" in inside else "[x]"
    lines = [f"a{level}: &a{level} " + inside.format(level - 1) for level in range(1, 40)]

    with pytest.raises(ConfigTextError, match="more than 10000 values"):
        read_yaml("\n".join([f"a0: &a0 {first}", *lines]))
