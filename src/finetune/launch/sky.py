"""A SkyPilot task: managed, on spot machines, brought back when they are taken away."""

from __future__ import annotations

from typing import Any

import yaml

from finetune.errors import FinetuneError
from finetune.launch.cluster import RESTARTS, WORKSPACE, ClusterJob

HEAD = """\
# {written_by}
# sky jobs launch THIS_FILE, from the folder of the recipe.
# A machine that is lost is replaced; the run finds what is done in the storage '{storage}' and goes
# on from the last whole checkpoint.
"""


def render(job: ClusterJob) -> str:
    """The task as YAML.

    Raises:
        FinetuneError: it is not said how a machine gets finetune.
    """
    if not job.install:
        raise FinetuneError(
            "rented machines are bare: how do they get finetune?",
            where="--install",
            remedy="Name the command, such as --install 'pip install .' from a checkout.",
        )
    head = HEAD.format(written_by=job.written_by, storage=job.storage)
    return head + yaml.dump(_task(job), Dumper=_Dumper, sort_keys=False, width=100)


def _task(job: ClusterJob) -> dict[str, Any]:
    resources: dict[str, Any] = {
        "use_spot": True,
        "job_recovery": {"max_restarts_on_errors": RESTARTS},
    }
    if job.gpus:
        resources = {"accelerators": f"{job.gpu}:{job.gpus}", **resources}
    return {
        "name": job.name,
        "num_nodes": job.nodes,
        "workdir": ".",
        "resources": resources,
        **_storage(job),
        "setup": f"{job.install}\n",
        "run": f"{job.command(f'output_dir={WORKSPACE}/runs/{job.name}')}\n",
    }


def _storage(job: ClusterJob) -> dict[str, Any]:
    """A bucket for one machine; several have to see each other's files at once: a volume."""
    if job.nodes > 1:
        return {"volumes": {WORKSPACE: job.storage}}
    return {"file_mounts": {WORKSPACE: {"name": job.storage, "mode": "MOUNT_CACHED"}}}


class _Dumper(yaml.SafeDumper):
    """Writes commands as blocks, as a person would."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
