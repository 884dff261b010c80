"""The headers by which a receiver knows that a delivery is ours, for each format.  Pure.

Standard Webhooks signs ``id.timestamp.body`` with HMAC-SHA256 under the secret's bytes; a secret
begins with ``whsec_`` and is base64 behind that.  Several secrets give several signatures in one
header: a receiver that knows one of them is content, so a secret can be replaced without a break.
LiveKit signs by a JWT that names the body's SHA-256, with an API key and its secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from attrs import field, frozen

from bridge.livekit.tokens import ApiKey
from bridge.outlets.formats import Format
from bridge.outlets.signing_keys import key_of


@frozen
class Signer:
    """Makes the headers that sign a body."""

    form: Format
    keys: tuple[bytes, ...] = field(repr=False)
    """The newest first."""
    livekit: ApiKey | None = field(default=None, repr=False)
    """Needed for the format ``livekit``."""

    @classmethod
    def of(cls, form: Format, secrets: Sequence[str], livekit: ApiKey | None = None) -> Signer:
        """Raises `BadSecret`."""
        return cls(form, tuple(map(key_of, secrets)), livekit)

    def headers(self, delivery_id: str, body: bytes, now: float) -> list[tuple[str, str]]:
        """`now`: Unix seconds of this attempt; a receiver may refuse what is old."""
        if self.form == "livekit" and self.livekit is not None:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            return [("Authorization", self.livekit.sign({}, claims={"sha256": digest}))]
        stamp = str(int(now))
        headers = [("webhook-id", delivery_id), ("webhook-timestamp", stamp)]
        if self.keys:
            signed = f"{delivery_id}.{stamp}.".encode() + body
            marks = " ".join(
                "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
                for key in self.keys
            )
            headers.append(("webhook-signature", marks))
        return headers
