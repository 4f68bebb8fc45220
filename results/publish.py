"""Publishes the records of a table: `python results/publish.py OUTPUT`.

Without OUTPUT it draws all tables anew from their records; with --check it changes nothing, and
exits 1 where a page or a plot is not what its records say.
"""

import argparse
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent
# As a script only this folder is on the path; the pipeline lies beside it.
sys.path.insert(0, str(RESULTS.parent))

from pipeline.core.environment import prepare_environment  # noqa: E402

# The next imports load matplotlib.
prepare_environment()

from pipeline.core.console import complain  # noqa: E402
from pipeline.core.errors import UserError  # noqa: E402
from pipeline.sweep.publish import draw, problems, publish, tables  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 success, 1 a page or plot that is out of date, 2 records that cannot be
        published.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", nargs="?", help="the output of a sweep that made a table")
    parser.add_argument("--check", action="store_true", help="only check pages and plots")
    parser.add_argument("--folder", default=str(RESULTS), help="of the tables; this one if not set")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            return _check(options.folder)
        if options.output is None:
            for name in tables(options.folder):
                draw(options.folder, name)
            return 0
        name = publish(options.output, options.folder)
    except UserError as error:
        complain(f"error: {error}")
        return error.exit_code
    print(f"published: {options.folder}/{name}.md")
    return 0


def _check(folder: str) -> int:
    found = problems(folder)
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        print("python results/publish.py draws them anew", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
