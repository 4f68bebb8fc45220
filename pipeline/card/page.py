"""The page of a data card: what `contents` says, charts and animations, in one HTML file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.core.console import percent
from pipeline.pages import html as pages

# Longer lists are cut on the page, where people read; card.json holds everything.
NAMED = 12  # clips of a rule
REASONS = 20  # reasons why recordings were rejected, and flaws

CAPTIONS = {
    "joints": "One body of the store, each joint with its number in the store and its name in the "
    "configuration. A name in the wrong place means another order of joints than the configured "
    "one.",
    "worst": "The worst clip under each rule; left limbs blue, right ones orange. Of a jump the "
    "frames around it.",
    "classes": "",
    "recordings": "",
    "lengths": "",
    "missing": "",
    "bones": "Dot: median over the clips. Bar: 90 % of the clips. Line: all of them. The sides of "
    "a body should agree.",
}


def page(
    title: str,
    card: Mapping[str, Any],
    charts: Mapping[str, bytes],
    animations: Mapping[str, bytes],
) -> bytes:
    """The card as a page.

    Args:
        title: of the page.
        card: of `contents`.
        charts: PNG files by the names of CAPTIONS; those that are there are shown.
        animations: GIF files by the names of their clips.

    Returns:
        The HTML file.
    """
    store = card["store"]
    about = (
        f"{store['dataset']}, skeleton {store['skeleton']}, "
        f"data card of the clip store {store['fingerprint'][:12]}"
    )
    return pages.document(title, about, "".join(_body(card, charts, animations)))


def _body(
    card: Mapping[str, Any], charts: Mapping[str, bytes], animations: Mapping[str, bytes]
) -> Iterator[str]:
    """The parts of the page, from the top down."""

    def chart(name: str) -> str:
        if name not in charts:
            return ""
        return pages.image(name, charts[name], CAPTIONS[name])

    yield pages.tiles(
        [
            (f"{card['clips']:,}", "clips"),
            (_duration(card["seconds"]), f"in {card['frames']:,} frames"),
            (f"{card['flagged']:,}", "clips to look at"),
            (f"{card['rejected']:,}", "recordings rejected"),
        ]
    )
    for sentence in card["warnings"]:
        yield pages.warning(sentence)
    yield pages.section("What the clips look like", _looks(card, animations) + chart("joints"))
    yield pages.section(
        "Clips to look at",
        _findings(card) + chart("worst"),
        "What is unusual, not what must go. The worst come first; card.json names all, clips.csv "
        "has a row a clip.",
    )
    yield pages.section("Protocols", _protocols(card))
    recorded = chart("classes") + chart("recordings") + chart("lengths")
    yield pages.section("What was recorded", recorded)
    yield pages.section("Bones and joints", chart("bones") + chart("missing") + _missing(card))
    yield pages.section("Set aside at ingest", _rejects(card))
    yield pages.section("Store", _store(card))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _looks(card: Mapping[str, Any], animations: Mapping[str, bytes]) -> str:
    """What to look for in the animations, what was measured of it, and the animations."""
    parts = [
        pages.paragraph(
            "Right, when people stand on their feet and move like people: head (the large dot) "
            "up, blue left and orange right limbs, toes and knees to the same side, lengths in "
            "metres of a human body."
        ),
        pages.paragraph(f"Axes: {card['store']['axes']}. {_declared(card)}"),
        pages.paragraph(_measured(card)),
        pages.gallery(pages.image(name, data, "") for name, data in animations.items()),
    ]
    return "".join(parts)


def _declared(card: Mapping[str, Any]) -> str:
    """What ingest was told about the recordings."""
    declared = card["coordinates"]["declared"]
    return (
        f"Declared of the recordings (data.coordinates): up {declared['up']}, "
        f"depth {declared['depth']}, unit {declared['unit']}, {declared['handed']}-handed."
    )


def _measured(card: Mapping[str, Any]) -> str:
    """What was measured of the axes and the unit, and what could not be."""
    coordinates = card["coordinates"]
    parts = []
    if coordinates["upright"] is not None:
        upright = percent(coordinates["upright"], ".3g")
        parts.append(f"bodies stand along y in {upright} of the clips")
    if coordinates["size"] is not None and coordinates["space"] == "metres":
        parts.append(f"the box around a body has a diagonal of {coordinates['size']:.2f} m")
    if card["posture"]:
        forward = percent(card["posture"]["toes_forward_clips"], ".3g")
        parts.append(f"in {forward} the toes point to where left and right say that the front is")
    sentences = [f"Measured over the store: {'; '.join(parts) or 'nothing'}."]
    sentences += [f"{note}." for note in coordinates["notes"]]
    if not card["posture"]:
        sentences.append(
            "The layout has no head, ankles and feet by name: which way is front was not measured."
        )
    return " ".join(sentences)


def _findings(card: Mapping[str, Any]) -> str:
    """A table of the rules, then the worst clips under each rule that any clip falls under."""
    rows = []
    lists = []
    for found in card["findings"].values():
        clips = found["clips"]
        rows.append((found["name"], f"{len(clips):,}", found["rule"]))
        if clips:
            named = pages.table((one["clip"], one["what"]) for one in clips[:NAMED])
            summary = f"{found['name']}: {len(clips):,}"
            lists.append(pages.folded(summary, named + _more(clips, NAMED), is_open=True))
    return pages.table(rows, ("", "clips", "when")) + "".join(lists)


def _more(rows: Sequence[Any], most: int) -> str:
    """How many rows are not shown of a list that is cut after `most`."""
    if len(rows) <= most:
        return ""
    return pages.paragraph(f"and {len(rows) - most:,} more")


def _protocols(card: Mapping[str, Any]) -> str:
    rows = []
    for protocol, sides in card["protocols"].items():
        across = card["copies_across_sides"][protocol]
        for side, clips in sides.items():
            rows.append((protocol, side, f"{clips:,}", f"{across[side]:,}"))
    return pages.table(rows, ("protocol", "side", "clips", "with an exact copy on another side"))


def _missing(card: Mapping[str, Any]) -> str:
    missing = card["missing"]
    return pages.paragraph(
        f"Missing (exactly zero): {missing['joint_count']:,} joints in "
        f"{missing['clips_with_missing_joints']:,} clips; {missing['frames']:,} frames without "
        f"anybody in {missing['clips_with_missing_frames']:,} clips."
    )


def _rejects(card: Mapping[str, Any]) -> str:
    total = ""
    if card["recordings"] is not None:
        total = f" of {card['recordings']:,}"
    parts = [pages.paragraph(f"{card['rejected']:,}{total} recordings were rejected.")]
    if card["left_out"]:
        parts.append(pages.paragraph(f"{card['left_out']:,} clips were left out, as a list said."))
    parts.append(_reasons("rejected because", card["rejects"]))
    # None means that the store is from a version that noted no flaws, not that it has none.
    if card["flaws"] is not None:
        flawed = sum(one["count"] for one in card["flaws"])
        parts.append(pages.paragraph(f"{flawed:,} flaws were noted in recordings that were kept."))
        parts.append(_reasons("flaw", card["flaws"]))
    return "".join(parts)


def _reasons(what: str, reasons: Sequence[Mapping[str, Any]]) -> str:
    if not reasons:
        return ""
    rows = [(one["reason"], f"{one['count']:,}", one["example"]) for one in reasons[:REASONS]]
    return pages.table(rows, (what, "times", "for example")) + _more(reasons, REASONS)


def _store(card: Mapping[str, Any]) -> str:
    rows = []
    for key, value in card["store"].items():
        if value is None:
            value = ""
        rows.append((key, value))
    return pages.table(rows)
