"""Data directories of HEAR task directories; their metadata define splits and metrics."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Dict, List, Optional

from ssltoolkit import command_line
from ssltoolkit.data import recipes
from ssltoolkit.data.recipes import Utterance
from ssltoolkit.errors import UserError

PAGE = "https://hearbenchmark.com/hear-tasks.html"
#: the published archives unpack to hear-2021.0.6/tasks/<task>
DEPTH = 4
RATES = (16000, 48000, 44100, 32000, 22050)  # in order of preference


def find_tasks(source: str, names: str) -> Dict[str, Path]:
    """Name -> task directory below ``source`` (or ``source`` itself), for all tasks or those in ``names``."""
    if not source or source == recipes.DOWNLOAD:
        state = "is empty" if not source else f"is '{source}', but this recipe cannot download them"
        raise UserError(
            f"HEAR_TASKS {state}: get task directories from {PAGE} and set HEAR_TASKS to their folder in db.sh or in "
            "the environment"
        )
    if not Path(source).is_dir():
        raise UserError(f"HEAR_TASKS={source}: no such folder; get task directories from {PAGE}")
    found: Dict[str, Path] = {}
    for path in recipes.beneath(Path(source), "task_metadata.json", DEPTH):
        place, other = path.parent.resolve(), found.get(path.parent.name)
        if other is not None and other != place:
            raise UserError(
                f"HEAR_TASKS={source}: two folders are named {place.name}: {other} and {place}; keep one, or give its "
                "parent folder"
            )
        found[place.name] = place
    if not found:
        raise UserError(f"HEAR_TASKS={source}: no task directory (with task_metadata.json) in it; get some from {PAGE}")
    wanted = names.split() or sorted(found)
    unknown = [name for name in wanted if name not in found]
    if unknown:
        raise UserError(f"--tasks: {', '.join(unknown)} not in {source}, which has {', '.join(sorted(found))}")
    return {name: found[name] for name in wanted}


def write_task(name: str, path: Path, out: Path) -> Dict[str, Utterance]:
    """Write data directories of one task; returns the audio for pre-training: the training split, or every fold."""
    from ssltoolkit.evaluation.hear_task import HearTask

    task = HearTask(path)
    rates = [rate for rate in RATES if (path / str(rate)).is_dir()]
    if not rates:
        raise UserError(f"{path}: no audio (a folder named by its sample rate, such as 16000); get it from {PAGE}")
    task.write_data_dirs(out / name, rates[0])
    link = out / name / "hear_task"
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    heard = task.splits if task.metadata["split_mode"] != "trainvaltest" else ["train"]
    files = [path / str(rates[0]) / split / file for split in heard for file in task.entries(split)]
    print(
        f"{out / name}: {task.kind} task, "
        f"{', '.join(f'{split} {len(task.entries(split)):,}' for split in task.splits)} files"
    )
    return {f"{name}-{file.stem}": Utterance(file.resolve()) for file in files}


def main(argv: Optional[List[str]] = None) -> int:
    """Write the data, or only print the options of ssl.sh that the tasks need."""
    options = recipes.parser(__doc__ or "")
    options.add_argument("--tasks", default="", help="names of task directories, space-separated (default: all)")
    options.add_argument(
        "--print_options", type=command_line.str2bool, default=False, help="only print --clip_tasks ... for ssl.sh"
    )
    args = options.parse_args(argv)
    tasks = find_tasks(args.source, args.tasks)
    if args.print_options:
        from ssltoolkit.evaluation.hear_task import HearTask

        kinds: Dict[str, List[str]] = {}
        for name, path in tasks.items():
            kinds.setdefault(HearTask(path).kind, []).append(name)
        for kind, names in kinds.items():
            print(f"--{kind}_tasks\n{' '.join(names)}")
        return command_line.EXIT_OK
    heard: Dict[str, Utterance] = {}
    for name, path in tasks.items():
        heard.update(write_task(name, path, args.out_dir))
    recipes.write_pretraining(args.out_dir, heard, args.seed)
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
