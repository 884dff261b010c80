"""LiveKit's recording through its server API: fills `actors.recording.egress_port.EgressPort`.

Facts about the real server that shape it:

* Recording needs Redis.  Without it `ListEgress` is an internal error that says so, but a start is
  "unavailable", as where no egress worker answers.  So the list is asked first.
* Without a worker a start is answered after 22 s.  It has a deadline of its own, and only few of
  the connections may wait for starts.
* `StartEgress` is the newer call for every kind of recording; a server that does not know it has
  the older one, `StartRoomCompositeEgress`.
* A request may name webhooks of its own.  So LiveKit tells us of our recordings also where its
  configuration has no webhooks.
* Stopping a recording that is over is "failed precondition" or "not found" after 3 s.  Where its
  worker died, it is "deadline exceeded".

The secrets of storages are read from the environment for each start.  They are in the request and
nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import trio
from attrs import evolve
from livekit.protocol import egress
from livekit.protocol.models import WebhookConfig

from actors.recording.egress_port import EgressPort, EgressState
from actors.rooms.room_control import ControlNotFound, ControlRefused, RoomControlError
from actors.rules.recording_outputs import secret_names
from actors.session.recording_reports import RecordingOutput, RecordingRequest, StorageTarget
from bridge.livekit.api_errors import ApiRefused, NotFound, NotSupported
from bridge.livekit.control_errors import translated
from bridge.livekit.egress_infos import INTENT_QUERY, egress_state
from bridge.livekit.server_api import ServerApi

STARTS: Final = 4
"""Starts at the same time.  One may take 22 s, and they share the few connections of all calls."""


@final
class LiveKitEgress(EgressPort):
    """The recordings of one LiveKit server."""

    def __init__(
        self,
        api: ServerApi,
        *,
        webhook_url: Callable[[], str | None] = lambda: None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """`webhook_url` gives the address of our own `/livekit/webhook` as LiveKit reaches it, None
        where it cannot."""
        self._api = api
        self._webhook_url = webhook_url
        self._environment = environment
        self._starting = trio.CapacityLimiter(STARTS)
        self._unified = True
        """The server knows `StartEgress`, as far as we know."""

    async def start(self, room: str, request: RecordingRequest, intent: str) -> EgressState:
        async with self._starting:
            try:
                return await self._begin(room, request, intent)
            except RoomControlError as error:
                raise type(error)(self._without_secrets(str(error), request)) from None

    def _without_secrets(self, text: str, request: RecordingRequest) -> str:
        """An error without the secrets of the request, in case a server or worker quotes it."""
        for name in secret_names(request):
            if secret := self._environment.get(name):
                text = text.replace(secret, "...")
        return text

    async def _begin(self, room: str, request: RecordingRequest, intent: str) -> EgressState:
        with translated():
            # Without Redis this fails at once; a start would be "unavailable" after a while.
            await self._api.list_egress(room, active=True)
            info = await self._start(room, request, intent)
        return evolve(egress_state(info), intent=intent)

    async def _start(self, room: str, request: RecordingRequest, intent: str) -> egress.EgressInfo:
        if self._unified:
            try:
                return await self._api.start_egress(self._unified_request(room, request, intent))
            except NotSupported:
                self._unified = False
        return await self._api.start_room_egress(self._older_request(room, request, intent))

    async def stop(self, egress_id: str) -> None:
        with translated():
            try:
                await self._api.stop_egress(egress_id)
            except ApiRefused as over:
                raise NotFound(str(over)) from None

    async def list_room(self, room: str) -> tuple[EgressState, ...]:
        with translated():
            return tuple(map(egress_state, await self._api.list_egress(room)))

    async def look_up(self, egress_id: str) -> EgressState:
        with translated():
            infos = await self._api.list_egress(egress_id=egress_id)
        if not infos:
            raise ControlNotFound("LiveKit does not know this recording")
        return egress_state(infos[0])

    # ------------------------------------------------------------ requests

    def _unified_request(
        self, room: str, request: RecordingRequest, intent: str
    ) -> egress.StartEgressRequest:
        return egress.StartEgressRequest(
            room_name=room,
            template=egress.TemplateSource(layout=request.layout, audio_only=request.audio_only),
            outputs=[self._output(one) for one in request.outputs],
            webhooks=self._webhooks(intent),
        )

    def _output(self, output: RecordingOutput) -> egress.Output:
        file = egress.FileOutput(filepath=output.file)
        if output.storage is None:
            return egress.Output(file=file)
        field, upload = self._upload(output.storage)
        storage: Any = egress.StorageConfig(**{field: upload})
        return egress.Output(file=file, storage=storage)

    def _older_request(
        self, room: str, request: RecordingRequest, intent: str
    ) -> egress.RoomCompositeEgressRequest:
        return egress.RoomCompositeEgressRequest(
            room_name=room,
            layout=request.layout,
            audio_only=request.audio_only,
            file_outputs=[self._older_output(one) for one in request.outputs],
            webhooks=self._webhooks(intent),
        )

    def _older_output(self, output: RecordingOutput) -> egress.EncodedFileOutput:
        if output.storage is None:
            return egress.EncodedFileOutput(filepath=output.file)
        field, upload = self._upload(output.storage)
        more: Any = {field: upload}
        return egress.EncodedFileOutput(filepath=output.file, **more)

    def _webhooks(self, intent: str) -> list[WebhookConfig]:
        inbox = self._webhook_url()
        if inbox is None:
            return []
        url = f"{inbox}{'&' if '?' in inbox else '?'}{INTENT_QUERY}={intent}"
        return [WebhookConfig(url=url, signing_key=self._api.api_key.key)]

    def _upload(self, storage: StorageTarget) -> tuple[str, Any]:
        """The name of the field of a storage, and what is in it."""
        secret = self._environment.get(storage.secret_env, "")
        if not secret:
            raise ControlRefused(
                f"the environment variable {storage.secret_env}, which a rule names as the secret"
                " of a storage, is not set"
            )
        return _UPLOADS[storage.service](storage, secret)


def _s3(storage: StorageTarget, secret: str) -> tuple[str, Any]:
    return "s3", egress.S3Upload(
        access_key=storage.account,
        secret=secret,
        region=storage.region,
        endpoint=storage.endpoint,
        bucket=storage.bucket,
        force_path_style=storage.path_style,
    )


def _gcs(storage: StorageTarget, secret: str) -> tuple[str, Any]:
    return "gcp", egress.GCPUpload(credentials=secret, bucket=storage.bucket)


def _azure(storage: StorageTarget, secret: str) -> tuple[str, Any]:
    return "azure", egress.AzureBlobUpload(
        account_name=storage.account, account_key=secret, container_name=storage.bucket
    )


_UPLOADS: Final = {"s3": _s3, "gcs": _gcs, "azure": _azure}
