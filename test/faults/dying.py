"""A plugin that kills its own process when it reaches a place for the n-th time: ``KILL=<place>:<n>``."""

import os
import signal

import torch

from ssltoolkit.model import SSLModel
from ssltoolkit.training.monitor import TrainLog

place, _, count = os.environ.get("KILL", "nowhere:0").partition(":")
left = [int(count)]


def here(where):
    """Kill the process if it has reached ``where`` often enough."""
    if where != place:
        return
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def before(owner, name, where):
    """Call ``here(where)`` before each call."""
    call = getattr(owner, name)

    def passing(*arguments, **keywords):
        here(where)
        return call(*arguments, **keywords)

    setattr(owner, name, passing)


def half_written(content, stream):
    """torch.save that calls ``here("write")`` when half of the file is written."""
    import io

    memory = io.BytesIO()
    save(content, memory)
    data = memory.getvalue()
    stream.write(data[: len(data) // 2])
    stream.flush()
    here("write")
    stream.write(data[len(data) // 2 :])


def half_a_line(self, step, split, scalars):
    """Write a log line, or only half of it before a kill at ``line``."""
    if place == "line" and left[0] == 1:
        self._stream.write('{"step": %d, "spl' % step)
        self._stream.flush()
    here("line")
    write(self, step, split, scalars)


forward = SSLModel.forward


def passing_forward(self, batch):
    """Forward pass of training or validation, with a place before and after it."""
    here("step" if self.training else "validation")
    output = forward(self, batch)
    here("after" if self.training else "validated")
    return output


SSLModel.forward = passing_forward
save, torch.save = torch.save, half_written
write, TrainLog.write = TrainLog.write, half_a_line
before(os, "replace", "rename")
before(os, "fsync", "sync")
before(torch.optim.AdamW, "step", "update")
PLACES = ("step", "after", "update", "validation", "validated", "write", "rename", "sync", "line")
