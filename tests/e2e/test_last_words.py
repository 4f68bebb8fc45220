"""The shell that speaks for a process that cannot: its pipe is closed here, as if at an end."""

from pipeline.core.last_words import LastWords


def end(words):
    """What the end of the process does: the pipe is closed."""
    shell = words._shell
    shell.stdin.close()
    shell.wait(5)


def test_it_says_the_newest_line_at_the_end(capfd):
    words = LastWords()
    words.prepare("error: 100 % `gone`\\n")
    words.change("terminated")
    words.change("terminated: it's \\ $HOME")
    end(words)
    assert capfd.readouterr().err == "terminated: it's \\ $HOME\n"


def test_it_says_nothing_once_it_is_dismissed(capfd):
    words = LastWords()
    words.prepare("error: gone")
    words.dismiss()
    words.dismiss()
    words.change("terminated")
    assert capfd.readouterr().err == ""
