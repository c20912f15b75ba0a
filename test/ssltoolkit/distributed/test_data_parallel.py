"""Any number of processes with the same global batch: the same loss, gradients, statistics and random numbers."""

from pathlib import Path

import pytest
import torch
from global_batch import CASES, step

FOUR = ["three strategies", "negatives of other clips", "statistics of the batch", "dropout"]
SCRIPT = Path(__file__).with_name("global_batch.py")


@pytest.mark.parametrize("size, batch_size, names", [(2, 7, list(CASES)), (4, 9, FOUR)])
def test_as_one_process(format_data, make_waves, start_processes, tmp_path, size, batch_size, names):
    """Batch sizes that the processes do not divide; the last validation batches are smaller."""
    data = format_data("train", make_waves(13))
    processes = start_processes(size, SCRIPT, data, batch_size, tmp_path / "found.pt", *names)
    alone = {name: step(name, data, batch_size) for name in names}
    for process in processes:
        assert process.wait(300) == 0, process.communicate()[0]
    together = torch.load(tmp_path / "found.pt", weights_only=True)
    for name in names:
        assert alone[name].keys() == together[name].keys()
        largest = max(value.abs().max().item() for key, value in alone[name].items() if "gradient" in key)
        for key, value in alone[name].items():
            difference = (together[name][key].double() - value.double()).abs().max().item()
            scale = largest if "gradient" in key else value.double().abs().max().item()
            assert difference <= 1e-5 * max(1.0, scale), f"{name}, {key}: {difference}"
