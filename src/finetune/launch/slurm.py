"""A Slurm batch script: requeued after a lost machine, and the run goes on where it was."""

from __future__ import annotations

from finetune.errors import AGAIN
from finetune.launch.cluster import RESTARTS, ClusterJob

# Enough for every rank to stop and for the last words to be written.
SECONDS_BEFORE_THE_END = 120
# What a command killed by a signal ends with, as a shell counts it: 128 and the signal.
SIGNALS = 128
# Slurm gives a task one core where nothing is said, whatever its GPUs.
CORES = 4  # of each GPU


def render(job: ClusterJob) -> str:
    """The script for `sbatch`, to be called where the recipe lies, on shared storage."""
    gpus = f"#SBATCH --gpus-per-node={job.gpus}\n" if job.gpus else ""
    return f"""\
#!/bin/bash
# {job.written_by}
# sbatch THIS_FILE, from the folder of the recipe, which all machines see; runs lie below it.
# What your site asks for beside (--partition, --account, --time, --mem) goes before THIS_FILE.
#SBATCH --job-name={job.name}
#SBATCH --nodes={job.nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={CORES * max(job.gpus, 1)}
{gpus}#SBATCH --output=slurm-%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@{SECONDS_BEFORE_THE_END}
set -uo pipefail

# Slurm itself requeues the job when a machine is lost. Whoever comes back finds what is done,
# and goes on from the last whole checkpoint.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK  # since Slurm 22.05 srun does not take it over

srun --kill-on-bad-exit=1 {job.command()}
code=$?

# {AGAIN}: a process or machine went away; {SIGNALS} and more: time is up, or a process was killed.
# A mistake in the recipe ends with 1.
if [ "$code" -eq {AGAIN} ] || [ "$code" -ge {SIGNALS} ]; then
    [ "${{SLURM_RESTART_COUNT:-0}}" -ge {RESTARTS} ] || scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""
