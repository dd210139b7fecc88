"""Questions to ask of Kubernetes resources, whoever rendered them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.deploy.programs import Document

# Not Kubernetes' own: their schemas are the Prometheus Operator's, which is not here.
CUSTOM = frozenset({"PrometheusRule", "ServiceMonitor"})


def of_kind(documents: Iterable[Document], *kinds: str) -> list[Document]:
    """Return the resources of these kinds."""
    return [document for document in documents if document["kind"] in kinds]


def the(documents: Iterable[Document], kind: str) -> Document:
    """Return the one resource of this kind."""
    (document,) = of_kind(documents, kind)
    return document


def pod_templates(documents: Iterable[Document]) -> list[Document]:
    """Return the pods that are made, as (metadata, spec)."""
    return [d["spec"]["template"] for d in of_kind(documents, "Deployment", "StatefulSet")]


def containers(pod: Document) -> list[Document]:
    """Return the containers of a pod, those that start before the others first."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def proxies(documents: Iterable[Document]) -> Iterator[tuple[Document, Document]]:
    """Yield (pod, container) wherever the proxy runs."""
    for pod in pod_templates(documents):
        for container in containers(pod):
            if container["name"] == "regshim":
                yield pod, container


def security(pod: Document, container: Document) -> dict[str, Any]:
    """Return what holds for a container: its own settings over the pod's."""
    return {**pod["spec"].get("securityContext", {}), **container.get("securityContext", {})}


def port_names(pod: Document) -> dict[str, int]:
    """Return the named ports of a pod."""
    return {
        port["name"]: port["containerPort"]
        for container in containers(pod)
        for port in container.get("ports", [])
    }


def selected(labels: Mapping[str, str], of: Iterable[Document]) -> list[Document]:
    """Return those that a selector chooses; one that is empty chooses all."""
    return [
        each
        for each in of
        if labels.items() <= each["metadata"].get("labels", {}).items()  # as Kubernetes does
    ]


def variables(container: Document) -> dict[str, Any]:
    """Return the environment of a container by name."""
    return {variable["name"]: variable for variable in container.get("env", [])}
