"""A SkyPilot task: managed, brought back when a machine is taken away."""

from __future__ import annotations

from typing import Any

import yaml

from finetune.errors import FinetuneError
from finetune.launch.cluster import RESTARTS, WORKSPACE, ClusterJob

HEAD = """\
# {written_by}
# sky jobs launch THIS_FILE, from the folder of the recipe.
# A machine that is lost is replaced; the run finds what is done in the {kind} '{storage}' and goes
# on from the last whole checkpoint.{first}
"""
VOLUME = """
# The volume is one of Kubernetes that many machines may write to (ReadWriteMany): `sky volumes`."""


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
    kind, first = ("volume", VOLUME) if job.nodes > 1 else ("bucket", "")
    head = HEAD.format(written_by=job.written_by, kind=kind, storage=job.storage, first=first)
    return head + yaml.dump(_task(job), Dumper=_Dumper, sort_keys=False, width=100)


def _task(job: ClusterJob) -> dict[str, Any]:
    resources: dict[str, Any] = {"job_recovery": {"max_restarts_on_errors": RESTARTS}}
    if job.nodes == 1:  # several share a volume, which is on Kubernetes, where none is a spot one
        resources = {"use_spot": True, **resources}
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
    """A bucket for one machine; several have to see each other's files at once: a volume.

    SkyPilot 0.14.1 has volumes on Kubernetes and RunPod, and no several machines on RunPod.
    """
    if job.nodes > 1:
        return {"volumes": {WORKSPACE: job.storage}}
    return {"file_mounts": {WORKSPACE: {"name": job.storage, "mode": "MOUNT_CACHED"}}}


class _Dumper(yaml.SafeDumper):
    """Writes commands as blocks, as a person would."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
