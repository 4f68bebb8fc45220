"""cluster.yaml against Ray's own schema, and against what this project pins and excludes."""

import re

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.helpers.paths import ROOT


@pytest.fixture
def cluster():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_rays_schema_accepts_it(cluster):
    validate_config(prepare_config(cluster))


def test_rays_schema_would_notice(cluster):
    cluster["head_node_types"] = cluster.pop("head_node_type")
    cluster["cluster_synced_files"] = []
    with pytest.raises(Exception, match="head_node_types"):
        validate_config(cluster)


def test_the_image_has_the_ray_that_is_tested(cluster):
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M).group(1)
    assert f"ray:{pinned}-" in cluster["docker"]["image"]


def test_every_node_has_the_token_and_asks_for_it(cluster):
    assert "-e RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert cluster["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    for node in ("head", "worker"):
        commands = cluster[f"{node}_start_ray_commands"]
        assert "chmod 600 ~/.ray/auth_token" in commands
        (start,) = [command for command in commands if "ray start" in command]
        assert start.startswith("export RAY_AUTH_MODE=token;")


def test_gpu_workers_are_autoscaled_from_none(cluster):
    gpu = cluster["available_node_types"]["gpu"]
    assert gpu["min_workers"] == 0 < gpu["max_workers"] <= cluster["max_workers"]
    assert cluster["head_node_type"] in cluster["available_node_types"]
