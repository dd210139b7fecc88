"""What a config says of clients, as the settings that `understand` asks."""

import re
from typing import Final

from proxy.config.config import ClientRule, Config
from proxy.spec.descriptor import parse_platform
from proxy.spec.media_types import Format, MediaType
from proxy.translate.client import ALL_FORMATS, RULES, Rule, Settings

_INDEXES: Final = {"docker": MediaType.DOCKER_LIST, "oci": MediaType.OCI_INDEX}


def client_settings(config: Config) -> Settings:
    """Return what a config says of clients; its rules come after the built-in ones."""
    translate = config.translate
    return Settings(
        default_platform=parse_platform(translate.default_platform),
        no_accept=frozenset({Format.SCHEMA1}) if translate.no_accept == "schema1" else ALL_FORMATS,
        rules=(*RULES, *(_rule(number, rule) for number, rule in enumerate(translate.clients))),
        fallbacks={
            parse_platform(name): tuple(parse_platform(other) for other in others)
            for name, others in translate.platform_fallbacks.items()
        },
    )


def _rule(number: int, rule: ClientRule) -> Rule:
    return Rule(
        name=f"translate.clients[{number}]",
        user_agent=re.compile(rule.user_agent),
        reason="the configuration says so",
        source="the configuration",
        formats=None if rule.formats is None else frozenset(Format(one) for one in rule.formats),
        indexes=None if rule.indexes is None else frozenset(_INDEXES[one] for one in rule.indexes),
        zstd=rule.zstd,
        platform=None if rule.platform is None else parse_platform(rule.platform),
    )
