"""`python -m webui_box run PLACE -- COMMAND...`, and `settle`: a request as JSON on stdin, JSON on stdout.

`judge` looks at what is here before a restore, `prove` at what came of it: JSON in and out as `settle`.
`chats PLACE [--user EMAIL] [--still]` writes every chat, `bring` takes chats in: records on stdin and stdout.
`snapshots ROOT --to DIR --name NAME --every SECONDS` copies for ever, `hand PLACE` writes a copy out as records.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from webui_box.api import Pending
from webui_box.errors import Trouble


def main(argv: list[str]) -> int:
    """Do one of these; 1 with one line on stderr when it cannot be done, 2 when nobody knows what is meant."""
    try:
        match argv:
            case ["run", place, "--", *command] if "--port" in command:
                from webui_box.start import Place, run

                run(Place(Path(place)), command)
            case ["settle"]:
                from webui_box.settle import Request, settle

                sys.stdout.write(json.dumps(settle(Request.read(sys.stdin.read())), ensure_ascii=False) + "\n")
            case ["chats", place, *options]:
                from webui_box import chats

                chats.write(chats.wanted(Path(place), options))
            case ["bring"]:
                from webui_box import bring

                bring.main()
            case ["snapshots", *words]:
                from webui_box import snapshots

                snapshots.serve(snapshots.wanted(words))
            case ["hand", place]:
                from webui_box import hand

                hand.write(Path(place))
            case ["judge" | "prove" as verb]:
                from webui_box import prove

                done = {"judge": prove.judge, "prove": prove.prove}[verb](sys.stdin.read())
                sys.stdout.write(json.dumps(done, ensure_ascii=False) + "\n")
            case _:
                sys.stderr.write(f"usage: {__doc__}\n")
                return 2
    except (Trouble, Pending, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
