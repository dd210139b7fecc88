"""engine_structs: what Docker 1.6 to 1.10 can decode, field by field."""

from __future__ import annotations

import pytest
from hypothesis import given

from proxy.errors import UnreadableConfig
from proxy.manifest.gojson_reader import read_object
from proxy.translate.engine_structs import check_top_entry
from tests.image_strategies import container_configs


def check(text: str | bytes, *, string_commands: bool = True) -> None:
    """Check the members of a top entry."""
    content = text if isinstance(text, bytes) else text.encode()
    members = {name: (raw, value) for name, raw, value in read_object(content)}
    check_top_entry(members, string_commands=string_commands)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"config":null,"container_config":null,"created":null,"os":null,"Size":null}',
        '{"config":{"Cmd":null,"Env":[null,"A=b"],"Labels":{"a":null,"b":"c"},"Tty":null}}',
        '{"config":{"ExposedPorts":{"80/tcp":{},"81/tcp":null},"Volumes":{"/a":{"x":1}}}}',
        '{"config":{"Healthcheck":5,"Shell":{},"unknown":[]},"unknown":{"Env":{}},"variant":1}',
        '{"Size":9223372036854775807}',
        '{"size":-9223372036854775808}',
        '{"created":"2024-02-29T03:04:05.123456789+02:30"}',
        '{"created":"0001-01-01T00:00:00Z"}',
        '{"config":{"Memory":"x","MemorySwap":1.5,"CpuShares":"y","Cpuset":0}}',
        '{"os.features":["a"],"os.version":"10"}',
    ],
)
def test_check_top_entry__decodes(text: str) -> None:
    """What the structs hold passes: null anywhere, unknown members of any type."""
    check(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"config":[]}', "config of the image config: expected an object, got a list"),
        ('{"Container_Config":"x"}', r"Container_Config .* an object, got a string \('x'\)"),
        ('{"config":{"ExposedPorts":["80"]}}', "config.ExposedPorts .* empty objects, got a list"),
        ('{"config":{"exposedports":{"80":1}}}', "config.exposedports"),
        ('{"config":{"Env":{"A":"b"}}}', "config.Env .* expected a list of strings, got an object"),
        ('{"config":{"ENV":["a",1]}}', "config.ENV .* got a list"),
        ('{"container_config":{"Env":"A=b"}}', r"container_config.Env .* got a string \('A=b'\)"),
        ('{"config":{"Cmd":1}}', "config.Cmd .* a list of strings, got a number"),
        ('{"config":{"Entrypoint":[["a"]]}}', "config.Entrypoint"),
        ('{"config":{"Labels":{"a":1}}}', "config.Labels .* an object of strings, got an object"),
        ('{"config":{"Labels":[]}}', "config.Labels"),
        ('{"config":{"Volumes":[]}}', "config.Volumes"),
        ('{"config":{"Tty":"true"}}', "config.Tty .* a boolean, got a string"),
        ('{"config":{"User":1000}}', "config.User .* a string, got a number"),
        ('{"config":{"Cmd":1,"Cmd":[]}}', "config.Cmd"),
        ('{"author":["a"]}', "author .* a string, got a list"),
        ('{"DOCKER_VERSION":20}', "DOCKER_VERSION .* a string"),
        ('{"throwaway":1}', "throwaway .* a boolean, got a number"),
        ('{"Size":1.0}', "Size .* a whole number of 64 bits, got a number"),
        ('{"Size":1e3}', "Size"),
        ('{"Size":9223372036854775808}', "Size"),
        ('{"Size":-9223372036854775809}', "Size"),
        ('{"Size":true}', "Size .* got a boolean"),
        ('{"Size":' + "1" * 5000 + "}", "Size"),
        ('{"os.features":"a"}', "os.features"),
        ('{"parent_id":1}', "parent_id .* a string, got a number"),
        ('{"Layer_ID":["a"]}', "Layer_ID .* a string, got a list"),
        ('{"created":5}', "created .* RFC 3339 .*, got a number"),
        ('{"created":""}', "created"),
        ('{"created":"2024-01-02"}', r"created .* got a string \('2024-01-02'\)"),
        ('{"created":"2023-02-29T03:04:05Z"}', "created"),
        ('{"created":"2024-01-02T3:04:05Z"}', "created"),
        ('{"created":"2024-01-02T03:04:05,5Z"}', "created"),
        ('{"created":"2024-01-02T03:04:05.1234567890Z"}', "created"),
        ('{"created":"2024-01-02T03:04:05+24:00"}', "created"),
        ('{"Created":"2024\\u002d01-02T03:04:05Z"}', "Created"),
    ],
)
def test_check_top_entry__names_the_field(text: str, reason: str) -> None:
    """A field that an engine cannot decode is named, with what is expected there."""
    with pytest.raises(UnreadableConfig, match=reason):
        check(text)


@pytest.mark.parametrize(
    "member", ['"Cmd":"a"', '"entrypoint":"a"', '"Memory":"1"', '"CpuShares":1.5', '"Cpuset":0']
)
@pytest.mark.parametrize("name", ["config", "container_config"])
def test_check_top_entry__only_for_1_6(name: str, member: str) -> None:
    """What only Docker 1.6 cannot decode is refused only for it."""
    text = f'{{"{name}":{{{member}}}}}'
    check(text)

    with pytest.raises(UnreadableConfig, match=rf"{name}\.\w+ of the image config"):
        check(text, string_commands=False)


@given(container_configs(string_commands=True))
def test_check_top_entry__generated_configs(config: bytes) -> None:
    """The configs that other tests generate are ones that pass."""
    check(b'{"config":' + config + b"}")
