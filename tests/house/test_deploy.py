"""The manifests under deploy/ are valid Kubernetes, and name commands, settings and ports that exist."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

from headrace.kernel.settings import PREFIX, Settings, load_settings
from headrace.server.process import MODULES
from headrace.serving.gateway.listening import DRAIN_S
from headrace.version import VERSION

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
NEWEST = "1.34"


def documents(*names: str) -> Iterator[dict[str, Any]]:
    for path in sorted(KUBERNETES.glob("*.yaml")):
        if path.name != "kustomization.yaml" and (not names or path.name in names):
            yield from yaml.safe_load_all(path.read_text())


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each container with its pod."""
    for document in documents():
        template = document.get("spec", {}).get("template")
        if template is not None:
            for container in template["spec"]["containers"]:
                yield template["spec"], container


def kustomization() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    return found


def name_of(document: dict[str, Any]) -> str:
    return f"{document['kind']}-{document['metadata']['name']}"


@pytest.mark.parametrize("document", list(documents()), ids=name_of)
def test_every_manifest_is_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, NEWEST, strict=True)


def test_a_manifest_that_is_not_valid_is_found() -> None:
    (service, *_) = (found for found in documents() if found["kind"] == "Service")
    service["spec"]["prots"] = service["spec"].pop("ports")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, NEWEST, strict=True)


def test_the_kustomization_names_every_file_but_the_one_that_is_applied_once() -> None:
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml", "first-admin.yaml"}
    assert set(kustomization()["resources"]) == files
    (image,) = kustomization()["images"]
    assert image["newTag"] == VERSION
    for _, container in containers():
        assert container["image"] in {image["name"], f"{image['newName']}:{image['newTag']}"}


def test_pods_run_with_as_little_as_they_can() -> None:
    found = list(containers())
    assert len(found) == 4
    for pod, container in found:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= set(container["resources"])
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/tmp", "/var/lib/headrace"} <= mounted  # all that is written to
        assert {mount["name"] for mount in container["volumeMounts"]} <= {each["name"] for each in pod["volumes"]}


def test_settings_are_ours_and_can_be_read() -> None:
    known = {f"{PREFIX}{field.name.upper()}" for field in msgspec.structs.fields(Settings)}
    (settings,) = documents("settings.yaml")
    set_here = {name: value for name, value in settings["data"].items() if name.startswith(PREFIX)}
    assert load_settings(set_here).host == "0.0.0.0"
    named = set(set_here) | {
        variable["name"] for _, container in containers() for variable in container.get("env", ())
    }
    assert {name for name in named if name.startswith(PREFIX)} <= known
    text = "".join(path.read_text() for path in KUBERNETES.glob("*.yaml"))
    assert set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", text)) <= known


def test_no_secret_is_written_down() -> None:
    assert not any(document["kind"] == "Secret" for document in documents())
    for _, container in containers():
        for variable in container.get("env", ()):
            assert "TOKEN" not in variable["name"] or "secretKeyRef" in variable["valueFrom"]


def test_commands_are_those_of_the_platforms_processes() -> None:
    kinds = []
    for _, container in containers():
        command = container["command"]
        if command[0] == "headrace":
            continue
        assert command[:4] == ["python", "-P", "-m", "headrace.server.process"]
        assert importlib.util.find_spec(command[3]) is not None
        name = command[4].replace("$(POD_NAME)", "gateway-0")
        kinds.append(name.partition("-")[0])
        ports = [port["containerPort"] for port in container.get("ports", ())]
        assert [int(command[5])] == (ports or [0])
    assert sorted(kinds) == sorted(MODULES)


def test_a_gateway_is_taken_out_before_it_ends_and_has_time_for_it() -> None:
    (gateways,) = (found for found in documents("gateways.yaml") if found["kind"] == "StatefulSet")
    assert gateways["metadata"]["name"] == "gateway"  # its pods are called gateway-0, gateway-1, as their processes
    pod = gateways["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ready = container["readinessProbe"]
    assert ready["httpGet"]["path"] == "/health"
    assert container["livenessProbe"]["httpGet"]["path"] == "/version"  # alive, also when it is not ready
    (settings,) = documents("settings.yaml")
    drain_s = float(settings["data"]["HEADRACE_DRAIN_S"])
    assert drain_s > ready["periodSeconds"] * ready["failureThreshold"]
    assert pod["terminationGracePeriodSeconds"] > drain_s + DRAIN_S


def test_the_autoscaler_and_the_budget_are_for_the_gateways() -> None:
    found = {document["kind"]: document["spec"] for document in documents("gateways.yaml")}
    assert found["HorizontalPodAutoscaler"]["scaleTargetRef"]["name"] == "gateway"
    assert found["HorizontalPodAutoscaler"]["minReplicas"] >= 2
    labels = found["StatefulSet"]["template"]["metadata"]["labels"]
    assert found["PodDisruptionBudget"]["selector"]["matchLabels"] == labels
    assert found["Service"]["selector"] == labels


def test_the_image_runs_as_the_user_of_the_pods_and_installs_what_is_locked() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    (uid,) = {pod["securityContext"]["runAsUser"] for pod, _ in containers()}
    assert f"USER {uid}:{uid}" in text
    for name in re.findall(r"requirements/\S+\.txt", text):
        assert (DEPLOY.parent / name).is_file()
    assert text.count("--require-hashes") == 2
