"""docs/configuration.md, made of the types of proxy/config/ and of config.example.yaml.

`python -m tools.configuration_page` writes it. Names, types, defaults and the text of each
section are the code's own: the page cannot tell anything else than what the proxy reads.
"""

import inspect
import re
from pathlib import Path
from typing import Final

import msgspec
from msgspec import inspect as types

from proxy.config.config import Config
from proxy.config.values import Bytes, PlatformName, Seconds, StoreUrl, Url

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "configuration.md"
EXAMPLE: Final = ROOT / "config.example.yaml"

_HEAD: Final = """\
<!-- made by `make docs` from the types of proxy/config/ and config.example.yaml; do not edit -->
# Configuration

One YAML file, given as `regshim serve --config FILE`. Only `upstream.url` is required. An unknown
key, one that is there twice, a wrong type or a value out of range stops the start with exit code 2,
and the message names the key by its path or the line:

```text
regshim: config.yaml: upstream.ulr: unknown key
```

Every key can be set from the environment: `REGSHIM_`, then the path in capitals, with two
underscores for each dot. The value is read as YAML, as in the file, and wins over it:

```sh
export REGSHIM_UPSTREAM__URL=https://registry.example.com
export REGSHIM_TRANSLATE__PLATFORM_FALLBACKS='{linux/amd64: [linux/386]}'
```

An editor that knows JSON Schema completes the keys and marks wrong ones: `regshim config schema >
regshim.schema.json`, and `# yaml-language-server: $schema=regshim.schema.json` as the first line of
the file.

Credentials are never in the file, only the names of files that hold them; the URL of a store is
the one exception, and no message repeats it.

How some of the values are written:

{words}

## All keys with their defaults

```yaml
{example}```
"""

_UNITS: Final[dict[type, tuple[tuple[str, float], ...]]] = {
    Bytes: (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)),
    Seconds: (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001)),
}
_EXPLAINED: Final = (Seconds, Bytes, Url, PlatformName, StoreUrl)
# `A size, written …` is a size.
_KIND: Final = re.compile(r"An? ((?:[A-Za-z]+ ?)+)")


def page() -> str:
    """Return the text of the page."""
    example = EXAMPLE.read_text(encoding="utf-8")
    root = types.type_info(Config)
    assert isinstance(root, types.StructType)  # noqa: S101  narrows: Config is a struct
    words = "\n".join(f"- {kind.__doc__}" for kind in _EXPLAINED)
    head = _HEAD.replace("{words}", words).replace("{example}", example)
    return "\n".join([head, *_parts(root, "")])


def _parts(section: types.StructType, path: str) -> list[str]:
    """Return a part for this section, and behind it one for each section in it."""
    rows, inner = [], []
    for field in section.fields:
        key = f"{path}.{field.name}".lstrip(".")
        nested = _section_of(field.type)
        if nested is not None:
            inner += _parts(nested, key)
        if nested is None or nested is not field.type:
            rows.append(f"| `{key}` | {_words(field.type)} | {_default(field)} |")
    text = inspect.cleandoc(section.cls.__doc__ or "")
    table = "\n".join(["| key | type | default |", "|---|---|---|", *rows])
    own = [f"## {path}\n\n{text}\n\n{table}\n"] if rows else []
    return own + inner


def _section_of(kind: types.Type) -> types.StructType | None:
    """Return the section that a key holds, one or a list of them; None for a plain value."""
    inner = kind.item_type if isinstance(kind, types.VarTupleType) else kind
    return inner if isinstance(inner, types.StructType) else None


def _words(kind: types.Type) -> str:  # noqa: C901, PLR0911  one line a type
    """Return a type as a person reads it."""
    match kind:
        case types.Metadata(type=inner):
            return _words(inner)
        case types.UnionType(types=several):
            return " or ".join(_words(one) for one in several)
        case types.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case types.VarTupleType(item_type=types.StructType()):
            return "list, each with the keys below"
        case types.VarTupleType(item_type=item):
            return f"list of {_words(item)}"
        case types.DictType(key_type=key, value_type=value):
            return f"mapping of {_words(key)} to {_words(value)}"
        case types.IntType(ge=least, le=most) | types.FloatType(ge=least, le=most):
            return f"number, at least {least}" if most is None else f"number, {least} to {most}"
        case types.BoolType():
            return "`true`, `false`"
        case types.NoneType():
            return "`null`"
        case types.CustomType(cls=cls) if cls is Path:
            return "path of a file"
        case types.CustomType(cls=cls):
            named = _KIND.match(cls.__doc__ or "")
            return named[1].strip() if named else cls.__name__
        case types.StrType():
            return "text"
    raise TypeError(f"no words for the type {kind}")


def _default(field: types.Field) -> str:
    """Return what a key is if nobody sets it, as the file would say it."""
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory()
    return f"`{_written(value)}`"


def _written(value: object) -> str:
    units = _UNITS.get(type(value))
    if units is not None and isinstance(value, int | float):
        return next(f"{int(value / size)}{name}" for name, size in units if value >= size)
    if isinstance(value, tuple):
        return f"[{', '.join(_written(one) for one in value)}]"
    return "null" if value is None else str(value).lower() if type(value) is bool else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
