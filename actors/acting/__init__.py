"""Rules over live rooms: what they decide, and acts carried out once.

| modules | subject |
|---|---|
| `decisions` | the rules of one session: from episodes to records, with budgets, holds and bans |
| `act_plans` | the acts of one episode as plans |
| `act_runner` | an actor that carries acts out, once their intent is durable |
| `act_requests` | one act as requests to the port `actors.rooms.room_control` |
| `ban_list` | who is banned from which room, over sessions and restarts |
"""
