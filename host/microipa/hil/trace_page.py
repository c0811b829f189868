"""A recorded trace as one page of HTML: what it tells of each device, and a sequence diagram of each order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from microipa.hil.diagram import diagram
from microipa.hil.markup import element
from microipa.hil.page import page, text
from microipa.hil.sequence import rows
from microipa.trace.event import Event
from microipa.trace.reading import EIMS, SETTLED
from microipa.trace.timeline import in_words

_LEGEND = (
    "A heavy arrow is a message between device and servers, a thin one ES10 at the card, a dashed one traffic that is "
    "only counted; two heads: its answer is in the same line. A circle is what a part noted by itself. What came "
    "several times in a row stands once, with ×."
)
_BETWEEN = "Beside the orders"
_PIECE = 20_000  # events of a diagram; a diagram of more begins anew


@dataclass
class _Device:
    """What the events told of a device, the newest last."""

    networks: list[str] = field(default_factory=list)
    orders: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)


def trace_page(events: Iterable[Event], title: str) -> Iterator[str]:
    """The page in pieces. Of the trace one order is in memory at a time."""
    return page(title, _body(events, title))


def _body(events: Iterable[Event], title: str) -> Iterator[str]:
    devices: dict[str, _Device] = {}
    yield text(element("h1", title)) + text(element("p", _LEGEND, class_="soft small"))
    for heading, chapter in _chapters(_noted(events, devices)):
        yield text(element("article", element("header", element("h4", heading)), diagram(rows(chapter)), class_="case"))
    yield from (text(_device(eid, device)) for eid, device in devices.items())


def _chapters(events: Iterable[Event]) -> Iterator[tuple[str, list[Event]]]:
    """The events from the delivery of each order to its end, and those between."""
    heading, chapter, ends = _BETWEEN, list[Event](), False
    for event in events:
        is_order = event.kind == "order" and event.part in EIMS
        delivered = is_order and event.fields["state"] == "delivered"
        if chapter and (delivered or event.kind == "session" or len(chapter) >= _PIECE):
            yield heading, chapter
            heading, chapter, ends = heading if len(chapter) >= _PIECE else _BETWEEN, [], False
        if event.kind == "session":
            heading = in_words(event) or ""
        if delivered:
            heading = f"Order {event.fields.get('order')}: {event.fields.get('summary')}"
        chapter.append(event)
        if is_order and event.fields["state"] in SETTLED:
            ends = True
        if ends and event.kind == "esipa" and event.fields["direction"] == "out":  # the acknowledgement
            yield heading, chapter
            heading, chapter, ends = _BETWEEN, [], False
    if chapter:
        yield heading, chapter


def _noted(events: Iterable[Event], devices: dict[str, _Device]) -> Iterator[Event]:
    """The events, while what they tell of devices is noted."""
    present = ""
    for event in events:
        fields = event.fields
        if event.kind == "session":
            present = str(fields.get("eid") or "")
        eid = str(fields.get("eid") or present)
        if eid:
            device = devices.setdefault(eid, _Device())
            if event.kind == "order" and event.part in EIMS:
                summary, state, result = (str(fields.get(name) or "") for name in ("summary", "state", "result"))
                device.orders[str(fields.get("order"))] = summary, state, result
            elif event.kind == "network":
                device.networks = [*device.networks[-9:], in_words(event) or ""]
            elif event.kind == "alarm":
                device.alarms = [*device.alarms[-9:], str(fields.get("text"))]
        yield event


def _device(eid: str, device: _Device) -> Element:
    names = ("order", "what", "state", "result")
    lines = (element("tr", *(element("td", cell) for cell in (number, *told)))
             for number, told in device.orders.items())  # fmt: skip
    orders = element("table", element("thead", element("tr", *(element("th", name) for name in names))),
                     element("tbody", *lines), class_="listing wide")  # fmt: skip
    return element(
        "section",
        element("h2", f"Device {eid}"),
        orders if device.orders else element("p", "No order of it is in this trace."),
        *(_list(name, told) for name, told in (("Network", device.networks), ("Alarms", device.alarms)) if told),
    )


def _list(name: str, told: list[str]) -> Element:
    return element("div", element("h3", name), element("ul", *(element("li", one) for one in told)))
