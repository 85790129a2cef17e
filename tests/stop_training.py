"""A run that is stopped in the middle of training, as by Ctrl-C."""

from contextlib import contextmanager


@contextmanager
def stop_at(step, monkeypatch):
    """Within it every training stops after this step."""
    from transformers import TrainerCallback

    from finetune.stages import training

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == step:
                raise KeyboardInterrupt

    attach = training.attach

    def attach_and_stop(trainer, *rest):
        attach(trainer, *rest)
        trainer.add_callback(Stop())

    with monkeypatch.context() as patch:
        patch.setattr(training, "attach", attach_and_stop)
        yield
