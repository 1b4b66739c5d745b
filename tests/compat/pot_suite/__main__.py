"""Run POT's own tests against the front end and print what passes: ``python tests/compat/pot_suite FOLDER [FILE ...]``.

FOLDER is the folder ``test`` of a checkout of POT, of the version that is installed. Ends with 1 if a test fails whose
failure is not explained in ``expected.py``.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from compat.pot_suite.running import FILES, run
from compat.pot_suite.table import table


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="pot_suite", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the folder 'test' of POT's sources")
    parser.add_argument("files", nargs="*", default=FILES, help=f"files in it; by default {', '.join(FILES)}")
    parser.add_argument("-k", default="", dest="names", help="only tests whose names match, as in pytest")
    parser.add_argument("--traces", action="store_true", help="show the trace of every unexpected failure")
    asked = parser.parse_args()
    missing = [name for name in asked.files if not (asked.folder / name).is_file()]
    if missing:
        parser.error(f"{asked.folder} has no {', '.join(missing)}; give the folder 'test' of a checkout of POT")
    outcomes = run(asked.folder, asked.files, asked.names)
    print(table(outcomes, asked.traces))
    return int(not outcomes or any(one.verdict == "unexpected" for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
