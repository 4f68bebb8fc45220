"""Charts draw what the card says."""

import numpy as np

from pipeline.card import body_figures, figures
from pipeline.pages.style import png
from tests.helpers.planted import card_of, index_of, joint, planted


def test_all_of_120_classes_are_named_on_the_chart(layout):
    clips = planted(layout)
    names = [f"action {n}" for n in range(119)] + [
        "a name that is far too long to stand beside a bar"
    ]
    card = card_of(clips, layout, names, label=np.arange(len(clips)))
    figure = figures.classes(card)
    drawn = [tick.get_text() for axes in figure.axes for tick in axes.get_yticklabels()]
    assert drawn[:119] == [f"{n}  {name}" for n, name in enumerate(names[:119])] and drawn[
        119
    ].startswith("119  a name")
    widths = [bar.get_width() for axes in figure.axes for bar in axes.patches]
    assert widths == [1] * len(clips) + [0] * (120 - len(clips))
    height = figure.get_figheight() * 72 / (120 / len(figure.axes))
    assert height > 8 and png(figure).startswith(b"\x89PNG")  # points for a name of 7.5 points


def test_charts_draw_what_the_card_says(layout):
    clips = planted(layout)
    camera = np.arange(len(clips)) % 3 + 1
    card = card_of(clips, layout, label=np.zeros(len(clips), int), camera=camera)
    panels = {
        axes.get_xlabel(): [bar.get_height() for bar in axes.patches]
        for axes in figures.recordings(card).axes
    }
    persons = index_of(clips).num_persons
    assert panels == {
        "camera": np.bincount(camera)[1:].tolist(),
        "persons": [int((persons == 1).sum()), int((persons == 2).sum())],
    }
    bars = figures.lengths(card).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == len(clips)
    frames = np.array([len(clip) for clip in clips.values()])
    low, high = bars[3].get_x(), bars[3].get_x() + bars[3].get_width()
    assert bars[3].get_height() == ((frames > low) & (frames < high)).sum()
    shares = [bar.get_width() for bar in body_figures.missing(card).axes[0].patches]
    assert (
        np.argmax(shares) == joint(layout, "left_hand") and sum(share > 0 for share in shares) == 1
    )
    dots = [
        line.get_xdata()[0]
        for line in body_figures.bone_lengths(card).axes[0].get_lines()
        if line.get_marker() == "o"
    ]
    forearm = card["bones"][[one["joint"] for one in card["bones"]].index("left_wrist")]
    assert (
        forearm["metres"] in dots
        and 0.21 < forearm["metres"] < 0.27
        and len(dots) == layout.num_joints - 1
    )


def test_every_joint_is_named_on_the_body(layout):
    body = planted(layout)["clean-0"][0, 0]
    texts = [
        text.get_text().strip()
        for text in body_figures.joint_names(body, layout, "title").axes[0].texts
    ]
    assert sorted(texts) == sorted(
        f"{n} {name.replace('_', ' ')}" for n, name in enumerate(layout.joints)
    )
