"""Judges published tables: `python results/verdicts.py TABLE [TABLE ...]`.

The files of the tables say beforehand which variant is judged, against which others, by which
figures and over which seeds (`sweep.verdict`). This prints, for all tables together and for each
data set, the paired difference over test people with its interval, and the verdict.
"""

import argparse
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent
# As a script only this folder is on the path; the pipeline lies beside it.
sys.path.insert(0, str(RESULTS.parent))

from pipeline.core.environment import prepare_environment  # noqa: E402

prepare_environment()

from pipeline.core import storage  # noqa: E402
from pipeline.core.console import complain, say  # noqa: E402
from pipeline.core.errors import UserError  # noqa: E402
from pipeline.sweep.judged import JudgedTable, judged_tables  # noqa: E402
from pipeline.tables.verdict_text import (  # noqa: E402
    planned_text,
    print_verdicts,
    verdict_paragraphs,
)
from pipeline.tables.verdicts import judge  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 success, 2 tables that cannot be judged together.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="the name of a published table")
    parser.add_argument("--markdown", metavar="FILE", help="also write the verdicts into a file")
    parser.add_argument("--folder", default=str(RESULTS), help="of the tables; this one if not set")
    parser.add_argument("--config-dir", help="a folder of your own with the files of the tables")
    options = parser.parse_args(arguments)
    try:
        tables = judged_tables(options.tables, options.folder, options.config_dir)
        _show(tables, options.markdown)
    except UserError as error:
        complain(f"error: {error}")
        return error.exit_code
    return 0


def _show(tables: list[JudgedTable], file: str | None) -> None:
    verdict = tables[0].verdict
    judgements = judge(verdict, [table.as_planned() for table in tables])
    print_verdicts(verdict, judgements)
    notes = []
    for table in tables:
        notes.append(planned_text(table.name, table.plan, table.planned, len(table.records)))
    for note in notes:
        say(f"  {note}")
    if file is not None:
        text = "\n\n".join(verdict_paragraphs(verdict, judgements, notes, level=1))
        storage.write_bytes(file, f"{text}\n".encode())
        say(f"  written: {file}")


if __name__ == "__main__":
    sys.exit(main())
