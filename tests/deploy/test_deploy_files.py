"""The files of deploy/: each is checked by its own tool where there is one, and by the program.

Every environment that a container or a service gives to the program is read as the program reads
it, so that a misspelled variable fails here and not at somebody's first start.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from bridge.app.serve_role import serve_settings
from bridge.config.settings import Settings, load, read_settings
from tests.deploy.chart import render

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"
CHART: Final = DEPLOY / "helm" / "room-actors"
COMPOSE: Final = ("compose.yml", "compose-cluster.yml")
WORKER: Final = re.compile(r"worker(-\d)?")
ALL_ON: Final = {"serviceMonitor": {"enabled": True}, "alerts": {"enabled": True}}

SECRETS: Final = {
    "LIVEKIT_KEY_FILE": "devkey: a-long-secret-word-of-livekit\n",
    "ROOM_ACTORS_DATABASE_URL_FILE": "postgresql://room_actors:word@postgres/room_actors\n",
}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text())


def settings(environment: Mapping[str, str], tmp_path: Path) -> Settings:
    """What the program makes of these variables; its secrets are files that have something."""
    return load({}, with_files(environment, tmp_path))


def serve_of(environment: Mapping[str, str], tmp_path: Path) -> Settings:
    """The same of `serve`."""
    return serve_settings(read_settings({}, with_files(environment, tmp_path)))


def with_files(environment: Mapping[str, str], tmp_path: Path) -> dict[str, str]:
    ours = dict(environment)
    for name in environment:
        if name.endswith("_FILE"):
            path = tmp_path / name
            path.write_text(SECRETS.get(name, "a-long-secret-word"))
            path.chmod(0o600)
            ours[name] = str(path)
    return ours


# ---------------------------------------------------------------- the image


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    ran = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout.decode()) == (0, "")


def variables_of_image() -> dict[str, str]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return dict(re.findall(r"(ROOM_ACTORS_\w+)=(\S+)", text))


def test_the_image_runs_as_a_user_without_rights_and_its_address_wants_a_token(
    tmp_path: Path,
) -> None:
    last = (DEPLOY / "Dockerfile").read_text().split("FROM ")[-1]
    assert "USER 1000:1000" in last
    assert 'CMD ["room-actors", "health"]' in last
    keys = {"LIVEKIT_KEY_FILE": "", "ROOM_ACTORS_HTTP_TOKEN_FILE": ""}
    ours = settings({**variables_of_image(), **keys}, tmp_path)
    assert ours.http is not None
    assert not ours.http.loopback


# ---------------------------------------------------------------- compose


@pytest.mark.parametrize("name", COMPOSE)
def test_the_workers_of_a_compose_file_are_set_right_and_have_no_rights(
    name: str, tmp_path: Path
) -> None:
    file = read(name)
    workers = {one: file["services"][one] for one in file["services"] if WORKER.fullmatch(one)}
    assert len(workers) == (2 if "cluster" in name else 1)
    data = set[str]()
    for service in workers.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        environment = {key: str(value) for key, value in service["environment"].items()}
        ours = settings({**variables_of_image(), **filled(environment)}, tmp_path)
        assert str(ours.data_dir) == "/data"
        assert (ours.database_url is not None) == ("cluster" in name)
        data |= {one for one in service["volumes"] if one.endswith(":/data")}
    assert len(data) == len(workers), "each has its own sessions"


def test_what_serves_the_cluster_needs_no_key_of_livekit(tmp_path: Path) -> None:
    serve = read("compose-cluster.yml")["services"]["serve"]
    assert serve["command"] == ["serve"]
    assert serve_of({**variables_of_image(), **serve["environment"]}, tmp_path).http is not None


def filled(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of `example.env` in their places."""
    example = (DEPLOY / "example.env").read_text()
    known = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    pattern = r"\$\{(\w+):\?\}"
    return {
        key: re.sub(pattern, lambda match: known[match[1]] or "something", value)
        for key, value in environment.items()
    }


@pytest.mark.parametrize("name", COMPOSE)
def test_every_file_volume_secret_and_service_that_a_compose_file_names_is_there(
    name: str,
) -> None:
    file = read(name)
    for service in file["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            there = (DEPLOY / source).exists() if source.startswith(".") else True
            assert there, source
            assert source.startswith(".") or source in file["volumes"]
        assert set(service.get("secrets", ())) <= set(file["secrets"])
        assert set(service.get("depends_on", ())) <= set(file["services"])
        image, _, tag = service["image"].rpartition(":")
        assert image, f"{tag} has no version"
        environment = json.dumps(service.get("environment", {}))
        assert "SECRET" not in environment, "secrets are in files, not in the environment"
    filled({"all": (DEPLOY / name).read_text()})


def test_livekit_of_the_cluster_sends_webhooks_to_each_worker_and_asks_each_node() -> None:
    file = read("compose-cluster.yml")
    config = yaml.safe_load(file["services"]["livekit"]["environment"]["LIVEKIT_CONFIG"])
    workers = [one for one in file["services"] if WORKER.fullmatch(one)]
    assert config["webhook"]["urls"] == [f"http://{one}:8088/livekit/webhook" for one in workers]
    assert config["api"]["enable_psrpc_for_get_list_participants"]
    valkey = file["services"]["valkey"]["command"]
    assert valkey[valkey.index("--appendonly") + 1] == "yes"


@pytest.mark.parametrize("name", sorted(DEPLOY.glob("prometheus*.yml")), ids=lambda path: path.name)
def test_prometheus_has_the_job_that_the_rules_name_and_the_targets_are_there(name: Path) -> None:
    config = yaml.safe_load(name.read_text())
    (job,) = config["scrape_configs"]
    assert f'job="{job["job_name"]}"' in (DEPLOY / "alerts.yml").read_text()
    assert [(DEPLOY / one).exists() for one in config["rule_files"]] == [True]
    assert config["global"]["scrape_interval"] == "15s"
    assert ("authorization" in job) == (name.name != "prometheus.yml")
    mounted = {
        f"{volume.split(':')[0].removeprefix('./')}": file
        for file in map(read, COMPOSE)
        for volume in file["services"]["prometheus"]["volumes"]
    }
    for target in job["static_configs"][0]["targets"]:
        host = target.partition(":")[0]
        assert host == "127.0.0.1" or host in mounted[name.name]["services"]
    promtool = shutil.which("promtool")
    if promtool is not None:
        command = [promtool, "check", "config", "--syntax-only", name]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_grafana_gets_the_dashboard_and_its_source() -> None:
    source = read("grafana/datasources/prometheus.yml")["datasources"][0]
    assert source["type"] == "prometheus"
    folder = read("grafana/dashboards/room-actors.yml")["providers"][0]["options"]["path"]
    for name in COMPOSE:
        file = read(name)["services"]
        assert source["url"] == "http://prometheus:9090"
        assert "prometheus" in file
        volumes = file["grafana"]["volumes"]
        assert f"./grafana.json:{folder}/room-actors.json:ro" in volumes


# ---------------------------------------------------------------- systemd


def test_systemd_accepts_the_unit_where_systemd_is(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    unit = tmp_path / "room-actors.service"
    text = (DEPLOY / "room-actors.service").read_text()
    unit.write_text(text.replace("/opt/room-actors/bin/room-actors", "/bin/true"))
    for command in (["verify", "--man=no"], ["security", "--offline=yes", "--threshold=20"]):
        ran = subprocess.run([analyze, *command, unit], capture_output=True, check=False)
        output = (ran.stdout + ran.stderr).decode()
        assert ran.returncode == 0, output
        assert "room-actors.service:" not in output.replace("level for room-actors.service:", "")


def test_the_variables_of_the_unit_are_the_programs(tmp_path: Path) -> None:
    text = (DEPLOY / "room-actors.service").read_text()
    environment = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
    ours = settings(
        {**environment, "LIVEKIT_API_KEY": "devkey", "ROOM_ACTORS_DATA_DIR": str(tmp_path)},
        tmp_path,
    )
    assert ours.api_secret == "a-long-secret-word"
    assert environment["ROOM_ACTORS_DATA_DIR"] == "%S/room-actors"


# ---------------------------------------------------------------- Helm


def test_kubernetes_accepts_the_manifests_of_the_chart() -> None:
    values = {**ALL_ON, "storage": {"className": "fast"}, "serve": {"replicas": 2}}
    manifests = render(CHART, "rooms", {**values, "database": {"urlKey": "url"}})
    kinds = [one["kind"] for one in manifests]
    assert sorted(kinds) == [
        "Deployment", "PodDisruptionBudget", "PrometheusRule", "Service", "Service", "Service",
        "ServiceMonitor", "StatefulSet",
    ]  # fmt: skip
    for manifest in manifests:
        if not manifest["apiVersion"].startswith("monitoring."):
            kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_the_worker_of_the_chart_is_set_right_and_its_secrets_are_references(
    tmp_path: Path,
) -> None:
    values = {"settings": {"ROOM_ACTORS_KEEP": "30d"}, "database": {"urlKey": "url"}}
    (pod,) = (
        one["spec"]["template"]["spec"]
        for one in render(CHART, "rooms", values)
        if one["kind"] == "StatefulSet"
    )
    (worker,) = pod["containers"]
    environment = {one["name"]: one.get("value", "devkey") for one in worker["env"]}
    ours = settings({**variables_of_image(), **environment}, tmp_path)
    assert ours.keep == 30 * 86_400
    assert ours.database_url is not None
    folder = next(one["mountPath"] for one in worker["volumeMounts"] if one["name"] == "secrets")
    (secret,) = (one["secret"] for one in pod["volumes"] if one["name"] == "secrets")
    files = {f"{folder}/{item['path']}" for item in secret["items"]}
    assert {value for key, value in environment.items() if key.endswith("_FILE")} == files
    assert worker["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert worker["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert pod["securityContext"]["runAsNonRoot"]
    assert worker["securityContext"]["readOnlyRootFilesystem"]


def test_what_serves_in_kubernetes_is_none_of_the_workers(tmp_path: Path) -> None:
    values = {"serve": {"replicas": 2}, "database": {"urlKey": "url"}}
    manifests = render(CHART, "rooms", values)
    (deployment,) = (one for one in manifests if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["args"] == ["serve"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert serve_of({**variables_of_image(), **environment}, tmp_path).database_url is not None
    selectors = {
        one["metadata"]["name"]: one["spec"]["selector"]
        for one in manifests
        if one["kind"] == "Service"
    }
    labels = pod["metadata"]["labels"].items()
    chosen = [name for name, selector in selectors.items() if selector.items() <= labels]
    assert chosen == ["rooms-serve"]


def test_prometheus_operator_finds_the_workers_and_their_alerts() -> None:
    manifests = render(CHART, "rooms", ALL_ON)
    by_kind = {one["kind"]: one for one in manifests}
    wanted = by_kind["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items()
    services = [one for one in manifests if one["kind"] == "Service"]
    chosen = [one for one in services if wanted <= one["metadata"]["labels"].items()]
    assert [one["metadata"]["name"] for one in chosen] == ["rooms-pods"], "each worker once"
    label = by_kind["ServiceMonitor"]["spec"]["jobLabel"]
    job = chosen[0]["metadata"]["labels"][label]
    assert f'job="{job}"' in (DEPLOY / "alerts.yml").read_text()
    assert by_kind["PrometheusRule"]["spec"] == read("alerts.yml")


def test_the_chart_without_monitoring_has_none_and_helm_agrees_where_it_is() -> None:
    assert "ServiceMonitor" not in [one["kind"] for one in render(CHART, "rooms", {})]
    helm = shutil.which("helm")
    if helm is None:
        return
    on = "serviceMonitor.enabled=true,alerts.enabled=true,serve.replicas=1,database.urlKey=url"
    flags = ["--set", on]
    command = [helm, "template", "rooms", CHART, "--kube-version", "1.30", *flags]
    ran = subprocess.run(command, capture_output=True, check=True, env={"HOME": "/nonexistent"})
    values = {**ALL_ON, "serve": {"replicas": 1}, "database": {"urlKey": "url"}}
    theirs = [one for one in yaml.safe_load_all(ran.stdout) if one]
    assert sorted(theirs, key=name_of) == sorted(render(CHART, "rooms", values), key=name_of)


def name_of(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"
