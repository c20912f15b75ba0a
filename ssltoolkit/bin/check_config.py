"""Validate configuration files without training: keys, types, ranges, and that model and optimiser can be built."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit check-config", description=__doc__)
    options.add_argument("files", nargs="+", metavar="FILE", help="YAML configurations")
    options.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override one key; repeatable"
    )
    options.add_argument("--print", action="store_true", dest="show", help="print the resolved configuration")
    options.add_argument(
        "--fingerprint",
        metavar="SECTION",
        help="only print a fingerprint of this resolved section of every file, such as frontend: "
        "configurations with the same frontend share features",
    )
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Check every file; status 2 if any is invalid."""
    args = parser().parse_args(argv)
    if args.fingerprint:
        return _print_fingerprints(args)
    import sys

    from ssltoolkit.config import dump_config, load_config
    from ssltoolkit.errors import UserError, show_traceback
    from ssltoolkit.stages.pretrain import build_model
    from ssltoolkit.training.optim import build_optimizer

    wrong = 0
    for file in args.files:
        try:
            config = load_config(file, args.overrides)
            model = build_model(config)
            build_optimizer(config, model)
        except UserError as error:
            show_traceback()
            print(f"{file}: {error}", file=sys.stderr)
            wrong += 1
            continue
        total = sum(parameter.numel() for parameter in model.parameters())
        print(
            f"{file}: ok, {config['encoder']['name']}, {total:,} parameters, hop {model.hop_ms:g} ms, strategies: "
            f"{', '.join(model.strategies)}"
        )
        if args.show:
            print(dump_config(config), end="")
    return command_line.EXIT_USAGE if wrong else command_line.EXIT_OK


def _print_fingerprints(args: argparse.Namespace) -> int:
    import hashlib
    import json

    from ssltoolkit.config import load_config
    from ssltoolkit.errors import ConfigError, UserError

    for file in args.files:
        try:
            config = load_config(file, args.overrides)
        except UserError as error:
            raise ConfigError(f"{file}: {error}") from None
        if args.fingerprint not in config:
            raise ConfigError(
                f"--fingerprint: '{args.fingerprint}' is not a section of a configuration ({', '.join(config)})"
            )
        section = json.dumps(config[args.fingerprint], sort_keys=True)
        print(hashlib.sha256(section.encode()).hexdigest()[:12])
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
