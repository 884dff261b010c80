"""Sessions that this worker may not write, or gives away: the backlog keeps them out of batches."""

from __future__ import annotations

import trio

from actors.journal.archive import Batch, Fenced, PruneStep, RecoveredSessions, StoredSession
from actors.journal.journal import Journal
from actors.journal.store_actor import Flush, StoreActor
from actors.runtime import ChildSpec, open_system
from actors.session import DataReceived, WebhookRoomStarted
from actors.session.codec import decode_record
from tests.store.stored_history import History


def written(batch: Batch) -> set[int]:
    return {row.session for row in batch.rows} | {one.session for one in batch.checkpoints}


def seqs(batch: Batch, session: int) -> list[int]:
    return [row.seq for row in batch.rows if row.session == session]


def test_a_fenced_session_waits_with_all_its_rows_until_its_lease_is_acquired() -> None:
    history = History()
    ours, fenced = history.begin("a", "RM_a"), history.begin("b", "RM_b")
    whole = history.backlog.take(history.now)
    history.talk(fenced)
    history.backlog.fence({fenced.number})
    in_flight = history.backlog.take(history.now)
    assert written(in_flight) == {ours.number}
    history.backlog.done()
    history.backlog.has_work.clear()
    history.talk(fenced)
    assert not history.backlog.has_work.is_set
    assert written(history.batch()) == set()
    history.backlog.unfence(fenced.number)
    batch = history.batch()
    assert seqs(batch, fenced.number) == list(range(fenced.seq + 1))
    assert [one.session for one in batch.checkpoints] == [fenced.number]
    assert seqs(whole, ours.number) == list(range(ours.seq + 1))


def test_of_a_session_of_another_worker_nothing_waits_and_nothing_is_taken() -> None:
    history = History()
    ours, lost = history.begin("a", "RM_a"), history.begin("b", "RM_b")
    history.backlog.take(history.now)
    history.talk(lost)
    history.backlog.discard([lost])
    history.talk(lost)
    assert history.backlog.waiting == ours.seq + 1
    history.backlog.done()
    assert written(history.batch()) == set()


def test_the_last_batch_of_a_released_session_has_all_of_it() -> None:
    history = History()
    journal = history.begin()
    history.batch()
    history.talk(journal)
    history.backlog.release(journal, history.now)
    last = history.backlog.take(history.now)
    assert last.released == (journal.number,)
    assert [(one.session, one.seq) for one in last.checkpoints] == [(journal.number, journal.seq)]
    assert seqs(last, journal.number)[-1] == journal.seq
    history.talk(journal)  # by a watcher that has not left yet
    assert history.backlog.take(history.now) == last
    history.backlog.done()
    history.talk(journal)
    assert written(history.batch()) == set()


def test_a_session_that_was_given_away_comes_back_and_is_taken_again() -> None:
    """The mark of a foreign session ends with its journal, so nothing of it grows."""
    history = History()
    journal = history.begin()
    history.batch()
    history.backlog.release(journal, history.now)
    history.batch()
    history.talk(journal)
    assert history.backlog.empty
    stored = StoredSession(journal.number, journal.seq, journal.state, 0)
    back = Journal.resume(stored, history.backlog)
    history.talk(back)
    assert seqs(history.batch(), back.number) == list(range(stored.seq + 1, back.seq + 1))


def test_webhooks_stay_where_another_worker_recorded_what_happened() -> None:
    """They were given to this worker alone."""
    theirs, history = History(), History()
    of_other, journal = theirs.begin(), history.begin()
    webhook = WebhookRoomStarted(history.now, history.now, history.now - 1.0, "metadata")
    journal.record(webhook)
    history.talk(journal)
    number = of_other.number + 2
    stored = StoredSession(number, of_other.seq, of_other.state, 0, seen_until=history.now)
    journal.adopt(stored, history.now)
    records = [decode_record(row.kind, row.body) for row in history.batch().rows]
    assert webhook in records
    assert not any(isinstance(one, DataReceived) for one in records)


def test_a_session_whose_number_another_one_has_is_written_under_its_new_number() -> None:
    history = History()
    journal = history.begin()
    before = journal.number
    history.backlog.take(history.now)
    history.backlog.fence({before})
    history.talk(journal)
    journal.renumber(before + 7)
    batch = history.backlog.take(history.now)
    assert written(batch) == set()
    history.backlog.done()
    batch = history.batch()
    assert seqs(batch, before + 7) == list(range(journal.seq + 1))
    assert [one.session for one in batch.checkpoints] == [before + 7]


class _Owned:
    """An archive that takes the sessions of one worker."""

    def __init__(self) -> None:
        self.foreign = frozenset[int]()
        self.written = list[Batch]()

    async def load(self) -> RecoveredSessions:
        return RecoveredSessions((), None)

    async def write(self, batch: Batch) -> None:
        await trio.lowlevel.checkpoint()
        if fenced := self.foreign & written(batch):
            raise Fenced("another worker owns the room", fenced)
        self.written.append(batch)

    async def verify(self, most: float = 0.0) -> None:
        await trio.lowlevel.checkpoint()

    async def prune(self, now: float | None) -> PruneStep:
        await trio.lowlevel.checkpoint()
        return PruneStep()


async def test_the_rest_of_a_fenced_batch_is_written(virtual_time: int) -> None:
    history, archive, fenced = History(), _Owned(), list[frozenset[int]]()
    ours, foreign = history.begin("a", "RM_a"), history.begin("b", "RM_b")
    archive.foreign = frozenset({foreign.number})
    history.backlog.ready.set()

    def actor() -> StoreActor:
        return StoreActor(
            history.backlog, archive, journals=lambda: (), clock=lambda: history.now,
            announce=lambda *_, **__: None, fenced=fenced.append,
        )  # fmt: skip

    async with open_system() as system:
        store = system.supervisor.start_child(ChildSpec("store", actor))
        assert await store.ask(Flush, timeout=100.0)
        assert fenced == [archive.foreign]
        assert written(archive.written[0]) == {ours.number}
        assert not history.backlog.health.trouble
