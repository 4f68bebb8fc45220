"""The console shows names as they are: as letters, on one line, without secrets."""

import io
import logging
import sys
import traceback
import warnings

import pytest
from rich.console import Console

from pipeline.core import console
from pipeline.core.console import Bar, complain, say, table
from pipeline.core.redacted_streams import redacted, redacted_streams
from tests.helpers import hostile

SECRET = "http://me:swordfish@host"


@pytest.mark.parametrize("name", hostile.ALL)
def test_a_name_is_shown_as_one_line_of_letters(name, capsys):
    say(name)
    complain(f"error: {name}")
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1 == len(shown.err.splitlines())
    assert shown.out.removesuffix("\n").isprintable()
    if name.isprintable():
        assert shown.out == f"{name}\n"
        assert shown.err == f"error: {name}\n"


@pytest.mark.parametrize("name", hostile.ALL)
def test_a_table_holds_any_names(name, capsys):
    table(name, [name, name], [[name, name]])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    if name == hostile.MARKUP:
        assert shown.count(name) == 5


def test_many_columns_do_not_squeeze_names(capsys, monkeypatch):
    monkeypatch.setattr(console.console, "width", 60)
    numbers = ["0.123456"] * 9
    table("points", ["", *"abcdefghi"], [["point000", *numbers]])
    assert "point000" in capsys.readouterr().out


def test_no_end_of_a_cell_is_cut_off(capsys, monkeypatch):
    monkeypatch.setattr(console.console, "width", 24)
    table("verdicts", ["data", "95 %"], [["confirm_msr_dailyactivity3d", "-1.95 to +12.68"]])
    shown = "".join(capsys.readouterr().out.split())
    assert "…" not in shown
    for piece in ("-1.95to", "+12.68", "confirm_msr_"):
        assert piece in shown


def test_a_bar_holds_any_text(monkeypatch):
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=200)
    monkeypatch.setattr(console, "console", terminal)
    with Bar(hostile.MARKUP, 10) as bar:
        bar.update(1, text=f"{hostile.CONTROL}{SECRET}{hostile.MARKUP}")
        bar.display.refresh()
    shown = written.getvalue()
    assert shown.count(hostile.MARKUP) >= 2
    assert "\x1b[31m" not in shown
    assert "swordfish" not in shown


def test_no_secret_is_shown(capsys):
    say(SECRET)
    complain(SECRET)
    table(SECRET, [SECRET, ""], [[SECRET, "password=swordfish"]])
    shown = capsys.readouterr()
    assert "swordfish" not in shown.out + shown.err
    assert shown.out.startswith("http://***@host\n")


def test_what_libraries_print_is_redacted(capsys):
    with redacted_streams():
        print("to", SECRET)
        print("http://me:sword", end="", file=sys.stderr)
        print("fish@host", file=sys.stderr)
        print("no end of line", end="")
        print(warnings.formatwarning(SECRET, UserWarning, "file.py", 1), file=sys.stderr)
        traceback.print_exception(OSError(f"no answer from {SECRET}"))
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": SECRET}))
    shown = capsys.readouterr()
    assert shown.out == "to http://***@host\nno end of line"
    assert shown.err.startswith("http://***@host\n")
    assert "UserWarning: http://***@host" in shown.err
    assert "OSError: no answer from http://***@host\nhttp://***@host\n" in shown.err


def test_the_streams_come_back_unless_a_traceback_follows():
    before = (sys.stdout, sys.stderr)
    with pytest.raises(SystemExit), redacted_streams():
        sys.exit(2)
    assert (sys.stdout, sys.stderr) == before
    try:
        with pytest.raises(ZeroDivisionError), redacted_streams():
            1 / 0  # noqa: B018
        assert (sys.stdout, sys.stderr) != before
    finally:
        sys.stdout, sys.stderr = before


def test_a_stream_is_otherwise_the_one_beneath_it():
    bytes_ = io.BytesIO()
    beneath = io.TextIOWrapper(bytes_, encoding="ascii")
    stream = redacted(beneath)
    assert stream.encoding == "ascii"
    assert not stream.isatty()
    stream.writelines(["\u00e9\n", "begun"])
    stream.flush()
    assert bytes_.getvalue() == b"\\xe9\nbegun"
