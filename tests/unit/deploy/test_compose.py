"""The compose file and the image: pinned, healthy, unprivileged, without secrets, and about this repository."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from decisions.settings import PREFIX
from decisions.shipped import BUNDLES
from edge.settings import EdgeSettings
from edge.shops import load_shops
from models.bundle.bundle import Bundle
from tests.services.process import free_port, wait_for
from worker.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
OWN = {name for name, service in SERVICES.items() if service["image"] == "clickstage:local"}
ONE_SHOT = {"topics", "edge-keys"}
MINIMAL_IMAGES = {"truth-exporter"}  # has no shell to probe itself with; Prometheus sees it

KNOWN_KEYS = {
    "build", "cap_drop", "command", "depends_on", "deploy", "entrypoint", "environment", "expose", "healthcheck",
    "hostname", "image", "init", "logging", "ports", "profiles", "read_only", "restart", "security_opt",
    "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip


def every(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(name, sorted(SERVICES))


def test_the_parts_of_the_issue_are_there() -> None:
    parts = {"kafka", "redis", "topics", "worker", "edge", "shoppers", "prometheus", "alertmanager", "grafana"}
    assert parts <= set(SERVICES)
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert all("profiles" not in service for service in SERVICES.values()), "what is there is started"


@every("name")
def test_a_service_has_only_keys_of_the_compose_specification(name: str) -> None:
    assert set(SERVICES[name]) <= KNOWN_KEYS


@every("name")
def test_an_image_is_pinned(name: str) -> None:
    image, _, version = SERVICES[name]["image"].partition(":")
    tag, at, digest = version.partition("@")
    assert "/" not in image.split("/", 1)[0] or "." not in image.split("/", 1)[0], "no registry host"
    assert tag == "local" if name in OWN else re.fullmatch(r"v?\d+\.\d+\.\d+(-[\w-]+)?", tag)
    assert (not at) if name in OWN else re.fullmatch(r"sha256:[0-9a-f]{64}", digest)


@every("name")
def test_a_service_restarts_and_its_log_is_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    assert service["logging"]["options"]["max-size"]


@every("name")
def test_a_service_is_probed(name: str) -> None:
    service = SERVICES[name]
    probed = "healthcheck" in service or (name in OWN and "HEALTHCHECK" in DOCKERFILE)
    assert probed or name in ONE_SHOT | MINIMAL_IMAGES


@every("name")
def test_ports_are_published_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@every("name")
def test_what_it_waits_for_exists_and_can_become_so(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert how["condition"] == "service_completed_successfully"
            assert other in ONE_SHOT


@every("name")
def test_mounted_files_are_in_the_repository_and_named_volumes_are_declared(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, _, target = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert target.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


def test_there_is_no_secret() -> None:
    text = (ROOT / "docker-compose.yml").read_text() + DOCKERFILE + (ROOT / "deploy/redis/redis.conf").read_text()
    for line in text.splitlines():
        setting = line.split("#", 1)[0]
        assert not re.search(r"(password|passwd|secret|token|requirepass)\s*[:=]?\s*\S", setting, re.IGNORECASE), line


@pytest.mark.parametrize("name", sorted(OWN))
def test_our_containers_are_unprivileged_and_read_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]  # noqa: S108 - the container's, not ours


@pytest.mark.parametrize("name", sorted(OWN))
def test_our_settings_are_settings(name: str) -> None:
    environment = {k: v for k, v in SERVICES[name]["environment"].items() if k.startswith(PREFIX)}
    model = EdgeSettings if name == "edge" else Settings
    model.load({}, environment)
    assert {variable.removeprefix(PREFIX).lower() for variable in environment} <= set(model.model_fields)


@pytest.mark.parametrize("name", sorted(OWN))
def test_our_commands_are_commands(name: str) -> None:
    from worker.cli import COMMANDS

    assert SERVICES[name]["command"][0] in COMMANDS


def test_the_metrics_port_is_one_number_everywhere() -> None:
    port = str(Settings.model_fields["metrics_port"].default)
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    (worker,) = (job for job in scrape if job["job_name"] == "clickstage")
    assert str(worker["dns_sd_configs"][0]["port"]) == port
    assert worker["dns_sd_configs"][0]["names"] == ["worker"]
    assert SERVICES["worker"]["expose"] == [port]
    assert f"EXPOSE {port}" in DOCKERFILE
    assert f"127.0.0.1:{port}/live" in DOCKERFILE


def test_there_are_partitions_for_every_worker() -> None:
    assert int(SERVICES["topics"]["environment"]["PARTITIONS"]) >= SERVICES["worker"]["deploy"]["replicas"]


def test_redis_may_not_evict_and_keeps_a_log() -> None:
    lines = [line.split() for line in (ROOT / "deploy/redis/redis.conf").read_text().splitlines() if line[:1].isalpha()]
    config = {words[0]: words[1:] for words in lines}
    assert config["maxmemory-policy"] == ["noeviction"]
    assert config["appendonly"] == ["yes"]


def test_the_image_has_two_stages_and_an_unprivileged_user() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(stages) == 2
    assert all(re.search(r":\d+\.\d+\.\d+-", stage) for stage in stages)
    runtime = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", runtime, re.MULTILINE)
    assert "pip install" not in runtime
    assert "--require-hashes" in DOCKERFILE
    assert re.search(r'^ENTRYPOINT \["', runtime, re.MULTILINE)


def test_what_the_image_copies_is_let_through_to_the_builder() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert source in allowed, source
            assert (ROOT / source).exists(), source


@pytest.mark.parametrize(
    "script", ["deploy/entrypoint.sh", "deploy/kafka/create-topics.sh", "deploy/edge/make-keys.sh"]
)
def test_a_script_is_executable_and_parses(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0


def test_topics_are_made_as_the_design_says(tmp_path: Path) -> None:
    said = tmp_path / "said"
    fake = tmp_path / "kafka-topics.sh"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    fake.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "TOPICS": str(fake), "KAFKA": "k:1", "PARTITIONS": "6", "REPLICAS": "3"}
    environment["TIMESTAMPS"] = "LogAppendTime"
    subprocess.run(["sh", str(ROOT / "deploy/kafka/create-topics.sh")], env=environment, check=True)
    made = {re.search(r"--topic (\S+) --partitions (\d+)", line)[0] for line in said.read_text().splitlines()}  # type: ignore[index]
    assert made == {
        "--topic clicks --partitions 6",
        "--topic decisions --partitions 6",
        "--topic sessions --partitions 6",
        "--topic clicks.dlq --partitions 3",
        "--topic exposures --partitions 6",
    }
    assert said.read_text().count("min.insync.replicas=2") == 5
    [broker_s] = [line for line in said.read_text().splitlines() if "message.timestamp.type=LogAppendTime" in line]
    assert "--topic clicks " in broker_s, "the other topics keep the times that workers give their records"


@pytest.mark.parametrize("name", sorted(OWN - {"shoppers"}))
def test_policy_and_bundle_can_be_replaced_without_an_image(name: str) -> None:
    """Their folders are mounted, and what the settings name is in them."""
    mounts = [volume.split(":") for volume in SERVICES[name]["volumes"] if volume.startswith(".")]
    for setting in ("CLICKSTAGE_POLICY", "CLICKSTAGE_BUNDLE"):
        named = SERVICES[name]["environment"][setting]
        [source] = [source for source, target, _ in mounts if named.startswith(f"{target}/")]
        assert (ROOT / source).is_dir()
        assert (ROOT / source / Path(named).name).exists()
    assert Path(SERVICES[name]["environment"]["CLICKSTAGE_BUNDLE"]).name == Bundle.find(BUNDLES).name, "the newest"


def test_alerts_come_to_somebody() -> None:
    """Prometheus knows Alertmanager; each of its routes ends at a receiver, and each receiver at a service."""
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    [group] = prometheus["alerting"]["alertmanagers"][0]["static_configs"]
    assert [target.split(":")[0] for target in group["targets"]] == ["alertmanager"]
    config = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    routes = [config["route"], *config["route"]["routes"]]
    assert {route["receiver"] for route in routes} == set(receivers)
    for receiver in receivers.values():
        for hook in receiver["webhook_configs"]:
            host, port = re.findall(r"http://([a-z-]+):(\d+)/", hook["url"])[0]
            assert SERVICES[host]["expose"] == [port]


def test_the_log_of_alerts_prints_a_line_an_alert(tmp_path: Path) -> None:
    """As a process, with what Alertmanager posts."""
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-u", str(ROOT / "deploy/alertmanager/alert_log.py"), str(port)]
        running = subprocess.Popen(command, stdout=log, stderr=log)
    alert = {"status": "firing", "labels": {"alertname": "ClickstageStalled"}, "annotations": {"summary": "All wait"}}

    def posted(body: bytes) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", body, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    try:
        assert wait_for(lambda: posted(json.dumps({"alerts": [alert]}).encode()) == 200, 20)
        assert posted(b"[]") == posted(b"{") == 400
    finally:
        running.kill()
        running.wait()
    assert (tmp_path / "log").read_text() == "page firing ClickstageStalled: All wait\n"


def test_the_edges_keys_are_made_once_and_read_by_an_edge(tmp_path: Path) -> None:
    """A secret of its own on each machine, none in the repository."""
    file = tmp_path / "keys.yaml"
    script = ["sh", str(ROOT / "deploy/edge/make-keys.sh"), str(file)]
    subprocess.run(script, check=True)
    made = file.read_text()
    subprocess.run(script, check=True)
    assert file.read_text() == made
    assert list(load_shops(file).by_key) == ["demo"]


def test_the_home_dashboard_is_mounted() -> None:
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/clickstage.yml").read_text())
    assert home.startswith(provider["providers"][0]["options"]["path"])
    assert json.loads((ROOT / "deploy/grafana/dashboards" / Path(home).name).read_text())["title"]
