"""Launch of the processes of a run: programs that a machine needs."""

import pytest

from ssltoolkit.distributed.launch import launch
from ssltoolkit.errors import UserError


@pytest.mark.parametrize("there, missing", [((), "scontrol"), (("scontrol",), "srun")])
def test_a_slurm_job_without_its_programs(tmp_path, monkeypatch, there, missing):
    """A container started within the job may lack scontrol and srun."""
    for name in there:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-2]")
    monkeypatch.delenv("SSLTOOLKIT_NODE", raising=False)
    with pytest.raises(UserError, match=f"--num_nodes 2: {missing} was not found"):
        launch(["-m", "x"], 1, 2, 0, 75)
