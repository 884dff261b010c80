"""The tracks that we subscribe to: one for each participant, as cheap as possible.

The server sends quality and speakers only for participants of whom a track is subscribed.  So
an observer must subscribe to one, but needs none of its media.  A microphone is subscribed and
paused at once.  A participant without one is watched through a video track in its lowest layer,
paused as well, until a microphone is published.

A subscribed track takes 0.27 MiB, also while it is paused.  So a room has at most `most` of them.
The server says nothing of the quality and speech of further participants: both stay unknown.  As
soon as a subscription ends, the participant who waited longest gets its place.

Some tracks are received, not paused: videos whose frames are counted, tracks that are measured.
Each such purpose says which ones it wants (`receive`).

A voice agent speaks once somebody subscribes to its track.  A subscription of a visible
participant, paused or not, ends that wait, so the agent would greet us and nobody else.  A
hidden participant's subscription is announced to nobody.  So a visible observer subscribes to
no tracks of agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from livekit import rtc

from bridge.livekit.rooms.renewals import Renewals

RANK: Final[Mapping[tuple[int, int], int]] = {
    (rtc.TrackKind.KIND_AUDIO, rtc.TrackSource.SOURCE_MICROPHONE): 0,
    (rtc.TrackKind.KIND_AUDIO, rtc.TrackSource.SOURCE_UNKNOWN): 1,  # a phone, an ingress
    (rtc.TrackKind.KIND_VIDEO, rtc.TrackSource.SOURCE_CAMERA): 2,
    (rtc.TrackKind.KIND_VIDEO, rtc.TrackSource.SOURCE_UNKNOWN): 3,
    (rtc.TrackKind.KIND_VIDEO, rtc.TrackSource.SOURCE_SCREENSHARE): 4,
}
"""(kind, source), best first.  Other tracks are never subscribed: the sound of a shared screen
would count as its owner's speech."""


MAX_TRACKS: Final = 1000
"""Subscribed tracks of a room, if nothing else is set."""


class Subscriptions:
    """One track for each participant, also while tracks come and go.

    `pause` stops the media of a subscribed track, `resume` has them again.  `renewals` is None
    where paused tracks are not renewed.  `most` tracks are subscribed at a time.
    """

    def __init__(
        self,
        pause: Callable[[rtc.RemoteTrackPublication], None],
        renewals: Renewals | None = None,
        resume: Callable[[rtc.RemoteTrackPublication], None] = lambda _: None,
        most: int = MAX_TRACKS,
    ) -> None:
        self._most = most
        self._waiting: dict[str, None] = {}
        """Identities of participants who have a track and no subscription, the first one first."""
        self._pause = pause
        self._resume = resume
        self._wanted: dict[str, frozenset[str]] = {}
        """By purpose: SIDs of the tracks whose media are received."""
        self.received: frozenset[str] = frozenset()
        """The same for all purposes."""
        self._renewals = renewals
        self.visible = False
        """Whether others see us, as the server says."""
        self._chosen: dict[str, rtc.RemoteTrackPublication] = {}
        """By identity: the publication we asked for."""

    @property
    def chosen(self) -> Mapping[str, str]:
        """Identity to the SID of the track that we receive of this participant."""
        return {identity: pub.sid for identity, pub in self._chosen.items()}

    def choose(self, participant: rtc.RemoteParticipant) -> None:
        """Ask for the best track of this participant, and for no other."""
        identity = participant.identity
        if self._is_refused(participant):
            return
        self._waiting.pop(identity, None)
        tracks = participant.track_publications.values()
        ranked = [pub for pub in tracks if (pub.kind, pub.source) in RANK]
        best = min(ranked, key=lambda pub: RANK[pub.kind, pub.source], default=None)
        current = self._chosen.get(identity)
        if current is not None and current in ranked:
            if best is None or RANK[current.kind, current.source] <= RANK[best.kind, best.source]:
                return
            current.set_subscribed(False)
        self._forget(identity)
        if best is None:
            return
        if len(self._chosen) >= self._most:
            self._waiting[identity] = None
            return
        self._chosen[identity] = best
        best.set_subscribed(True)

    def use_free_places(self, participants: Mapping[str, rtc.RemoteParticipant]) -> None:
        """Subscriptions may have ended: choose for those who wait."""
        while self._waiting and len(self._chosen) < self._most:
            participant = participants.get(next(iter(self._waiting)))
            if participant is None:
                del self._waiting[next(iter(self._waiting))]
            else:
                self.choose(participant)

    def subscribed(self, publication: rtc.RemoteTrackPublication) -> None:
        """The subscription took effect: stop the media that it would bring."""
        if publication.kind == rtc.TrackKind.KIND_VIDEO and publication.simulcasted:
            publication.set_video_quality(rtc.VideoQuality.VIDEO_QUALITY_LOW)
        if publication.sid in self.received:
            return
        self._pause(publication)
        if self._renewals is not None:
            self._renewals.paused(publication)

    def receive(
        self,
        purpose: str,
        sids: frozenset[str],
        participants: Mapping[str, rtc.RemoteParticipant],
    ) -> None:
        """Receive the media of these tracks for this purpose, and of no others.

        A track is received while one purpose wants it.  Repeats what had no effect.
        """
        self._wanted[purpose] = sids
        sids = frozenset[str]().union(*self._wanted.values())
        ended, new = self.received - sids, sids - self.received
        self.received = sids
        chosen = set(self.chosen.values())
        for participant in participants.values():
            for sid, publication in participant.track_publications.items():
                if sid in sids and not publication.subscribed:
                    publication.set_subscribed(True)
                elif sid in new and sid in chosen:
                    if self._renewals is not None and self._renewals.is_busy(sid):
                        self._renewals.cancel(sid)
                    self._resume(publication)
                elif sid in ended and sid in chosen:
                    self._pause(publication)
                elif sid in ended:
                    publication.set_subscribed(False)

    def received_for(self, purpose: str) -> frozenset[str]:
        """SIDs of the tracks that are received for this purpose."""
        return self._wanted.get(purpose, frozenset())

    def pausable(
        self, participants: Mapping[str, rtc.RemoteParticipant]
    ) -> Iterator[rtc.RemoteTrackPublication]:
        """Microphones that can be received for a while and paused again, without a subscription
        of their own.  Those that are muted send nothing, and are left out."""
        for identity, publication in self._chosen.items():
            if (
                identity in participants
                and publication.kind == rtc.TrackKind.KIND_AUDIO
                and publication.subscribed
                and publication.track is not None
                and not publication.muted
                and not self._is_busy(publication.sid)
            ):
                yield publication

    def measurable(
        self, participants: Mapping[str, rtc.RemoteParticipant]
    ) -> list[rtc.RemoteTrackPublication]:
        """Tracks that can be received, microphones first."""
        publications = [
            publication
            for participant in participants.values()
            if not self._is_refused(participant)
            for publication in participant.track_publications.values()
            if (publication.kind, publication.source) in RANK and not self._is_busy(publication.sid)
        ]
        return sorted(publications, key=lambda pub: RANK[pub.kind, pub.source])

    def _is_busy(self, sid: str) -> bool:
        return self._renewals is not None and self._renewals.is_busy(sid)

    def _is_refused(self, participant: rtc.RemoteParticipant) -> bool:
        """An agent would take a visible observer for a listener."""
        return self.visible and participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT

    def is_renewal(self, sid: str) -> bool:
        """True for a track that we unsubscribed in order to subscribe to it again."""
        return self._renewals is not None and self._renewals.under_way(sid)

    def unsubscribed(
        self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        """A full reconnect ends subscriptions.  The new publication is asked for anew."""
        chosen = self._chosen.get(participant.identity) is publication
        if chosen and not self.is_renewal(publication.sid):
            self._forget(participant.identity)

    def left(self, participant: rtc.RemoteParticipant) -> None:
        self._forget(participant.identity)
        self._waiting.pop(participant.identity, None)

    def restore(self, participants: Mapping[str, rtc.RemoteParticipant]) -> None:
        """After a connect or reconnect: one track for everybody, and each paused (again).

        Requests that were made while the connection was down are lost, so they are repeated.
        """
        for identity, current in tuple(self._chosen.items()):
            if current.subscribed:
                self.subscribed(current)
            elif self.is_renewal(current.sid) and _is_of(current, participants.get(identity)):
                current.set_subscribed(True)
            else:
                self._forget(identity)
        self._waiting.clear()
        for participant in participants.values():
            self.choose(participant)

    def close(self) -> None:
        """We are out of the room."""
        if self._renewals is not None:
            self._renewals.cancel_all()

    def _forget(self, identity: str) -> None:
        publication = self._chosen.pop(identity, None)
        if publication is not None and self._renewals is not None:
            self._renewals.cancel(publication.sid)


def _is_of(
    publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant | None
) -> bool:
    """True if the participant has this very publication: a full reconnect makes new ones."""
    return (
        participant is not None
        and participant.track_publications.get(publication.sid) is publication
    )
