"""Several ranks of one run, as `accelerate launch` would start them, forked from this process.

The environment is accelerate's own for the profile, so that the profile is what is tested; the
launcher and its import of torch are not paid for in every test.
"""

import os
import signal
import sys
import time
from contextlib import contextmanager

from tiny_chain import ends

from finetune.launch import profiles


def environment(name):
    """What accelerate sets for the ranks of a profile."""
    from accelerate.commands import launch
    from accelerate.utils import launch as utils

    profile = profiles.find(name)
    words = ["--config_file", str(profile.path), "recipe.yaml"]
    if profile.deepspeed_file:
        words = ["--deepspeed_config_file", str(profile.deepspeed_file), *words]
    parsed = launch.launch_command_parser().parse_args(words)
    parsed, defaults, _ = launch._validate_launch_command(parsed)
    if profile.deepspeed_file is None:
        return utils.prepare_multi_gpu_env(parsed)
    parsed.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
    return utils.prepare_deepspeed_cmd_env(parsed)[1]


def assert_nothing_lives(group):
    """No process of the group is left, given the moment that the system needs to end them."""
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError("a process outlived its run")


class Ranks:
    """Running processes; the store is the launcher's, by which they find each other."""

    def __init__(self, work, log, profile, number=2):
        from torch.distributed import TCPStore

        self.log = log
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        common = environment(profile) | {
            "WORLD_SIZE": str(number),
            "LOCAL_WORLD_SIZE": str(number),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        self.pids = [
            self._fork(work, common | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(number)
        ]

    def _fork(self, work, environment):
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            os.environ.update(environment)
            out = self.log.open("a", buffering=1, encoding="utf-8")
            sys.stdout = sys.stderr = out
            for stream in (1, 2):
                os.dup2(out.fileno(), stream)
            os._exit(work())
        finally:
            os._exit(99)

    def wait(self):
        """Exit codes of all; when one fails the others are stopped, as a launcher does."""
        codes = {}
        while len(codes) < len(self.pids):
            for pid in set(self.pids) - set(codes):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            if any(codes.values()):
                for pid in set(self.pids) - set(codes):
                    os.kill(pid, signal.SIGTERM)
                    codes[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            time.sleep(0.02)
        for pid in self.pids:
            assert_nothing_lives(pid)
        return [codes[pid] for pid in self.pids]


def run_together(arguments, log, profile):
    """Run a command on two ranks; its text."""
    codes = Ranks(lambda: ends(*arguments), log, profile).wait()
    text = log.read_text(encoding="utf-8")
    assert codes == [0, 0], text
    return text


@contextmanager
def killed_at(arguments, log, profile, seen, rank=1, patience=120.0):
    """Kill one rank the moment `seen()` holds, and wait for the end of the others."""
    ranks = Ranks(lambda: ends(*arguments), log, profile)
    deadline = time.monotonic() + patience
    while not seen():
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.005)
    os.kill(ranks.pids[rank], signal.SIGKILL)
    begun = time.monotonic()
    codes = ranks.wait()
    yield codes, time.monotonic() - begun
