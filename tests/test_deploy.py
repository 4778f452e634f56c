"""What `deploy/` says must fit the service: its settings, its paths, its times."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from actor_queue.app import secret_files
from actor_queue.core.settings import Settings, parse, refusals_to_serve
from actor_queue.core.variables import BY_NAME
from actor_queue.http.openapi import document

DEPLOY = Path(__file__).parent.parent / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
PAGES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
YAML_PAGES = [path for path in PAGES if path.suffix == ".yaml"]

VARIABLE = re.compile(r"\b(?:AQ|REDIS|WEBHOOK)_[A-Z_]+\b")
FILES = {secret_files.name_of_file(secret) for secret in secret_files.SECRETS}
DEFAULTED = re.compile(r"\$\{\w+:-([^}]*)\}")
SECRETS = {
    "REDIS_URL": "redis://redis:6379",
    "WEBHOOK_URL": "https://bot.example/webhook",
    "AQ_API_KEYS": "ingest:a1,admin:b1",
}
STOP_MARGIN_S = 15
"""What a stop may take beyond an attempt: requests under way, and the hand-over."""


def name_of(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def load(path: Path) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: deploy/*.yaml is not read")
    return yaml.safe_load(path.read_text())


def settings_of(variables: dict[str, str]) -> Settings:
    """With secrets where the manifests only say from where they come, and compose's defaults."""
    plain = {name: DEFAULTED.sub(r"\1", text) for name, text in variables.items()}
    return parse({**plain, **SECRETS})


def paths_served() -> set[str]:
    return set(document(Settings())["paths"])


# Names


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_variable_that_is_named_exists(path: Path) -> None:
    # `AQ_PORT` is what Kubernetes would set for a Service called `aq`.
    named = set(VARIABLE.findall(path.read_text())) - {"AQ_PORT"}
    assert named <= set(BY_NAME) | FILES


@pytest.mark.parametrize("path", YAML_PAGES, ids=name_of)
def test_every_yaml_file_can_be_read(path: Path) -> None:
    assert isinstance(load(path), dict)


def test_the_panels_note_keeps_the_names_and_the_address_of_old() -> None:
    text = (DEPLOY / "easypanel.md").read_text()
    for name in ("REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "WEBHOOK_URL"):
        assert name in text
    assert "AQ_ROOT_PATH=/redis-api" in text
    assert "https://$(PRIMARY_DOMAIN)/redis-api/api/message" in text
    assert "/api/message" in paths_served()


# Compose


def compose() -> Any:
    return load(DEPLOY / "compose.yaml")["services"]


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text.removesuffix("s"))


def test_compose_starts_a_service_that_accepts_its_settings() -> None:
    settings = settings_of(compose()["actor-queue"]["environment"])
    assert refusals_to_serve(settings) == []
    assert not settings.loopback_only
    assert compose()["actor-queue"]["deploy"]["replicas"] == 2


def test_compose_starts_an_edge_that_accepts_its_settings_and_needs_no_receiver() -> None:
    described = compose()["edge"]
    plain = {name: DEFAULTED.sub(r"\1", text) for name, text in described["environment"].items()}
    settings = parse({**plain, "AQ_API_KEYS": SECRETS["AQ_API_KEYS"]}, serving="edge")
    assert described["command"] == ["edge"]
    assert (settings.webhook_url, settings.loopback_only) == (None, False)
    replicas = settings_of(compose()["actor-queue"]["environment"])
    assert (settings.redis_url, settings.shards) == (plain["REDIS_URL"], replicas.shards)
    assert described["ports"] == [f"127.0.0.1:8001:{settings.port}"]


def test_compose_leaves_time_for_the_attempts_under_way() -> None:
    service = compose()["actor-queue"]
    settings = settings_of(service["environment"])
    needed_s = settings.webhook_timeout_ms / 1_000 + STOP_MARGIN_S
    assert seconds(service["stop_grace_period"]) >= needed_s


def test_compose_keeps_messages_over_a_restart_and_never_evicts_one() -> None:
    store = compose()["valkey"]
    command = " ".join(store["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert any(volume.endswith(":/data") for volume in store["volumes"])


def test_compose_asks_every_service_how_it_is() -> None:
    for service in compose().values():
        assert service["healthcheck"]["test"][0] == "CMD"
    test = " ".join(compose()["actor-queue"]["healthcheck"]["test"])
    port = settings_of(compose()["actor-queue"]["environment"]).port
    (path,) = re.findall(rf"127\.0\.0\.1:{port}(/\w+)", test)
    assert path in paths_served()


def test_the_balancer_asks_who_is_ready_and_knows_where_they_listen() -> None:
    text = (DEPLOY / "haproxy.cfg").read_text()
    (path,) = re.findall(r"httpchk GET (\S+)", text)
    assert path == "/readyz"
    assert path in paths_served()
    port = settings_of(compose()["actor-queue"]["environment"]).port
    assert re.search(rf"server-template .* actor-queue:{port}\n", text)


def test_the_files_that_compose_mounts_are_there() -> None:
    for service in compose().values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).is_file()
    assert (DEPLOY / compose()["actor-queue"]["build"]["context"] / "Dockerfile").is_file()


def test_compose_itself_accepts_the_file() -> None:
    docker = shutil.which("docker")
    version = [docker or "docker", "compose", "version"]
    if docker is None or subprocess.run(version, capture_output=True, check=False).returncode != 0:
        pytest.skip("no docker with compose on PATH")
    environment = {"PATH": str(Path(docker).parent), "AQ_API_KEYS": SECRETS["AQ_API_KEYS"]}
    command = [docker, "compose", "--file", DEPLOY / "compose.yaml", "config", "--quiet"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


# Kubernetes


def pod() -> Any:
    return load(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]


def container() -> Any:
    (only,) = pod()["containers"]
    return only


def config_map() -> dict[str, str]:
    (generator,) = load(KUBERNETES / "kustomization.yaml")["configMapGenerator"]
    return dict(line.split("=", 1) for line in generator["literals"])


def test_kubernetes_starts_a_service_that_accepts_its_settings() -> None:
    settings = settings_of(config_map())
    assert refusals_to_serve(settings) == []
    (port,) = container()["ports"]
    assert (settings.host, settings.port) == ("0.0.0.0", port["containerPort"])


def test_kubernetes_takes_secrets_from_the_secret_only() -> None:
    secret = {name for name, variable in BY_NAME.items() if variable.secret}
    assert not secret & set(config_map())
    for variable in container()["env"]:
        reference = variable["valueFrom"]["secretKeyRef"]
        assert reference["key"] == variable["name"]
        assert variable["name"] in secret
        assert reference.get("optional", False) == (variable["name"] not in SECRETS)


@pytest.mark.parametrize(
    ("probe", "path"),
    [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")],
)
def test_probes_ask_at_paths_that_exist(probe: str, path: str) -> None:
    asked = container()[probe]["httpGet"]
    assert asked["path"] == path
    assert path in paths_served()
    assert asked["port"] == container()["ports"][0]["name"]


def test_kubernetes_leaves_time_for_the_attempts_under_way() -> None:
    word, pause = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert word == "sleep"
    timeout_s = settings_of(config_map()).webhook_timeout_ms / 1_000
    needed_s = int(pause) + timeout_s + STOP_MARGIN_S
    assert pod()["terminationGracePeriodSeconds"] >= needed_s


def test_a_replica_is_replaced_only_when_the_one_before_it_has_settled() -> None:
    spec = load(KUBERNETES / "deployment.yaml")["spec"]
    assert spec["minReadySeconds"] * 1_000 >= settings_of(config_map()).lease_ttl_ms
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert load(KUBERNETES / "disruption.yaml")["spec"]["maxUnavailable"] < spec["replicas"]


def test_the_pod_may_do_nothing_that_it_need_not() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    rights = container()["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert pod()["automountServiceAccountToken"] is False
    dockerfile = (DEPLOY.parent / "Dockerfile").read_text()
    assert f"USER {pod()['securityContext']['runAsUser']}\n" in dockerfile


def test_no_service_in_the_namespace_can_name_a_setting() -> None:
    assert pod()["enableServiceLinks"] is False


def test_everything_selects_the_pods_of_the_deployment() -> None:
    deployment = load(KUBERNETES / "deployment.yaml")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert load(KUBERNETES / "service.yaml")["spec"]["selector"] == labels
    # A budget without a selector would hold for every pod of the namespace.
    assert load(KUBERNETES / "disruption.yaml")["spec"]["selector"]["matchLabels"] == labels
    for constraint in pod()["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == labels


def test_kustomize_knows_every_manifest() -> None:
    resources = load(KUBERNETES / "kustomization.yaml")["resources"]
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(resources) == files


# The sample receiver


def test_the_sample_receiver_tells_ids_and_never_what_people_wrote() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, DEPLOY / "receiver.py"],
        env={"PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"listening on port {port}\n"
            for number in (1, 2, 1):
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/hook?token=hush",
                    data=b'{"messages": ["hush"]}',
                    headers={"webhook-id": f"b{number}"},
                )
                with urllib.request.urlopen(request, timeout=5) as answer:
                    assert answer.status == 204
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=10)
            assert rest == "'b1'\n'b2'\nagain 'b1'\n"
            assert process.returncode == 0
        finally:
            process.kill()
