"""The page shows the card, escapes what it did not write, and says what it leaves out."""

import re
from dataclasses import replace

from pipeline.card.page import NAMED, REASONS, page
from tests.helpers.planted import card_of, planted


def test_the_page_escapes_everything_that_it_did_not_write(layout):
    evil = "<script>alert('x')</script>&\"$\ud800"
    clips = {f"{evil}{name}": clip for name, clip in planted(layout).items()}
    rejected = [{"name": evil, "reason": f"no {evil}"}]
    card = card_of(
        clips,
        layout,
        [evil],
        {evil: {evil: {}}},
        [{"clip_id": evil, "flaw": evil}],
        rejected=rejected,
    )
    card["store"] |= {"axes": evil, "dataset": evil, "source": evil}
    text = page(evil, card, {"joints": b"\x89PNG"}, {evil: b"GIF89a"}).decode()
    assert "<script" not in text and text.count("&lt;script&gt;") > 20
    assert not re.search(r'(src|href)="(?!data:)|<[^>]*\son\w+=', text)
    without = card | {"flaws": None}
    assert "flaw" not in page("t", without, {}, {}).decode() and "1 flaws" in text


def test_the_page_says_how_many_it_does_not_name(layout):
    clip = planted(layout)["clean-1"]
    clips = {f"equal-{n:02}": clip for n in range(30)}
    rejected = [{"name": "x", "reason": f"reason {'z' * n}"} for n in range(27)]
    text = page("t", card_of(clips, layout, rejected=rejected), {}, {}).decode()
    assert f"and {30 - NAMED} more" in text and f"and {27 - REASONS} more" in text
    assert text.count("equal to equal-00 and 28 more") == NAMED - 1


def test_the_page_says_what_was_declared_and_what_cannot_be_told(layout):
    card = card_of(dict(list(planted(layout).items())[:4]), layout)
    text = page("t", card, {}, {}).decode()
    assert "up y, depth z, unit m, right-handed" in text
    assert "cannot tell which axis points up: 4 clips show it" in text
    assert "cannot tell" not in page("t", card_of(planted(layout), layout), {}, {}).decode()


def test_the_page_says_when_postures_could_not_be_measured(layout):
    other = replace(layout, joints=tuple(f"j{n}" for n in range(layout.num_joints)))
    card = card_of(planted(layout), other)
    assert card["posture"] is None and "was not measured" in page("t", card, {}, {}).decode()
