"""Real people in real rooms: WebRTC participants that a trio program tells what to do.

The demo, the tests and the benchmarks need people who join, talk, mute, write and
leave over real WebRTC, and who know what they really did, so that what was watched
can be compared with it.  They live in a process of their own, for three reasons: the
SDK is an asyncio library and wakes every room of its process for every event, so they
must not slow down the watcher that is under test; a person who vanishes without a
goodbye needs a process that can be killed; and a native abort in a publisher must not
take the program with it.

::

    async with open_people(url, api_key, api_secret) as people:
        alice = await people.join("standup", "alice")
        microphone = await alice.publish("microphone")
        await alice.talk(2)
        await alice.leave()
        people.truth()  # what really happened, room by room
"""

from bridge.lab.people.crowd import People, SharedProcess, open_people
from bridge.lab.people.packet_loss import PacketCounts, PacketLoss
from bridge.lab.people.person import Person
from bridge.lab.people.process import PeopleError
from bridge.lab.people.process_protocol import SCENARIOS, SOURCES, Grants, Kind, Scenario, Source
from bridge.lab.people.truth import DEED_KEYS, Deed, RoomTruth

__all__ = [
    "DEED_KEYS",
    "SCENARIOS",
    "SOURCES",
    "Deed",
    "Grants",
    "Kind",
    "PacketCounts",
    "PacketLoss",
    "People",
    "PeopleError",
    "Person",
    "RoomTruth",
    "Scenario",
    "SharedProcess",
    "Source",
    "open_people",
]
