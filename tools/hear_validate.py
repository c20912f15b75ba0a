#!/usr/bin/env python3
"""Run HEAR's own validator on models of this toolkit.

    pip install --no-deps hearvalidator
    python3 tools/hear_validate.py exp/main/multi_strategy/best.pt baseline:logmel

The validator imports tensorflow only to recognise its models. For PyTorch models an empty module of that name is
enough, so tensorflow need not be installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import types
from typing import List, Optional

from ssltoolkit import command_line
from ssltoolkit.errors import UserError


def without_tensorflow() -> None:
    """If tensorflow is not installed, insert a stub with the one name that the validator looks up."""
    if importlib.util.find_spec("tensorflow") is None:
        module = types.ModuleType("tensorflow")
        module.Module = type("Module", (), {})
        sys.modules["tensorflow"] = module


def main(argv: Optional[List[str]] = None) -> int:
    """Validate every model; the validator raises on the first fault."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("models", nargs="+", help="model names as in ssltoolkit embed")
    options.add_argument("--device", default="cpu")
    args = options.parse_args(argv)
    if importlib.util.find_spec("hearvalidator") is None:
        raise UserError("hearvalidator is not installed: pip install --no-deps hearvalidator")
    without_tensorflow()
    from hearvalidator.validate import ModelError, ValidateModel

    for model in args.models:
        try:
            ValidateModel("ssltoolkit.hear", model, args.device)()
        except ModelError as error:
            raise UserError(f"{model}: rejected by the validator: {error}") from None
        print(f"{model}: accepted by hearvalidator", flush=True)
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
