"""Kinds of sound: recordings of eight collections named by what sounds, in folds by collection.

Each fold is tested by a probe that has heard none of its collections, so that a class is a kind of sound and not one
collection's way of recording it. Classes come from file names: the first pattern of :data:`KINDS` that a name
matches says its class; a name that matches none is left out."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Collection, Dict, List, Optional, Tuple

import numpy as np
from open_sounds import task_folder, trained_on

from ssltoolkit.data.recipes import Utterance
from ssltoolkit.data.scan import find_audio

#: collections of each fold; the probe of a fold is chosen on the next one and trains on the two others
FOLDS: Tuple[Tuple[str, ...], ...] = (
    ("antum_sounds", "snap_sounds"),
    ("openclonk", "minetest_game"),
    ("tuxpaint_sounds", "wesnoth"),
    ("cdda_cc_sounds", "ufoai"),
)
#: recordings of one class and collection at most, so that no collection's variations of one sound decide
MOST = 12
#: a class with fewer recordings in all is left out
LEAST = 6
#: class -> pattern of names (source/path without its ending, lower case), looked at in this order
KINDS: Dict[str, str] = {
    "footsteps, stone": r"walk_t_concrete|walk_t_rock|footsteps/(stone|tile)|hard_footstep|stephard|walk_t_floor",
    "footsteps, gravel or sand": r"walk_t_gravel|footsteps/(gravel|sand)|(gravel|sand)_footstep",
    "footsteps, grass": r"walk_grass|walk_t_grass|footsteps/grass|grass_footstep|movement.*rustle",
    "footsteps, soft": r"walk_t_carpet|footsteps/carpet|stepsoft|dirt_footstep|walk_dirt|barefoot",
    "footsteps, snow": r"snow_footstep|footsteps/snow|ice_footstep",
    "footsteps, water": r"walk_water|walk_t_water|water_footstep|swim",
    "footsteps, metal": r"walk_metal|metal_footstep",
    "whoosh": r"melee_swing|woosh|swoosh|weaponswing|sword-fly|wesnoth/throw"
    r"|(flail|club|staff|mud-fist|tusker-charge)-miss",
    "blow on a body": r"melee_hit|hit_flesh|bodyimpact|organichit|projectilehitliving"
    r"|wesnoth/(fist|squishy-(hit|strike))",
    "glass breaking": r"break_?glass|glass(break|shatter)|smash_(fail_)?glass|success/(glass|window/window_smash)",
    "metal hit": r"metalhit|smash_(fail|success)_metal|breakmetal|d[iu]g_metal|place_node_metal|clang|hammer|mallet"
    r"|sword-hit|weaponhitshield|wesnoth/(mace|hatchet$|knife)",
    "wood hit": r"woodhit|smash_(fail|success)_wood|door_smash|wood_smash|tree.ocg/chop|dig_choppy|wood_footstep|knock"
    r"|footsteps/wood|wesnoth/(club|staff)$|tool/axe",
    "stone hit": r"rockhit|rockfall|smash_(fail|success)_(brick|concrete|ceramic)|dig_cracky|pickaxe|cave-in",
    "digging": r"dig.ocg/dig|gravel_du?g|gravel_dig|dig_crumbly|shovel",
    "creak": r"creak",
    "shot": r"(rifle|pistol|small|ar|shotgun)_fire($|_pump|_cock|_?\d)|rifle_shot|gunshoot|bulletshot|gunshot"
    r"|weapons/bullet|fire_gun/(generic|handguns|machineguns|rifles|shotguns)|combat-gun",
    "loading a weapon": r"_cock|_load|reload|fire_gun/empty|fire_dry|shotgun_pump|blunderbuss.*click|grenade-pin",
    "bow": r"/bow|crossbow",
    "laser": r"laser|plasma|zap",
    "fireworks": r"firework|cracker$",
    "explosion": r"explo|fire.ocg/blast|rocket-exp",
    "fuse, sizzle": r"fuse|gunpowder|tnt_ignite|sizzle|pshsh|corrode|lava_cool|extinguish",
    "fire": r"fire_crackle|fire_fire|fire_large|ambience/fire|inflame|torch|fireball|flame|furnace_active"
    r"|furnace.ocg/loop|ignit",
    "thunder": r"thunder|lightning",
    "rain": r"(^|[/_])rain(storm)?_|heavyrain|drizzle|stereorain",
    "wind": r"wind__|windloop|arcticwind|snowstorm|flurries|gust",
    "water": r"env_sounds_water|ambience/water|bubble|splash|waterfall|boiling|water_?drop|toilet|water-impact",
    "engine": r"engine|motor|diesel|elevator.ocg/(moving|drilling)|pumpjack|machinery|vacuum|washing|wheelsturn",
    "aircraft": r"airplane|helicopter|jet_|propeller|boompack.ocg/fly|apollo",
    "alarm, siren, bell": r"alarm|siren|bells?$|beeper|firetruck",
    "door or lid": r"(^|[/_])doors?[\d_/]|door(close|open|unlock)|fencegate|(close|open)_(safe|window|curtain)|chest",
    "bat": r"(^|[/_])bat(s|_|-|\.|$)",
    "sea animal": r"dolphin|orca|sea_lion|whale|penguin|aquatic",
    "big cat, beast": r"leopard|jaguar|(^|[/_])lion|tiger|(^|[/_])bear$|monster.ocg/growl|troll|ogre|gorilla|yeti"
    r"|ortnok",
    "dog, wolf": r"dog|puppy|wolf|coyote|fox$|hyena",
    "cat": r"meow|kitten|blackcat",
    "horse": r"horse|gallop|zebra|donkey",
    "cattle": r"cow_|cow$|yak|bison|bull$",
    "sheep, goat": r"goat|sheep|lamb|/ram$|caribou|deer|doe$",
    "pig": r"(^|[/_])pig(_|$)|tusker-(die|hit)",
    "poultry": r"chicken|hen$|rooster|turkey|quail|peacock",
    "toy, balloon": r"balloon|rubberduck|toy_squeak",
    "duck, goose": r"duck|goose|drake$|gander|swan|_loon",
    "songbird": r"canary|sounds_bird|blackbird|lark|ambient/(birds|morning)|birdsloop|cuckoo|quetzal"
    r"|parrot_(chirp|whistle)",
    "crow, gull, parrot": r"crow|gull|parrot|toucan|tucan|vulture|heron|gryphon-shriek",
    "owl, pigeon": r"(^|[/_])owl|pigeon",
    "insect": r"bee($|s)|bumble|hornet|mosquito|cicada|cricket|grasshopper|xanthia",
    "small animal": r"mouse|squirrel|raccoon|monkey|chimp|ferret|rodents",
    "horn": r"[/_]horn",
    "snake, hiss": r"cobra|snake|hiss",
    "zombie": r"zombie|undead|speech_zombie|lich|wail|groan|ghost",
    "man in pain": r"hurt_m|(?<!fe)male(hurt|death|_scream)|scream-male|human-(hit|die|old)|dwarf-(hit|die)"
    r"|(adventurer|steampunk|alchemist|farmer).ocg/(hurt|die)",
    "woman in pain": r"hurt_f|femalehurt|femaledeath|civfemdeath|female_scream|human-female|scream-female",
    "laughter": r"laugh",
    "eating": r"bite|munch|gulp|apple",
    "vomiting, coughing": r"vomit|cough|sneeze|/spit|mud-glob",
    "saw, scrape": r"saw|scrape|shears|scissors|ripcut",
    "clicking, switching": r"switch|camera|gear_shift|clock_tick|watch_tick|click",
    "drum": r"drum|tom$|conga|tabla|snare",
    "cymbal": r"cymbal|gong",
}


def kind_of(name: str) -> Optional[str]:
    """Class of a recording named ``source/path``; None where no pattern matches.

    Example:
        >>> kind_of("antum_sounds/sounds/antum_dog_bark"), kind_of("snap_sounds/shaker")
        ('dog, wolf', None)
    """
    name = name.lower()
    for kind, pattern in KINDS.items():
        if re.search(pattern, name):
            return kind
    return None


def learnable(folds: Collection[int]) -> bool:
    """Whether a class of these folds (1 to 4) is in the training data of each of them."""
    return all(trained_on(fold, len(FOLDS)) & set(folds) for fold in folds)


def labelled(root: Path) -> Tuple[Dict[str, Tuple[Path, str, int]], int]:
    """Recordings whose name says their kind, id -> (path, kind, fold), and how many recordings there are in all.

    At most :data:`MOST` of one kind and collection are taken.

    Args:
        root: of open_sounds.

    Raises:
        UserError: a collection is missing.
    """
    found: Dict[str, Tuple[Path, str, int]] = {}
    heard = 0
    for fold, sources in enumerate(FOLDS, 1):
        for source in sources:
            folder = task_folder(root, source, "kinds of sound")
            files = sorted(find_audio(folder).items())
            heard += len(files)
            taken: Counter = Counter()
            for place in np.random.default_rng(80).permutation(len(files)):
                utt, path = files[place]
                kind = kind_of(f"{source}/{path.relative_to(folder).with_suffix('')}")
                if kind is not None and taken[kind] < MOST:
                    taken[kind] += 1
                    found[f"{source}-{utt}"] = (path, label(kind), fold)
    return found, heard


def label(kind: str) -> str:
    """A kind as one word.

    Example:
        >>> label("dog, wolf")
        'dog_wolf'
    """
    return kind.replace(", ", "_").replace(" ", "_")


def kinds(root: Path) -> Dict[str, Utterance]:
    """The clip task: recordings of kinds of sound in four folds by collection; prints how many are left out.

    Args:
        root: of open_sounds.

    Raises:
        UserError: a collection is missing.
    """
    found, heard = labelled(root)
    folds: Dict[str, List[int]] = {}
    for _, kind, fold in found.values():
        folds.setdefault(kind, []).append(fold)
    kept = {kind for kind, where in folds.items() if len(where) >= LEAST and learnable(where)}
    made = {utt: Utterance(path, kind, fold=fold) for utt, (path, kind, fold) in found.items() if kind in kept}
    print(
        f"kinds: {len(made)} recordings of {len(kept)} classes; {heard - len(made)} left out: without a class, beyond "
        f"{MOST} of a class and collection, or of a class that its training folds lack"
    )
    return made
