"""The chart: its values, its schema, and what it says where values are wrong."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from proxy import __version__
from proxy.config.reading import parse
from tests.deploy.programs import CHART, DEPLOY, helm, helm_documents
from tests.deploy.resources import of_kind, the

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://registry.example.com"
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
MINIMAL: dict[str, Any] = {"config": {"upstream": {"url": URL}}}


def test_schema__is_one_and_the_defaults_keep_it() -> None:
    """values.schema.json is a JSON Schema, and values.yaml is valid by it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    jsonschema.validate(VALUES, SCHEMA)


def test_schema__knows_the_values_and_no_others() -> None:
    """What values.yaml has, the schema has, at both levels; `global` is Helm's."""

    def keys(tree: dict[str, Any], schema: dict[str, Any]) -> None:
        known = set(schema["properties"]) - {"global"}
        assert set(tree) == known & set(tree)
        for name, sub in schema["properties"].items():
            if name != "config" and isinstance(tree.get(name), dict) and "properties" in sub:
                keys(tree[name], sub)

    keys(VALUES, SCHEMA)
    assert set(SCHEMA["properties"]) - {"global"} == set(VALUES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 2},
        {"replicaCount": -1},
        {"image": {"repository": "r", "tagg": "1"}},
        {"image": {"repository": "r", "digest": "sha256:1"}},
        {"service": {"type": "clusterip"}},
        {"config": {}},
        {"config": {"upstream": {"url": "registry.example.com"}}},
        {"config": {"upstream": {"url": URL}, "listen": {"port": 5005}}},
        {"terminationGracePeriodSeconds": 10},
        {"store": {"urlSecret": {"name": "Not A Name", "key": "url"}}},
    ],
    ids=str,
)
def test_schema__refuses(wrong: dict[str, Any]) -> None:
    """A typing error is found before anything is installed."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**VALUES, **wrong}, SCHEMA)


def test_chart__has_the_version_of_the_proxy() -> None:
    """The image that is used by default is that of this version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))

    assert __version__ == chart["appVersion"]
    assert "v2" == chart["apiVersion"]


def test_readme__every_command_is_for_the_same_namespace() -> None:
    """What is typed one after the other finds what was made before."""
    text = (CHART / "README.md").read_text(encoding="utf-8").replace("\\\n", "")
    commands = re.findall(r"(?:^|`)((?:helm|kubectl) [^`\n]+)", text, flags=re.MULTILINE)

    assert len(commands) >= 5
    assert all("--namespace regshim " in command for command in commands)


@pytest.mark.peer
def test_chart__lint_finds_nothing(tmp_path: Path) -> None:
    """What `helm lint` says is information at most."""
    lint = json.loads(helm(tmp_path, MINIMAL))["lint"]

    assert [] == lint["errors"]
    assert [] == [message for message in lint["messages"] if message["severity"] > 1]


@pytest.mark.peer
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "config.upstream.url is required"),
        ({**MINIMAL, "ingress": {"enabled": True}}, "ingress.host is required"),
        ({**MINIMAL, "replicas": 2}, "replicas"),
        (
            {"config": {**MINIMAL["config"], "listen": {"grace": "1.5m"}}},
            "(1.5m) and 10 s to close are 110",
        ),
        ({**MINIMAL, "preStopSeconds": 11}, "terminationGracePeriodSeconds: 40 is too short"),
        (
            {
                **MINIMAL,
                "autoscaling": {"enabled": True},
                "resources": {"requests": {"cpu": None}},
            },
            "autoscaling needs resources.requests.cpu",
        ),
    ],
    ids=["no upstream", "no host", "unknown", "grace", "pause", "nothing to scale by"],
)
def test_chart__refuses_with_the_reason(
    values: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    """What cannot work is told by name, at the time of the installation."""
    said = helm(tmp_path, values)

    assert "refused: " in said
    assert reason in said


@pytest.mark.peer
def test_config__what_is_given_is_put_over_the_charts_own(tmp_path: Path) -> None:
    """Sections are merged, key by key."""
    given = {
        "upstream": {"url": URL, "blob_redirects": "pass"},
        "listen": {"workers": 4},
        "cache": {"store": "redis://valkey:6379/1", "memory": "16MiB"},
    }
    text = the(helm_documents(tmp_path, {"config": given}), "ConfigMap")["data"]["config.yaml"]
    config = parse(text, {})

    assert ("0.0.0.0", 5000, 4) == (config.listen.host, config.listen.port, config.listen.workers)
    assert "pass" == config.upstream.blob_redirects
    assert ("redis://valkey:6379/1", 16 << 20) == (config.cache.store, config.cache.memory)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("url", "port", "ports"),
    [
        (URL, 443, {443}),
        ("https://registry.example.com:8443/mirror", 443, {8443, 443}),
        ("http://registry.registry.svc:5000", 443, {5000, 443}),
        ("http://registry", 443, {80, 443}),
        ("http://[fd00::1]:5000", 9000, {5000, 9000}),
        ("http://[fd00::1]", 9000, {80, 9000}),
    ],
)
def test_policy__lets_through_to_the_upstream(
    url: str, port: int, ports: set[int], tmp_path: Path
) -> None:
    """The port that the config names, and that of the storage that the registry redirects to."""
    values = {"config": {"upstream": {"url": url}}, "networkPolicy": {"upstreamPort": port}}
    policy = the(helm_documents(tmp_path, values), "NetworkPolicy")["spec"]

    assert ports == {entry["port"] for entry in policy["egress"][-1]["ports"]}


@pytest.mark.peer
@pytest.mark.parametrize(
    ("auth", "paths"),
    [({}, ["/v2/"]), ({"auth": {"realm": "proxy"}}, ["/v2/", "/token"])],
    ids=["upstream", "proxy"],
)
def test_ingress__leads_to_all_that_clients_ask(
    auth: dict[str, Any], paths: list[str], tmp_path: Path
) -> None:
    """The API, and the token service where the proxy says that it is one."""
    config = {"upstream": {"url": URL, **auth}}
    values = {"config": config, "ingress": {"enabled": True, "host": "pull.example.com"}}
    (rule,) = the(helm_documents(tmp_path, values), "Ingress")["spec"]["rules"]

    assert paths == [entry["path"] for entry in rule["http"]["paths"]]


@pytest.mark.peer
def test_config__another_one_rolls_the_pods(tmp_path: Path) -> None:
    """The proxy reads its config at the start: a change must make new pods."""

    def annotations(url: str) -> dict[str, str]:
        made = helm_documents(tmp_path, {"config": {"upstream": {"url": url}}})
        found: dict[str, str] = the(made, "Deployment")["spec"]["template"]["metadata"][
            "annotations"
        ]
        return found

    assert annotations(URL) == annotations(URL)
    assert annotations(URL) != annotations("https://other.example.com")


@pytest.mark.peer
def test_names__stay_within_the_limit(tmp_path: Path) -> None:
    """A release name of 53 letters, the longest that Helm takes, makes names of 63 at most."""
    everything = {"dashboard": {"enabled": True}, "autoscaling": {"enabled": True}}
    made = helm_documents(tmp_path, {**MINIMAL, **everything}, release="r" * 53)

    assert [] == [d["metadata"]["name"] for d in made if len(d["metadata"]["name"]) > 63]


@pytest.mark.peer
def test_monitoring__rules_and_dashboard_are_those_of_deploy(tmp_path: Path) -> None:
    """The chart brings the files that are tested, whole."""
    values = {**MINIMAL, "prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}
    made = helm_documents(tmp_path, values)
    alerts = (DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8")
    dashboard = (DEPLOY / "grafana" / "regshim.json").read_text(encoding="utf-8")
    (shown,) = [d["data"] for d in of_kind(made, "ConfigMap") if "regshim.json" in d["data"]]

    assert yaml.safe_load(alerts) == the(made, "PrometheusRule")["spec"]
    assert json.loads(dashboard) == json.loads(shown["regshim.json"])


@pytest.mark.peer
@pytest.mark.parametrize(("grace", "least"), [("500ms", 21), ("30s", 50), ("2 m", 140)])
def test_stop__as_long_as_the_config_says(grace: str, least: int, tmp_path: Path) -> None:
    """A pod has the time that its config gives to what is under way."""
    config = {**MINIMAL["config"], "listen": {"grace": grace}}
    values = {"config": config, "terminationGracePeriodSeconds": max(least, 30)}
    spec = the(helm_documents(tmp_path, values), "Deployment")["spec"]["template"]["spec"]

    assert max(least, 30) == spec["terminationGracePeriodSeconds"]


@pytest.mark.peer
def test_notes__warn_where_replicas_share_nothing(tmp_path: Path) -> None:
    """Who installs several replicas without a store is told what that means, others are not."""

    def notes(**values: Any) -> str:  # noqa: ANN401
        files: dict[str, str] = json.loads(helm(tmp_path, {**MINIMAL, **values}))["files"]
        return files["regshim/templates/NOTES.txt"]

    assert "share no store" in notes(replicaCount=2)
    assert "share no store" not in notes()
    assert "share no store" not in notes(replicaCount=2, store={"urlSecret": {"name": "s"}})
