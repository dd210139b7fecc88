"""What kustomize and Helm make of deploy/: valid, hardened, and in accord with the proxy."""

from __future__ import annotations

import copy
import re
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import redis.asyncio

from proxy.config.config import Cache, Inventory
from proxy.config.listen import Listen
from proxy.config.reading import parse
from proxy.inventory.redis import RedisArchive
from proxy.store.redis import RedisEntries, connect
from tests.deploy.memory import quantity, worst_case
from tests.deploy.programs import helm_documents, kustomized
from tests.deploy.resources import (
    CUSTOM,
    containers,
    of_kind,
    pod_templates,
    port_names,
    proxies,
    security,
    selected,
    the,
    variables,
)
from tests.inventory.contract import entry_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.config import Config
    from tests.deploy.programs import Document
    from tests.peers import Peer

pytestmark = pytest.mark.peer

VERSIONS = ["1.30", kubernetes_validate.latest_version()]
"""The oldest Kubernetes that is promised, and the newest that the schemas know."""

STOP_SECONDS = Listen().grace + 10
"""What the proxy may take: the grace, and to close what it has open."""

MINIMAL: dict[str, Any] = {"config": {"upstream": {"url": "https://registry.example.com"}}}
EVERYTHING: dict[str, Any] = {
    "config": {
        "upstream": {
            "url": "https://registry.example.com",
            "ca_file": "/etc/regshim-ca/ca.crt",
            "timeouts": {"connect": "5s"},
        },
        "listen": {"workers": 2},
        "limits": {"index_children": 100},
    },
    "image": {"digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "pull"}],
    "autoscaling": {"enabled": True},
    "store": {"urlSecret": {"name": "regshim-store"}},
    "signingKey": {"secret": {"name": "regshim-signing-key"}},
    "tls": {"secretName": "regshim-tls"},
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "host": "pull.example.com",
        "tlsSecretName": "pull-tls",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "0"},
    },
    "networkPolicy": {"extraEgress": [{"ports": [{"port": 4318, "protocol": "TCP"}]}]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
    "serviceAccount": {"annotations": {"a": "b"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "registry"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "env": [{"name": "REGSHIM_LOG__LEVEL", "value": "debug"}],
    "resources": {"limits": {"memory": "4Gi"}},  # for two workers
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/regshim-ca", "readOnly": True}],
}
REPLICAS: dict[str, Any] = {**MINIMAL, "replicaCount": 3}
VARIANTS: dict[str, dict[str, Any] | str] = {
    "base": "base",
    "sidecar": "overlays/sidecar",
    "replicas": "overlays/replicas",
    "helm-minimal": MINIMAL,
    "helm-replicas": REPLICAS,
    "helm-everything": EVERYTHING,
}


@pytest.fixture(scope="module", params=list(VARIANTS))
def documents(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Sequence[Document]:
    """Give the resources of each way to deploy."""
    return _render(request.param, tmp_path_factory.mktemp("order"))


@pytest.fixture
def base() -> Sequence[Document]:
    """Give the resources of the base."""
    return kustomized("base")


def _render(variant: str, directory: Path) -> Sequence[Document]:
    order = VARIANTS[variant]
    return kustomized(order) if isinstance(order, str) else helm_documents(directory, order)


def _config(documents: Sequence[Document], pod: Document, container: Document) -> Config:
    """Return the Config that the proxy of a pod starts with; its environment counts."""
    (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == "/etc/regshim"]
    (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == mount["name"]]
    name = volume["configMap"]["name"]
    (found,) = [d for d in of_kind(documents, "ConfigMap") if d["metadata"]["name"] == name]
    # What comes from a Secret is the reader's to make; a URL of redis stands for it.
    environment = {
        key: variable.get("value", "redis://:secret@valkey:6379/0")
        for key, variable in variables(container).items()
    }
    return parse(found["data"]["config.yaml"], environment)


@pytest.mark.parametrize("version", VERSIONS)
def test_schema__every_resource_is_valid(documents: Sequence[Document], version: str) -> None:
    """Kubernetes' own schemas, strictly: no unknown field, in the oldest and newest version."""
    own = [document for document in documents if document["kind"] not in CUSTOM]

    for document in own:
        kubernetes_validate.validate(document, version, strict=True)
    assert own


def test_schema__refuses_a_typing_error(base: Sequence[Document]) -> None:
    """The check can fail: a field that does not exist is found."""
    wrong = copy.deepcopy(the(base, "Deployment"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_variants__make_what_they_promise(documents: Sequence[Document]) -> None:
    """Each way to deploy runs the proxy, once; a name is not made twice."""
    names = [(d["kind"], d["metadata"]["name"]) for d in documents]

    assert 1 == len(list(proxies(documents)))
    assert len(set(names)) == len(names)


def test_base__has_all_parts(base: Sequence[Document]) -> None:
    """The base is complete: nothing that a namespace needs is left to the overlays."""
    kinds = {document["kind"] for document in base}

    assert {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    } == kinds


def test_security__proxy_has_no_rights(documents: Sequence[Document]) -> None:
    """The restricted profile of the Pod Security Standards, and a root that is read-only."""
    for pod, container in proxies(documents):
        context = security(pod, container)

        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == 10001
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert {"drop": ["ALL"]} == context["capabilities"]
        assert {"type": "RuntimeDefault"} == context["seccompProfile"]


def test_security__what_is_started_beside_it_has_none_either(
    documents: Sequence[Document],
) -> None:
    """The store of the replicas is held to the same; the workload of a sidecar is its owner's."""
    for pod in pod_templates(documents):
        for container in containers(pod):
            if container["name"] == "engine":
                continue
            context = security(pod, container)

            assert context["runAsNonRoot"] is True
            assert context["readOnlyRootFilesystem"] is True
            assert {"drop": ["ALL"]} == context["capabilities"]


def test_token__is_never_mounted(documents: Sequence[Document]) -> None:
    """The proxy asks nothing of the cluster and is given no way to."""
    for pod, container in proxies(documents):
        if container in pod["spec"].get("initContainers", []):
            continue  # a sidecar: the token is the workload's matter

        assert pod["spec"]["automountServiceAccountToken"] is False
    for account in of_kind(documents, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_config__is_accepted_and_its_ports_are_those_of_the_pod(
    documents: Sequence[Document],
) -> None:
    """The proxy starts with this config, and the pod says truly where it listens."""
    for pod, container in proxies(documents):
        config = _config(documents, pod, container)
        ports = {port["containerPort"] for port in container["ports"]}

        assert config.admin.port in ports
        assert "0.0.0.0" == config.admin.host  # the kubelet asks from outside the pod
        # A sidecar is for its own pod: no port of the pod, and nobody else can connect.
        assert (config.listen.port in ports) != config.listen.is_loopback


def test_config__bounds_keep_to_the_memory(documents: Sequence[Document]) -> None:
    """As many slow clients as the config lets in do not get the container killed."""
    for pod, container in proxies(documents):
        allowed = quantity(container["resources"]["limits"]["memory"])

        assert worst_case(_config(documents, pod, container)) <= allowed


def test_config__files_that_it_names_are_mounted(documents: Sequence[Document]) -> None:
    """Each path of the config lies in a volume; those that are written, in one that can be."""
    for pod, container in proxies(documents):
        config = _config(documents, pod, container)
        mounts = {m["mountPath"]: m.get("readOnly", False) for m in container["volumeMounts"]}
        store = config.cache.store or ""
        written = [store.removeprefix("sqlite://")] if store.startswith("sqlite:") else []
        key = config.translate.signing_key_file
        read = [config.upstream.ca_file, config.listen.tls.cert_file, config.listen.tls.key_file]

        for path in (*written, *(str(path) for path in (key, *read) if path is not None)):
            (mount,) = {str(parent) for parent in PurePosixPath(path).parents} & set(mounts)
            assert not (mounts[mount] and path in written)
        assert mounts["/tmp"] is False  # the counts of several workers


def test_volumes__every_mount_has_one(documents: Sequence[Document]) -> None:
    """No mount without a volume, and no volume that nobody mounts."""
    for pod in pod_templates(documents):
        mounted = {m["name"] for c in containers(pod) for m in c.get("volumeMounts", [])}
        volumes = {v["name"] for v in pod["spec"].get("volumes", [])}

        assert mounted - {"data"} == volumes  # data is a claim of the StatefulSet


def test_probes__ask_the_admin_port(documents: Sequence[Document]) -> None:
    """Life is asked of /livez, readiness of /readyz: an upstream that is down restarts nothing."""
    for pod, container in proxies(documents):
        config = _config(documents, pod, container)
        asked = {
            kind: container[kind]["httpGet"]
            for kind in ("startupProbe", "livenessProbe", "readinessProbe")
            if kind in container
        }
        paths = {kind: probe["path"] for kind, probe in asked.items()}
        readiness = paths.pop("readinessProbe", None)

        assert {"startupProbe": "/livez", "livenessProbe": "/livez"} == paths
        assert {config.admin.port} == {port_names(pod)[p["port"]] for p in asked.values()}
        if readiness is not None:
            wait = container["readinessProbe"]["timeoutSeconds"]
            assert "/readyz" == readiness
            assert wait > config.upstream.timeouts.connect


def test_stop__leaves_time_to_finish(documents: Sequence[Document]) -> None:
    """The grace covers preStop and what the proxy takes to finish what is under way."""
    for pod, container in proxies(documents):
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30)

        assert grace >= pause + STOP_SECONDS


def test_images__have_a_version(documents: Sequence[Document]) -> None:
    """No image is `latest`, said or unsaid."""
    images = [c["image"] for pod in pod_templates(documents) for c in containers(pod)]

    assert [] == [i for i in images if not re.search(r"(:(?!latest$)[\w.-]+|@sha256:.+)$", i)]


def test_selectors__choose_the_pods_they_are_for(documents: Sequence[Document]) -> None:
    """Services, budgets and policies choose pods of one kind; an empty selector chose all."""
    templates = pod_templates(documents)
    found = [
        (d, d["spec"]["selector"] if d["kind"] == "Service" else _match_labels(d))
        for d in of_kind(documents, "Service", "PodDisruptionBudget", "NetworkPolicy")
    ]

    for document, labels in found:
        (pod,) = selected(labels, templates)
        for name in _ports(document):
            assert name in port_names(pod)
    for document in of_kind(documents, "Deployment", "StatefulSet"):
        labels = document["spec"]["selector"]["matchLabels"]
        assert [document["spec"]["template"]] == selected(labels, templates)


def _match_labels(document: Document) -> dict[str, str]:
    spec = document["spec"]
    labels: dict[str, str] = spec.get("selector", spec.get("podSelector"))["matchLabels"]
    return labels


def _ports(document: Document) -> list[str]:
    """Return the ports of the pod that a Service or a policy names."""
    if document["kind"] == "Service":
        return [port["targetPort"] for port in document["spec"]["ports"]]
    rules = document["spec"].get("ingress", [])
    return [port["port"] for rule in rules for port in rule["ports"]]


def test_autoscaler__scales_what_is_there(documents: Sequence[Document]) -> None:
    """It names the Deployment, which then sets no number of its own, and that has a CPU request."""
    for scaler in of_kind(documents, "HorizontalPodAutoscaler"):
        name = scaler["spec"]["scaleTargetRef"]["name"]
        (target,) = [d for d in of_kind(documents, "Deployment") if d["metadata"]["name"] == name]
        (container,) = target["spec"]["template"]["spec"]["containers"]

        assert "replicas" not in target["spec"]
        assert "cpu" in container["resources"]["requests"]


def test_monitor__finds_the_admin_port_under_the_name_of_the_alerts(
    documents: Sequence[Document],
) -> None:
    """One Service is chosen, its port leads to the admin port, and the job is `regshim`."""
    for monitor in of_kind(documents, "ServiceMonitor"):
        spec = monitor["spec"]
        (service,) = selected(spec["selector"]["matchLabels"], of_kind(documents, "Service"))
        (pod,) = selected(service["spec"]["selector"], pod_templates(documents))
        (endpoint,) = spec["endpoints"]
        (port,) = [p for p in service["spec"]["ports"] if p["name"] == endpoint["port"]]

        assert 5001 == port_names(pod)[port["targetPort"]]
        assert "/metrics" == endpoint["path"]
        assert "regshim" == service["metadata"]["labels"][spec["jobLabel"]]


def test_services__keep_the_admin_port_apart(documents: Sequence[Document]) -> None:
    """The Service that clients use has no admin port, so that no load balancer shows it."""
    for service in of_kind(documents, "Service"):
        targets = {port["targetPort"] for port in service["spec"]["ports"]}

        assert targets in ({"registry"}, {"admin"}, {"valkey"})
        if targets == {"admin"}:
            assert "ClusterIP" == service["spec"].get("type", "ClusterIP")


def test_affinity__only_without_a_shared_store(documents: Sequence[Document]) -> None:
    """A translated digest is known to one replica alone, unless all share a store."""
    for pod, container in proxies(documents):
        shared = (_config(documents, pod, container).cache.store or "").startswith("redis")
        found = [
            service["spec"]["sessionAffinity"]
            for service in of_kind(documents, "Service")
            if any(port["targetPort"] == "registry" for port in service["spec"]["ports"])
        ]

        assert found in ([], ["None" if shared else "ClientIP"])


@pytest.mark.parametrize("variant", ["replicas", "helm-everything"])
def test_replicas__share_store_and_key(variant: str, tmp_path: Path) -> None:
    """All replicas read one key, from a Secret that nothing here holds, and one redis."""
    documents = _render(variant, tmp_path)
    ((pod, container),) = proxies(documents)
    config = _config(documents, pod, container)
    (secret,) = [
        volume["secret"]["secretName"]
        for volume in pod["spec"]["volumes"]
        if volume["name"] == "signing-key"
    ]

    assert (config.cache.store or "").startswith("redis://")
    assert Path("/etc/regshim-key/signing-key.pem") == config.translate.signing_key_file
    assert "regshim-signing-key" == secret
    assert [] == of_kind(documents, "Secret")


def test_replicas__policy_lets_them_reach_their_store() -> None:
    """Egress to the port that the config names, and the store lets them in."""
    documents = kustomized("overlays/replicas")
    policies = {d["metadata"]["name"]: d["spec"] for d in of_kind(documents, "NetworkPolicy")}
    base = the(kustomized("base"), "NetworkPolicy")["spec"]
    *kept, added = policies["regshim"]["egress"]

    assert base["egress"] == kept
    assert [{"port": 6379, "protocol": "TCP"}] == added["ports"]
    assert policies["regshim-valkey"]["podSelector"] == added["to"][0]["podSelector"]
    (rule,) = policies["regshim-valkey"]["ingress"]
    assert policies["regshim"]["podSelector"] == rule["from"][0]["podSelector"]


async def test_replicas__full_store_keeps_the_inventory(redis_server: Peer) -> None:
    """Where the store is full translations go, not the list of who needs the proxy."""
    (store,) = of_kind(kustomized("overlays/replicas"), "StatefulSet")
    args: list[str] = store["spec"]["template"]["spec"]["containers"][0]["args"]
    policy = args[args.index("--maxmemory-policy") + 1]
    url, kept = f"redis://{redis_server.address}/0", Inventory().retention
    client, plain = connect(url, timeout=5), redis.asyncio.Redis.from_url(url)
    archive = RedisArchive(connect(url, timeout=5), retention=kept, max_entries=100)
    entries = RedisEntries(client, ttl=int(Cache().store_ttl))
    listed = [entry_of(f"10.0.0.{number}", at=time.time()) for number in range(20)]
    await archive.add(listed)
    await plain.config_set("maxmemory-policy", policy)
    await plain.config_set("maxmemory", (await plain.info("memory"))["used_memory"] + (4 << 20))
    for start in range(0, 2000, 100):
        await entries.put({f"{start + number}": b"x" * 8000 for number in range(100)})
    evicted = (await plain.info("stats"))["evicted_keys"]
    found = await archive.read(0)
    for one in (archive, entries, plain):
        await (one.aclose() if isinstance(one, redis.asyncio.Redis) else one.close())

    assert evicted > 100
    assert {entry.key for entry in listed} == {entry.key for entry in found}


def test_sidecar__is_up_before_the_workload_and_leaves_it_as_it_was() -> None:
    """A native sidecar: kept running, waited for, and the workload's own container untouched."""
    documents = kustomized("overlays/sidecar")
    ((pod, container),) = proxies(documents)
    (workload,) = pod["spec"]["containers"]

    assert [container] == pod["spec"]["initContainers"]
    assert "Always" == container["restartPolicy"]
    assert "startupProbe" in container
    assert "engine" == workload["name"]
    assert "volumeMounts" not in workload
