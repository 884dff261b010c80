"""Sessions to keep, made as the worker makes them: journals that fill a backlog."""

from __future__ import annotations

from actors.journal.archive import Archive, Batch
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.session import (
    DataReceived,
    ParticipantInfo,
    ParticipantJoined,
    QualityChanged,
    Roster,
    SessionBegan,
    SessionView,
    SpeakersChanged,
    TrackInfo,
    TrackPublished,
    Watching,
)

T0 = 1_790_000_000.0
"""Unix seconds at which these histories begin."""


class History:
    """The events that one worker received.  `now` is its clock."""

    def __init__(self, now: float = T0) -> None:
        self.now = now
        self.person_key: str | None = None
        """The person key of sessions that begin from now on."""
        self.backlog = Backlog()

    def begin(self, room: str = "atlas", sid: str = "RM_1", *people: str) -> Journal:
        """A room that is watched, with these people in it, each with a microphone."""
        began = SessionBegan(
            self.now, room, sid, ("AJ_1",), "worker", "agent", self.now - 1.0,
            person_key=self.person_key,
        )  # fmt: skip
        journal = Journal.begin(began, self.backlog)
        infos = tuple(
            ParticipantInfo(
                name, f"PA_{name}", self.now - 0.5, name=name.title(),
                tracks=(TrackInfo(f"TR_{name}", "audio", "microphone"),),
            )
            for name in people or ("alice", "bob")
        )  # fmt: skip
        journal.record(Watching(self.now, Roster(sid, "", infos, self.now - 1.0)))
        return journal

    def call(self, journal: Journal) -> None:
        """A telephone call that comes in, for one of the people by `person_key`."""
        attributes = {
            "sip.callID": "SCL_1", "sip.callStatus": "active", "sip.ruleID": "SDR_1",
            "sip.phoneNumber": "+49301234", "sip.trunkPhoneNumber": "+4930999",
            "user_id": "caller 7",
        }  # fmt: skip
        info = ParticipantInfo("sip_1", "PA_sip", self.now, kind="sip", attributes=attributes)
        journal.record(ParticipantJoined(self.now, info))

    def talk(self, journal: Journal, times: int = 1, who: str = "alice") -> None:
        """Some messages, each with what goes with it, a second apart."""
        for number in range(times):
            self.now += 1.0
            journal.record(DataReceived(self.now, who, "chat", number, "text"))
            journal.record(SpeakersChanged(self.now, (who,) if number % 2 else ()))
            journal.record(QualityChanged(self.now, who, f"PA_{who}", "good"))

    def publish(self, journal: Journal, sid: str, who: str = "alice") -> None:
        journal.record(TrackPublished(self.now, who, TrackInfo(sid, "video", "camera")))

    def add_ended(self, count: int) -> None:
        """Sessions that ended, `RM_0` the oldest, an hour apart, each with one person more."""
        for number in range(count):
            people = [f"person-{n}" for n in range(number + 1)]
            journal = self.begin(f"team-{number % 2}", f"RM_{number}", *people)
            self.talk(journal, 3, people[-1])
            journal.end(self.now, "room_closed")
            self.now += 3_600.0

    def batch(self) -> Batch:
        """The rows that were not taken yet."""
        batch = self.backlog.take(self.now)
        self.backlog.done()
        return batch

    async def write_to(self, archive: Archive) -> Batch:
        batch = self.batch()
        await archive.write(batch)
        return batch


def times(session: SessionView, event: str) -> int:
    """The number of such entries in the session's timeline."""
    return sum(entry.event == event for entry in session.timeline or ())


async def prune_all(archive: Archive, now: float | None) -> int:
    """The steps that had something to do."""
    steps = 0
    while (await archive.prune(now)).more:
        steps += 1
    return steps
