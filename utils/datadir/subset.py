"""subset_data_dir.sh: takes some utterances of a data directory."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Dict, List, Sequence, Set

from datadir import content
from datadir.arguments import Parser
from datadir.tables import UsageError, entries, show

USAGE = """%(prog)s [--seed S] [--first|--last|--shortest|--speakers|--per-spk] SOURCE N TARGET
       %(prog)s [--seed S] --hours SOURCE H TARGET
       %(prog)s --utt-list FILE SOURCE TARGET
       %(prog)s --spk-list FILE SOURCE TARGET"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "subset_data_dir.sh",
        "Selects N utterances of a data directory, by default at random (with the seed), or those in a list.",
    )
    parser.usage = USAGE
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--first", action="store_true", help="the first N in C-locale order")
    how.add_argument("--last", action="store_true", help="the last N in C-locale order")
    how.add_argument("--shortest", action="store_true", help="the N shortest (needs utt2dur)")
    how.add_argument("--speakers", action="store_true", help="all utterances of random speakers, until N are reached")
    how.add_argument("--per-spk", action="store_true", help="N random utterances of each speaker")
    how.add_argument("--hours", action="store_true", help="random utterances of H hours in total (needs utt2dur)")
    how.add_argument("--utt-list", type=Path, metavar="FILE", help="utterances in FILE, one per line")
    how.add_argument("--spk-list", type=Path, metavar="FILE", help="utterances of the speakers in FILE")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choice (default 0)")
    parser.add_argument("places", nargs="+", metavar="SOURCE [N] TARGET")
    args = parser.parse_args(arguments)
    listed = args.utt_list is not None or args.spk_list is not None
    if len(args.places) != (2 if listed else 3):
        parser.error("give SOURCE and TARGET with a list, SOURCE N TARGET without one")
    source, target = Path(args.places[0]), Path(args.places[-1])
    content.check_target(source, target)
    whole = content.read(source)
    if listed:
        chosen = _listed(whole, source, args)
    elif args.hours:
        chosen = _lasting(whole, source, args.places[1], random.Random(args.seed))
    else:
        chosen = _counted(whole, source, args, _count(args.places[1]))
    stale = content.write(target, content.select(whole, chosen))
    for line in content.not_copied(source, whole) + content.removed(target, stale):
        parser.say(line)
    print(f"subset_data_dir.sh: {len(chosen)} of {len(whole.utterances())} utterances to {target}")
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"'{text}' is not a number of utterances; give an integer above 0")
    return int(text)


def _lasting(whole: content.Content, source: Path, text: str, generator: random.Random) -> Set[bytes]:
    """Random utterances of this many hours in total; a smaller subset is part of a larger one."""
    try:
        seconds = float(text) * 3600
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"'{text}' is not a number of hours; give a number above 0")
    durations = _durations(whole, source)
    total = sum(map(float, durations.values()))
    if seconds > total:
        raise UsageError(f"{source}: {text} hours asked for, it has {total / 3600:.2f}")
    chosen: Set[bytes] = set()
    for utterance in generator.sample(sorted(durations), len(durations)):
        if seconds <= 0:
            break
        chosen.add(utterance)
        seconds -= float(durations[utterance])
    return chosen


def _durations(whole: content.Content, source: Path) -> Dict[bytes, bytes]:
    durations = whole.tables.get("utt2dur")
    if durations is None:
        raise UsageError(f"{source / 'utt2dur'}: missing; make it with get_utt2dur.sh {source}")
    return durations


def _listed(whole: content.Content, source: Path, args) -> Set[bytes]:
    path = args.utt_list or args.spk_list
    if args.utt_list is not None:
        members = {utterance: [utterance] for utterance in whole.utterances()}
    else:
        members = _speakers(whole, source)
    chosen: Set[bytes] = set()
    for number, key, _ in entries(path):
        if key not in members:
            raise UsageError(f"{path}:{number}: {show(key)} is not in {source}; remove the line")
        chosen.update(members[key])
    if not chosen:
        raise UsageError(f"{path}: the list is empty; nothing to take")
    return chosen


def _counted(whole: content.Content, source: Path, args, count: int) -> Set[bytes]:
    utterances = whole.utterances()
    if count > len(utterances) and not args.per_spk:
        raise UsageError(f"{source}: {count} utterances asked for, it has {len(utterances)}")
    generator = random.Random(args.seed)
    if args.first:
        return set(utterances[:count])
    if args.last:
        return set(utterances[-count:])
    if args.shortest:
        return _shortest(whole, source, count)
    if args.speakers:
        return _whole_speakers(_speakers(whole, source), count, generator)
    if args.per_spk:
        return _of_each_speaker(_speakers(whole, source), count, generator)
    return set(generator.sample(utterances, count))


def _shortest(whole: content.Content, source: Path, count: int) -> Set[bytes]:
    durations = _durations(whole, source)
    return set(sorted(durations, key=lambda u: (float(durations[u]), u))[:count])


def _speakers(whole: content.Content, source: Path) -> Dict[bytes, List[bytes]]:
    utt2spk = whole.tables.get("utt2spk")
    if utt2spk is None:
        raise UsageError(f"{source / 'utt2spk'}: missing; choosing by speaker needs it")
    members: Dict[bytes, List[bytes]] = {}
    for utterance in sorted(utt2spk):
        members.setdefault(utt2spk[utterance], []).append(utterance)
    return members


def _whole_speakers(members: Dict[bytes, List[bytes]], count: int, generator: random.Random) -> Set[bytes]:
    chosen: Set[bytes] = set()
    for speaker in generator.sample(sorted(members), len(members)):
        if len(chosen) >= count:
            break
        chosen.update(members[speaker])
    return chosen


def _of_each_speaker(members: Dict[bytes, List[bytes]], count: int, generator: random.Random) -> Set[bytes]:
    chosen: Set[bytes] = set()
    for speaker in sorted(members):
        utterances = members[speaker]
        chosen.update(generator.sample(utterances, min(count, len(utterances))))
    return chosen
