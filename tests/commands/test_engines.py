"""The engines that commands are told of: by their names, and what they send."""

from __future__ import annotations

import pytest

from proxy.commands.engines import accept_of, engine_named, user_agent_of
from proxy.errors import ConfigError, RequestInvalid
from proxy.translate.client import engine_of
from tests.engines.fleet import ENGINES


def test_accept_of__as_the_recorded_engines() -> None:
    """What explain says of an engine is what the models of recorded engines send."""
    for engine in ENGINES:
        model = engine("http://127.0.0.1")
        # Engines that name nothing have no types.
        named: tuple[str, ...] = getattr(model, "types", ())

        assert set(named) == set(accept_of(engine_of(model.user_agent()))), engine.version


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("docker-1.9", "docker/1.9"),
        ("docker-17", "docker/17.0"),
        ("docker-19.03.2", "docker/19.03.2"),
        ("containerd", "containerd"),
        ("cri-o-1.30.0", "cri-o/1.30.0"),
        ("docker/1.9.1", "docker/1.9.1"),
        ("docker/1.9.1 go/go1.4.3 os/linux arch/arm", "docker/1.9.1 go/go1.4.3 os/linux arch/arm"),
        ("containerd/v1.7.2", "containerd/v1.7.2"),
    ],
)
def test_engine_named__as_in_the_metrics(name: str, engine: str) -> None:
    """An engine is named as the metrics name it, or as it does itself."""
    assert engine == engine_named(name)


@pytest.mark.parametrize("name", ["", " ", "bogus-1", "docker", "docker-x", "a/b c", "1.9.1"])
def test_engine_named__unknown(name: str) -> None:
    """What is no engine is refused, with what is known."""
    with pytest.raises(ConfigError, match=r"docker-VERSION .*, containerd,"):
        engine_named(name)


def test_user_agent_of__tells_one_platform() -> None:
    """A whole User-Agent that tells its platform keeps it, for it is what the client sends."""
    whole = "docker/1.9.1 go/go1.4.3 os/linux arch/arm"

    assert whole == user_agent_of(whole, "amd64")
    assert "docker/1.9.1 os/linux arch/arm64" == user_agent_of("docker/1.9.1", "arm64")
    assert "containerd/1.7" == user_agent_of("containerd/1.7", "arm64")


def test_accept_of__engine_without_a_version() -> None:
    """An engine that is named without a version sends what it does with one."""
    assert accept_of("containerd/1.7.2") == accept_of("containerd")


def test_accept_of__nightly_builds() -> None:
    """A nightly build of Docker, whose version is 0.0.0, sends what the newest Docker sends."""
    assert accept_of("docker/28.0.1") == accept_of("docker/0.0.0-20200612010203-f61e0f7")


@pytest.mark.parametrize("architecture", ["", "arm/v7", "linux/arm64", "arm-64", "x" * 21])
def test_user_agent_of__no_architecture(architecture: str) -> None:
    """What would be taken for another platform, or for none, is refused."""
    with pytest.raises(RequestInvalid, match="such as arm64, got "):
        user_agent_of("docker/1.9.1", architecture)
