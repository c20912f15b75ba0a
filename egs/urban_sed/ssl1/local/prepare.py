"""Data directories of URBAN-SED: sound events in synthetic urban scenes of 10 s, with strong labels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from ssltoolkit import command_line
from ssltoolkit.data import recipes
from ssltoolkit.data.datadir import Event
from ssltoolkit.data.recipes import CompletenessCheck, Published, Utterance
from ssltoolkit.errors import DataError
from ssltoolkit.text import read_text

DATASET = Published(
    "URBAN-SED v2.0.0",
    "URBAN_SED",
    "audio/{train,validate,test}/*.wav and annotations/{train,validate,test}/*.{jams,txt}",
    "https://zenodo.org/records/1324404",
    ("annotations",),
)
SCENES = {"train": 6000, "validate": 2000, "test": 2000}
CLASSES = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling",
    "engine_idling", "gun_shot", "jackhammer", "siren", "street_music",
)  # fmt: skip


def read_txt(path: Path) -> List[Event]:
    """Read lines of onset, offset (s) and class."""
    events = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            events.append(checked(float(fields[0]), float(fields[1]), fields[2]))
        except (ValueError, IndexError):
            raise DataError(
                f"{path}:{number}: expected onset, offset and one of the ten classes, got {line!r}"
            ) from None
    return events


def read_jams(path: Path) -> List[Event]:
    """Read the foreground events of a JAMS annotation."""
    try:
        content = json.loads(read_text(path))
        rows = [row for annotation in content["annotations"] for row in observations(annotation["data"])]
        events = [row for row in rows if row["value"].get("role") != "background"]
        return [checked(row["time"], row["time"] + row["duration"], row["value"]["label"]) for row in events]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}:{getattr(error, 'lineno', 1)}: not a JAMS annotation of sound events ({error}); get it again"
        ) from None


def observations(data: Any) -> Iterator[Dict[str, Any]]:
    """Rows of JAMS data, which may be stored by row or by column."""
    if isinstance(data, dict):
        names = ("time", "duration", "value")
        yield from (dict(zip(names, row)) for row in zip(*(data[name] for name in names)))
    else:
        yield from data


def checked(onset: float, offset: float, label: str) -> Event:
    """Build an event; raises ValueError unless its class is known and its length positive."""
    if label not in CLASSES or not 0 <= onset < offset:
        raise ValueError(f"{label} from {onset} to {offset} s")
    return Event(float(onset), float(offset), label)


READERS = {"txt": read_txt, "jams": read_jams}


def read_split(root: Path, split: str, kind: str, completeness: CompletenessCheck) -> Dict[str, Utterance]:
    """Scenes of one published split."""
    audio, notes = root / "audio" / split, root / "annotations" / split
    sounds = {Path(name).stem for name in recipes.listing(audio)}
    described = {Path(name).stem for name in recipes.listing(notes, rf".*\.{kind}")}
    missing = {f"{split}/{name}.wav" for name in described - sounds} | {
        f"{split}/{name}.{kind}" for name in sounds - described
    }
    completeness.count(f"{split} scenes", len(sounds & described), SCENES[split], missing)
    return {
        name: Utterance(audio / f"{name}.wav", events=READERS[kind](notes / f"{name}.{kind}"))
        for name in sorted(sounds & described)
    }


def main(argv: Optional[List[str]] = None) -> int:
    """Write the published splits; pre-training uses the training scenes without labels."""
    options = recipes.parser(__doc__ or "")
    options.add_argument(
        "--annotations", choices=tuple(READERS), default="txt", help="annotation format to read (both are equivalent)"
    )
    args = options.parse_args(argv)
    root = recipes.locate(DATASET, args)
    completeness = CompletenessCheck(DATASET, root, args.partial)
    found = {split: read_split(root, split, args.annotations, completeness) for split in SCENES}
    completeness.close()
    if args.check:
        return command_line.EXIT_OK
    splits = {"train": found["train"], "valid": found["validate"], "test": found["test"]}
    recipes.write_task(args.out_dir / "urban_sed", splits)
    recipes.write_set(args.out_dir / "pretrain", recipes.unlabelled(splits["train"]))
    recipes.write_set(args.out_dir / "pretrain_valid", recipes.unlabelled(splits["valid"]))
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
