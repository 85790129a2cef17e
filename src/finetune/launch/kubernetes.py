"""A TrainJob of Kubeflow Trainer (v2) with the runtime that restarts it."""

from __future__ import annotations

from typing import Any

import yaml

from finetune.errors import FinetuneError
from finetune.launch.cluster import RESTARTS, WORKSPACE, ClusterJob

GROUP = "trainer.kubeflow.org"
API = f"{GROUP}/v1alpha1"
LABEL = f"{GROUP}/framework"
# By these names the trainer's controller finds the containers that it puts into place.
STEP = f"{GROUP}/trainjob-ancestor-step"
NODE = "node"

MISTAKE = {
    "action": "FailJob",
    "onExitCodes": {"containerName": NODE, "operator": "In", "values": [1, 2]},
}
NOT_AGAIN = {
    "name": "mistake",
    "action": "FailJobSet",
    "onJobFailureReasons": ["PodFailurePolicy"],
}

HEAD = """\
# {written_by}
# kubectl apply -f THIS_FILE
# The claim '{storage}' has to be one that all machines may write to (ReadWriteMany). It holds the
# recipe, and the runs: a job that is restarted finds what is done and goes on from the last whole
# checkpoint. A mistake in the recipe ends with 1 and is not tried again.
"""


def render(job: ClusterJob) -> str:
    """Both objects as YAML.

    Raises:
        FinetuneError: no image is named.
    """
    if not job.image:
        raise FinetuneError(
            "a job of Kubernetes needs an image with finetune in it",
            where="--image",
            remedy="Build one (FROM python:3.12, and finetune installed in it) and name it "
            "with --image.",
        )
    head = HEAD.format(written_by=job.written_by, storage=job.storage)
    return head + yaml.safe_dump_all([_runtime(job), _train_job(job)], sort_keys=False)


def _runtime(job: ClusterJob) -> dict[str, Any]:
    """How machines are set up; a TrainJob itself has no word for restarts."""
    container = {
        "name": NODE,
        "image": job.image,
        "workingDir": WORKSPACE,
        "env": [{"name": "HF_HOME", "value": f"{WORKSPACE}/.cache/huggingface"}],
        "volumeMounts": [
            {"name": "workspace", "mountPath": WORKSPACE},
            {"name": "memory", "mountPath": "/dev/shm"},  # NCCL meets there
        ],
    }
    volumes = [
        {"name": "workspace", "persistentVolumeClaim": {"claimName": job.storage}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]
    pods = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
    node = {
        "name": NODE,
        "template": {
            "metadata": {"labels": {STEP: "trainer"}},
            "spec": {
                "backoffLimit": 0,
                "podFailurePolicy": {"rules": [MISTAKE]},
                "template": {"spec": pods},
            },
        },
    }
    failure = {"maxRestarts": RESTARTS, "rules": [NOT_AGAIN]}
    jobs = {"failurePolicy": failure, "replicatedJobs": [node]}
    return {
        "apiVersion": API,
        "kind": "TrainingRuntime",
        "metadata": {"name": job.name, "labels": {LABEL: "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": job.nodes, "torch": {}},
            "template": {"spec": jobs},
        },
    }


def _train_job(job: ClusterJob) -> dict[str, Any]:
    trainer: dict[str, Any] = {
        "command": job.words(),
        "numNodes": job.nodes,
        "numProcPerNode": max(job.gpus, 1),
    }
    if job.gpus:
        trainer["resourcesPerNode"] = {"limits": {"nvidia.com/gpu": str(job.gpus)}}
    return {
        "apiVersion": API,
        "kind": "TrainJob",
        "metadata": {"name": job.name},
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": job.name},
            "trainer": trainer,
        },
    }
