"""Dashboard and alerts: they ask for what the proxy tells, and the alerts come when they should."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy.metrics import Metrics, engine_label
from tests.deploy.programs import DEPLOY, ROOT, call, output
from tests.images import make_image, push
from tests.peers import require_peer
from tests.processes import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import aiohttp

    from tests.registry import Registry

PROMETHEUS = DEPLOY / "prometheus"
ALERTS = PROMETHEUS / "alerts.yaml"
TESTS = sorted(PROMETHEUS.glob("*_test.yaml"))
DASHBOARD: dict[str, Any] = json.loads(
    (DEPLOY / "grafana" / "regshim.json").read_text(encoding="utf-8")
)
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0][
    "rules"
]
# What Prometheus itself adds to each series.
ADDED_LABELS = {"instance", "job", "le"}
_SELECTOR = re.compile(r"(regshim_\w+|\bup\b)(?:\{([^}]*)\})?")
_SEVERAL = re.compile(r'__name__=~"regshim_\(([\w|]+)\)_total"([^}]*)\}')
_GROUPING = re.compile(r"\bby \(([^)]*)\)")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def series() -> dict[str, set[str]]:
    """Return the labels of each series that the proxy tells, by its name."""
    found: dict[str, set[str]] = {"up": set()}
    metrics = Metrics()
    metrics.certificate_expires(datetime.now(UTC))
    for family in metrics.registry.collect():
        names = {
            "counter": [f"{family.name}_total"],
            "gauge": [family.name],
            "histogram": [f"{family.name}_{part}" for part in ("bucket", "count", "sum")],
        }
        instrument: Any = metrics.registry._names_to_collectors[family.name]
        for name in names[family.type]:
            found[name] = set(instrument._labelnames)
    return found


def asked(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the series of an expression, each with the labels that it is chosen by."""
    for names, rest in _SEVERAL.findall(expression):
        # A label that not all of them have: its pattern allows none, by an empty first choice.
        labels = set(_LABEL.findall(re.sub(r'\w+=~"\|[^"]*"', "", rest)))
        for name in names.split("|"):
            yield f"regshim_{name}_total", labels
    for name, labels_text in _SELECTOR.findall(_SEVERAL.sub("}", expression)):
        yield name, set(_LABEL.findall(labels_text))


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """Return all expressions of the dashboard and of the alerts."""
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*shown, *(rule["expr"] for rule in RULES)]


@pytest.mark.parametrize("expression", expressions())
def test_expression__asks_for_what_the_proxy_tells(expression: str) -> None:
    """Each name is an instrument of proxy.metrics, each label one of its labels."""
    told = series()
    found = list(asked(expression))
    labels = set().union(*(told[name] for name, _ in found), ADDED_LABELS)
    grouped = {word.strip() for words in _GROUPING.findall(expression) for word in words.split(",")}

    assert found
    for name, chosen in found:
        assert chosen <= told[name] | ADDED_LABELS
    assert grouped <= labels


def test_expression__a_wrong_name_or_label_is_found() -> None:
    """The check can fail, in each place where a name or a label can stand."""
    told = series()
    wrong = dict(asked('sum by (a) (rate(regshim_requests{rout="manifest"}[5m]))'))
    several = dict(asked('x({__name__=~"regshim_(pulls|refusals)_total", job="j", e=~"|d"}[30d])'))

    assert {"regshim_requests": {"rout"}} == wrong
    assert {"regshim_pulls_total": {"job"}, "regshim_refusals_total": {"job"}} == several
    assert "regshim_requests" not in told
    assert {"route", "method", "status"} == told["regshim_requests_total"]


def test_dashboard__shows_every_instrument() -> None:
    """Nothing is counted that nobody can see."""
    shown = {name for panel in panels() for t in panel["targets"] for name, _ in asked(t["expr"])}
    parts = re.compile(r"_(bucket|count|sum)$")

    assert {parts.sub("", name) for name in series()} == {parts.sub("", name) for name in shown}


def test_dashboard__is_whole() -> None:
    """Panels have a title, a sentence, a place of their own, and legends of labels that exist."""
    told = series()
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not places & cells
        assert grid["x"] + grid["w"] <= 24
        places |= cells
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")
        for target in panel["targets"]:
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert labels <= set().union(*(told[name] for name, _ in asked(target["expr"])))
    assert len(DASHBOARD["panels"]) == len({panel["id"] for panel in DASHBOARD["panels"]})


def test_dashboard__names_no_server() -> None:
    """The data source is chosen in Grafana; nothing of the place where it was made is left."""
    used = {json.dumps(target["datasource"]) for panel in panels() for target in panel["targets"]}

    assert {json.dumps({"type": "prometheus", "uid": "${datasource}"})} == used
    assert "http" not in json.dumps(DASHBOARD)
    assert {"datasource", "job", "instance"} == {v["name"] for v in DASHBOARD["templating"]["list"]}


def test_alerts__are_told_apart_and_explained() -> None:
    """Each has a severity, a summary and a description that says what to do or look at."""
    names = [rule["alert"] for rule in RULES]

    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert {"summary", "description"} == set(rule["annotations"])


def test_alerts__docs_list_them() -> None:
    """docs/deploying.md has each alert with its severity, and no other."""
    text = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (Regshim\w+) \| (\w+) \|", text, flags=re.MULTILINE)

    assert {(rule["alert"], rule["labels"]["severity"]) for rule in RULES} == set(listed)


def test_alerts__each_is_tested_both_ways() -> None:
    """There is a moment when each comes, and one when it does not."""
    cases = [
        (case["alertname"], bool(case.get("exp_alerts")))
        for path in TESTS
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for case in test["alert_rule_test"]
    ]

    assert {(rule["alert"], comes) for rule in RULES for comes in (True, False)} == set(cases)


@pytest.mark.parametrize(
    ("engine", "counts"),
    [
        ("docker/1.6.2", True),
        ("docker/1.9.1", True),
        ("docker/1.13.1", True),
        ("docker/17.03.2-ce", True),
        ("docker/19.03.15", True),
        ("docker/20.10.24", False),
        ("docker/28.0.1", False),
        ("containerd/1.7.2", False),
        ("", False),
    ],
)
def test_not_needed__counts_the_old_engines(engine: str, counts: bool) -> None:
    """The alert's pattern chooses Docker before 20.10, by the label that metrics give it."""
    (rule,) = [rule for rule in RULES if rule["alert"] == "RegshimNotNeeded"]
    (pattern,) = set(re.findall(r'engine=~"([^"]*)"', rule["expr"]))

    assert counts == bool(re.fullmatch(pattern, engine_label(engine)))


@pytest.mark.peer
def test_alerts__promtool_accepts_them() -> None:
    """Prometheus' own reader of rules."""
    said = output(require_peer("promtool"), "check", "rules", "--lint-fatal", ALERTS)

    assert f"SUCCESS: {len(RULES)} rules found" in said


@pytest.mark.peer
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts__come_when_they_should(path: Path) -> None:
    """The unit tests of the rules, run by Prometheus' own evaluation."""
    said = output(require_peer("promtool"), "test", "rules", path.name, cwd=PROMETHEUS)

    assert "SUCCESS" in said


@pytest.mark.peer
def test_scrape__promtool_accepts_it() -> None:
    """The lines for prometheus.yml, and the job that the alerts know."""
    path = PROMETHEUS / "scrape.yaml"
    (job,) = yaml.safe_load(path.read_text(encoding="utf-8"))["scrape_configs"]

    output(require_peer("promtool"), "check", "config", path)
    assert "regshim" == job["job_name"]


@pytest.mark.peer
def test_dashboard__promtool_accepts_its_expressions(tmp_path: Path) -> None:
    """Every expression is PromQL, with Grafana's variables filled in."""
    rules = [
        {"record": f"panel:{number}", "expr": _filled_in(target["expr"])}
        for number, target in enumerate(t for panel in panels() for t in panel["targets"])
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    said = output(require_peer("promtool"), "check", "rules", path)

    assert f"SUCCESS: {len(rules)} rules found" in said


@pytest.mark.peer
@pytest.mark.parametrize(
    ("title", "series", "seen"),
    [
        ("Engines, 30 days", 'client_pulls_total{engine="E", target="schema1"}', "engine"),
        ("Refusals", 'refusals_total{reason="E"}', "reason"),
    ],
)
def test_dashboard__a_single_count_is_seen(
    title: str, series: str, seen: str, tmp_path: Path
) -> None:
    """An engine that pulled once, and a first refusal, are there; what was before is not."""
    (panel,) = [panel for panel in panels() if panel["title"] == title]
    expression = _filled_in(panel["targets"][0]["expr"]).replace("[5m]", "[30d]")
    values = {"once": "_x80 1x80", "more": "4x80 5x80", "before": "7x160", "new": "_x80 0+1x80"}
    test = {
        "interval": "6h",
        "input_series": [
            {"series": f"regshim_{series.replace('E', name)}", "values": value}
            for name, value in values.items()
        ],
        "promql_expr_test": [
            {
                "expr": f"count by ({seen}) ({expression.replace('offset 5m', 'offset 30d')} > 0)",
                "eval_time": "40d",
                "exp_samples": [
                    {"labels": f'{{{seen}="{name}"}}', "value": 1}
                    for name in ("more", "new", "once")
                ],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}), encoding="utf-8")

    assert "SUCCESS" in output(require_peer("promtool"), "test", "rules", path)


@pytest.mark.peer
@pytest.mark.parametrize("title", ["Errors", "Upstream failures"])
def test_dashboard__no_failure_is_a_figure(title: str, tmp_path: Path) -> None:
    """Where nothing has failed yet the share of failures is 0, and not "No data"."""
    (panel,) = [panel for panel in panels() if panel["title"] == title]
    names = ("requests", "upstream_requests")
    test = {
        "interval": "1m",
        "input_series": [
            {"series": f'regshim_{name}_total{{status="200"}}', "values": "0+9x20"}
            for name in names
        ],
        "promql_expr_test": [
            {
                "expr": _filled_in(panel["targets"][0]["expr"]),
                "eval_time": "15m",
                "exp_samples": [{"labels": "{}", "value": 0}],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}), encoding="utf-8")

    assert "SUCCESS" in output(require_peer("promtool"), "test", "rules", path)


def test_dashboard__all_jobs_are_those_of_the_proxy() -> None:
    """`All` is what was found, not any: `up` is there for everything that Prometheus watches."""
    (job,) = [v for v in DASHBOARD["templating"]["list"] if v["name"] == "job"]

    assert "regshim_" in job["query"]["query"]
    assert "allValue" not in job


def _filled_in(expression: str) -> str:
    for variable, value in (("$__rate_interval", "5m"), ("$job", ".*"), ("$instance", ".*")):
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


@pytest.mark.peer
async def test_metrics__promtool_accepts_what_a_running_proxy_tells(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """/metrics after pulls and errors: promtool has no remark, and the alerts' series are there."""
    image = make_image(empty_layers=(1,))
    await push(registry, "lib/app", "1", image)
    cache = {"store": f"sqlite://{tmp_path}/translations.db"}
    async with serving(tmp_path, registry.url, cache=cache) as served:
        engine = {"User-Agent": "docker/1.9.1 go/go1.4.3 os/linux arch/amd64"}
        for path in ("manifests/1", "manifests/1", "manifests/missing", "blobs/sha256:" + "0" * 64):
            async with http.get(f"{served.url}/v2/lib/app/{path}", headers=engine) as reply:
                await reply.read()
        async with http.get(f"{served.admin}/metrics") as reply:
            text = await reply.text()
    (tmp_path / "metrics").write_text(text, encoding="utf-8")
    # It reads its standard input.
    command = f"{require_peer('promtool')} check metrics < {tmp_path}/metrics"
    result = await asyncio.to_thread(call, "sh", "-c", command)

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    assert 'regshim_client_pulls_total{engine="docker-1.9",target="schema1"}' in text
    assert 'route="manifest"' in text  # what the alert on slow answers asks for
