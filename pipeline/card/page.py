"""The page of a data card: what `contents` says, the charts and the animations, in one HTML file."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.pages import html as pages

NAMED = 12  # clips of a rule on the page; card.json has all
REASONS = 20

CAPTIONS = {
    "joints": "One body of the store, each joint with its number in the store and its name in the configuration. "
    "A name in the wrong place means another order of joints than the configured one.",
    "worst": "The worst clip under each rule; left limbs blue, right ones orange. Of a jump the frames around it.",
    "classes": "",
    "recordings": "",
    "lengths": "",
    "missing": "",
    "bones": "Dot: median over the clips. Bar: 90 % of the clips. Line: all of them. The sides of a body should agree.",
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
    """

    def chart(name: str) -> str:
        return pages.image(name, charts[name], CAPTIONS[name]) if name in charts else ""

    store = card["store"]
    body = [
        pages.tiles(
            [
                (f"{card['clips']:,}", "clips"),
                (_duration(card["seconds"]), f"in {card['frames']:,} frames"),
                (f"{card['flagged']:,}", "clips to look at"),
                (f"{card['rejected']:,}", "recordings rejected"),
            ]
        ),
        *(pages.warning(sentence) for sentence in card["warnings"]),
        pages.section("What the clips look like", _looks(card, animations) + chart("joints")),
        pages.section(
            "Clips to look at",
            _findings(card) + chart("worst"),
            "What is unusual, not what must go. The worst come first; card.json names all, clips.csv has a row a clip.",
        ),
        pages.section("Protocols", _protocols(card)),
        pages.section(
            "What was recorded", chart("classes") + chart("recordings") + chart("lengths")
        ),
        pages.section("Bones and joints", chart("bones") + chart("missing") + _missing(card)),
        pages.section("Set aside at ingest", _rejects(card)),
        pages.section(
            "Store",
            pages.table((key, "" if value is None else value) for key, value in store.items()),
        ),
    ]
    about = f"{store['dataset']}, skeleton {store['skeleton']}, data card of the clip store {store['fingerprint'][:12]}"
    return pages.document(title, about, "".join(body))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _looks(card: Mapping[str, Any], animations: Mapping[str, bytes]) -> str:
    how = [
        "Right, when people stand on their feet and move like people: head (the large dot) up, blue left and orange "
        "right limbs, toes and knees to the same side, lengths in metres of a human body.",
        f"Axes as recorded: {card['store']['axes']}.",
    ]
    if posture := card["posture"]:
        how.append(
            f"Measured over the store: bodies stand along y in {_percent(posture['upright_clips'])} of the clips; in "
            f"{_percent(posture['toes_forward_clips'])} the toes point to where left and right say that the front is."
        )
    else:
        how.append(
            "The layout has no head, ankles and feet by name: which way is up and front was not measured."
        )
    shown = pages.gallery(pages.image(name, data, "") for name, data in animations.items())
    return "".join(pages.paragraph(sentence) for sentence in how) + shown


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _findings(card: Mapping[str, Any]) -> str:
    rows = []
    for found in card["findings"].values():
        rows.append((found["name"], f"{len(found['clips']):,}", found["rule"]))
    listed = [
        pages.folded(
            f"{found['name']}: {len(found['clips']):,}",
            pages.table((one["clip"], one["what"]) for one in found["clips"][:NAMED])
            + _more(found["clips"], NAMED),
            is_open=True,
        )
        for found in card["findings"].values()
        if found["clips"]
    ]
    return pages.table(rows, ("", "clips", "when")) + "".join(listed)


def _more(rows: Sequence[Any], most: int) -> str:
    return pages.paragraph(f"and {len(rows) - most:,} more") if len(rows) > most else ""


def _protocols(card: Mapping[str, Any]) -> str:
    across = card["copies_across_sides"]
    return pages.table(
        (
            (protocol, side, f"{clips:,}", f"{across[protocol][side]:,}")
            for protocol, sides in card["protocols"].items()
            for side, clips in sides.items()
        ),
        ("protocol", "side", "clips", "with an exact copy on another side"),
    )


def _missing(card: Mapping[str, Any]) -> str:
    missing = card["missing"]
    return pages.paragraph(
        f"Missing (exactly zero): {missing['joint_count']:,} joints in {missing['clips_with_missing_joints']:,} clips; "
        f"{missing['frames']:,} frames without anybody in {missing['clips_with_missing_frames']:,} clips."
    )


def _rejects(card: Mapping[str, Any]) -> str:
    of = "" if card["recordings"] is None else f" of {card['recordings']:,}"
    parts = [pages.paragraph(f"{card['rejected']:,}{of} recordings were rejected.")]
    if card["left_out"]:
        parts.append(pages.paragraph(f"{card['left_out']:,} clips were left out, as a list said."))
    parts.append(_reasons("rejected because", card["rejects"]))
    if card["flaws"] is not None:
        flawed = sum(one["count"] for one in card["flaws"])
        parts.append(pages.paragraph(f"{flawed:,} flaws were noted in recordings that were kept."))
        parts.append(_reasons("flaw", card["flaws"]))
    return "".join(parts)


def _reasons(what: str, reasons: Sequence[Mapping[str, Any]]) -> str:
    if not reasons:
        return ""
    rows = ((one["reason"], f"{one['count']:,}", one["example"]) for one in reasons[:REASONS])
    return pages.table(rows, (what, "times", "for example")) + _more(reasons, REASONS)
