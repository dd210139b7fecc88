"""The JSON Schema of the configuration file, for editors.

msgspec makes one by itself, but not of types that are read by a hook and have defaults; those
are half of ours.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect

from proxy.config.config import Config
from proxy.config.values import PATTERNS, Bytes, TlsVersion

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_WRITTEN_AS: Final[dict[type, list[str]]] = {
    Bytes: ["string", "integer"],
    TlsVersion: ["string", "number"],  # what YAML makes of 1.2 without quotes
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    return {"$schema": _DRAFT, "title": "regshim configuration", **_schema(Config)}


def _schema(kind: type) -> dict[str, Any]:
    return _of(inspect.type_info(kind))


def _of(info: inspect.Type) -> dict[str, Any]:  # noqa: C901, PLR0911  one line a type
    match info:
        case inspect.Metadata(type=inner):
            return _of(inner)
        case inspect.StructType():
            return _section(info)
        case inspect.UnionType(types=types):
            return {"anyOf": [_of(one) for one in types]}
        case inspect.LiteralType(values=values):
            return {"enum": list(values)}
        case inspect.VarTupleType(item_type=item):
            return {"type": "array", "items": _of(item)}
        case inspect.DictType(value_type=value):
            return {"type": "object", "additionalProperties": _of(value)}
        case inspect.IntType(ge=least, le=most):
            bounds = {"minimum": least, "maximum": most}
            return {"type": "integer", **{k: v for k, v in bounds.items() if v is not None}}
        case inspect.FloatType(ge=least, le=most):
            return {"type": "number", "minimum": least, "maximum": most}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.NoneType():
            return {"type": "null"}
        case inspect.CustomType(cls=cls):
            description = "A path." if cls is Path else cls.__doc__ or ""
            pattern = {"pattern": PATTERNS[cls]} if cls in PATTERNS else {}
            written_as = _WRITTEN_AS.get(cls, ["string"])
            return {"type": written_as, **pattern, "description": description}
        case _:
            return {"type": "string"}


def _section(info: inspect.StructType) -> dict[str, Any]:
    properties = {}
    for field in info.fields:
        schema = _of(field.type)
        if field.default is not msgspec.NODEFAULT and not isinstance(field.default, msgspec.Struct):
            schema["default"] = _plain(field.default)
        properties[field.encode_name] = schema
    required = [field.encode_name for field in info.fields if field.required]
    return {
        "type": "object",
        "description": (info.cls.__doc__ or "").partition("\n")[0],
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _plain(value: object) -> object:
    """Return a default as JSON has it."""
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return base(value)
    return list(value) if isinstance(value, tuple) else value
