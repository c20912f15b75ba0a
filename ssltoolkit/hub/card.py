"""The model card of a model folder, filled from the checkpoint; unknown entries are marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Optional

from ssltoolkit.errors import UserError

_UNKNOWN = "not recorded"


def model_card(
    content: Mapping[str, Any], name: str, experiment: Optional[Path] = None, licence: str = "", data: str = ""
) -> str:
    """Text of README.md of a model folder.

    Args:
        content: content of its ``config.json``.
        name: name of the model.
        experiment: folder of the checkpoint; the card quotes its ``run.sh`` and the nearest RESULTS.md.
        licence: SPDX identifier of the licence of the weights.
        data: training data.
    """
    config = content["config"]
    training, kind = config.get("training", {}), config.get("encoder", {}).get("name", "log-mel statistics")
    frontend, embedding = config["frontend"], config.get("embedding", {})
    rows = [
        ("encoder", f"`{kind}` with `{frontend['name']}`, {content['parameters']:,} parameters"),
        ("sample rate", f"{content['sample_rate']:,} Hz"),
        ("frame embedding", f"{content['frame_dim']:,} values every {content['hop_ms']:g} ms"),
        (
            "scene embedding",
            f"{content['scene_dim']:,} values; pooling over time: `{embedding.get('scene', 'mean and deviation')}`",
        ),
        (
            "input level",
            f"{frontend['input_level']:g} dBFS" if frontend.get("input_level") is not None else "as recorded",
        ),
        ("trained on", data or _UNKNOWN),
        ("steps", _steps(content, training)),
        ("strategies", ", ".join(f"`{strategy}`" for strategy in config.get("strategies", {})) or _UNKNOWN),
        ("commit", str(content.get("commit", _UNKNOWN))),
        ("sha256 of the weights", f"begins with {content['sha256'][:16]}"),
        ("licence", licence or "not stated"),
    ]
    lines = [
        *_front_matter(licence),
        f"# {name}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in rows),
        "",
        *_usage(name),
    ]
    command = _command(experiment)
    if command:
        lines += ["", "## Training", "", "```bash", *command, "```"]
    return "\n".join([*lines, "", "## Scores", "", *_scores(experiment)]) + "\n"


def _front_matter(licence: str) -> List[str]:
    named = [f"license: {licence.lower()}"] if licence else []
    tags = ["pipeline_tag: feature-extraction", "tags: [audio, self-supervised]"]
    return ["---", "library_name: ssltoolkit", *named, *tags, "---", ""]


def _steps(content: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    if "step" not in content:
        return "0: untrained, or weights released by others"
    batch, seed = training.get("batch_size"), training.get("seed")
    return (
        f"{content['step']:,}"
        + (f" of {batch} clips" if batch else "")
        + (f", seed {seed}" if seed is not None else "")
    )


def _usage(name: str) -> List[str]:
    return [
        "```python",
        "import ssltoolkit",
        "import torch",
        "",
        f'model = ssltoolkit.FrozenModel.from_pretrained("{name}")  # the path of this folder, or owner/name',
        "waves = torch.zeros(1, model.sample_rate)  # (B, N) mono in [-1, 1]",
        "scenes, frames = model.scenes(waves), model.frames(waves)",
        "```",
    ]


def _command(experiment: Optional[Path]) -> List[str]:
    """The recipe's command, from the ``run.sh`` that stage 4 wrote, without the folders of this machine around it."""
    path = experiment / "run.sh" if experiment else None
    if path is None or not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    commands = (line[len("exec ") :].replace('"$@"', "").strip() for line in lines if line.startswith("exec "))
    return [command for command in commands if command]


NO_SCORES = "Not available: there was no RESULTS.md next to the checkpoint. `ssltoolkit evaluate` computes scores."


def _scores(experiment: Optional[Path]) -> List[str]:
    """The first table of the nearest RESULTS.md, with the rows of all models for comparison."""
    if experiment is None:
        return [NO_SCORES]
    for folder in (experiment, *experiment.resolve().parents[:2]):
        path = folder / "RESULTS.md"
        if path.is_file():
            table: List[str] = []
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.startswith("|"):
                    table.append(line)
                elif table:
                    break
            if table:
                return [
                    f"Frozen, from {path.name} of the experiment; this model is `{experiment.resolve().name}`.",
                    "",
                    *table,
                ]
    return [NO_SCORES]


def read_card(path: str) -> str:
    """Read a model card written by the user.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--card {path}: cannot be read ({error})") from None
