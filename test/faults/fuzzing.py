"""Numbers of cases, odd text and checks of the tests with generated hostile input.

Each case depends on its number alone. The normal suite runs a share of them, SSLTOOLKIT_LONG=1 all 2,000.
"""

from running import LONG

#: number of cases per target: all, and in the normal suite
CASES, SHORT = {"format": 500, "embed": 300, "lists": 500, "pool": 100, "features": 100, "evaluate": 500}, 6
ODD_TEXT = [
    "",
    " ",
    "\t",
    "\r",
    "\0",
    "\u2028",
    "\ufeff",
    "\u200b",
    "é",
    "e\u0301",
    "鳥",
    "|",
    "-1",
    "1e309",
    "nan",
    "0,5",
    "a" * 300,
    "=",
    "<<",
    "{",
    "\u00a0",
]


def share(target):
    count = CASES[target]
    return range(count) if LONG else range(0, count, max(1, count // SHORT))


def refused(call, capsys, written=None):
    """Run a program: status 0 with output or the file ``written``, or status 2 with one line of error."""
    status = call()
    said = capsys.readouterr()
    assert status in (0, 2), said.err[-2000:]
    assert "Traceback" not in said.err
    errors = [line for line in said.err.splitlines() if ": error: " in line]
    assert len(errors) == (status == 2), said.err[-2000:]
    if status == 0:
        assert said.out.strip() or (written is not None and written.exists()), "nothing said and nothing written"
    return status


def text_file(rng, path, text):
    path.write_bytes(
        rng.choice(
            [text.encode("utf-8", "surrogatepass")] * 5
            + [
                text.encode("utf-8-sig"),
                text.encode("utf-16"),
                text.encode("latin-1", "replace"),
                text.replace("\n", "\r\n").encode(),
                text.replace("\n", "\r").encode(),
            ]
        )
    )
