"""The parts of the stub agent that hear, think and speak, each with known results and delays.

Imported in the agent's own environment only.
"""

# pyright: reportMissingImports=false
# (livekit.agents is in its own environment only)

from __future__ import annotations

import array
import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from livekit import rtc
from livekit.agents import APIError, llm, stt, tts, vad
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from bridge.lab.voice_agent.conversation_script import (
    ANSWER_TOKENS,
    BROKEN_WORDS,
    CACHED_TOKENS,
    FAILURE_WORDS,
    LONG_ANSWER,
    LONG_WORDS,
    MODEL_DELAY,
    MODEL_FAILURE,
    PROMPT_TOKENS,
    SECONDS_A_LETTER,
    SENTENCES,
    SHORT_ANSWER,
    TOOL_CITY,
    TOOL_WORDS,
    VOICE_DELAY,
)
from bridge.lab.voice_agent.truth_log import TruthLog

LOUD: Final = 800
"""Mean of the absolute samples from which a frame is speech."""
BEGINS_AFTER: Final = 0.1
"""Seconds of sound."""
ENDS_AFTER: Final = 0.8
"""Seconds of silence, for the detector of speech; the recognizer is final a little earlier.  On a
busy machine sound has gaps, which must not end a turn."""
FINAL_AFTER: Final = 0.7
SECONDS_A_WORD: Final = 0.25
VOICE_RATE: Final = 24_000
_VOICE_FRAME: Final = 2_400


class Meter:
    """Seconds of sound and of silence at the end of a stream of frames."""

    def __init__(self) -> None:
        self.sound = 0.0
        self.silence = 0.0

    def take(self, frame: rtc.AudioFrame) -> bool:
        """Count a frame; True where it is loud."""
        seconds = frame.samples_per_channel / frame.sample_rate
        samples = frame.data[::8]
        loud = bool(samples) and sum(map(abs, samples)) / len(samples) > LOUD
        if loud:
            self.sound += seconds
            self.silence = 0.0
        else:
            self.silence += seconds
        return loud

    def clear(self) -> None:
        self.sound = self.silence = 0.0


class StubDetector(vad.VAD):
    """Speech is sound above a level."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.05))

    @property
    def model(self) -> str:
        return "stub-vad"

    @property
    def provider(self) -> str:
        return "stub"

    def stream(self) -> vad.VADStream:
        return _DetectorStream(self)


class _DetectorStream(vad.VADStream):
    async def _main_task(self) -> None:
        meter, speaking, index = Meter(), False, 0
        async for frame in self._input_ch:
            if isinstance(frame, self._FlushSentinel):
                speaking = False
                meter.clear()
                continue
            index += frame.samples_per_channel
            loud = meter.take(frame)
            if not loud and not speaking:
                meter.sound = 0.0

            def send(kind: vad.VADEventType) -> None:
                self._event_ch.send_nowait(
                    vad.VADEvent(
                        type=kind,
                        samples_index=index,  # noqa: B023 (called at once)
                        timestamp=time.time(),
                        speech_duration=meter.sound,
                        silence_duration=meter.silence,
                        frames=[frame],  # noqa: B023
                        probability=float(loud),  # noqa: B023
                        inference_duration=0.0001,
                        speaking=speaking,  # noqa: B023
                        raw_accumulated_silence=meter.silence,
                        raw_accumulated_speech=meter.sound,
                    )
                )

            if not speaking and meter.sound >= BEGINS_AFTER:
                speaking = True
                send(vad.VADEventType.START_OF_SPEECH)
            send(vad.VADEventType.INFERENCE_DONE)
            if speaking and meter.silence >= ENDS_AFTER:
                speaking = False
                send(vad.VADEventType.END_OF_SPEECH)
                meter.sound = 0.0


class StubRecognizer(stt.STT):
    """Hears the sentences of the script, one for each stretch of sound."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self.turn = 0

    @property
    def model(self) -> str:
        return "stub-stt"

    @property
    def provider(self) -> str:
        return "stub"

    async def _recognize_impl(self, *args: Any, **more: Any) -> stt.SpeechEvent:
        raise NotImplementedError

    def stream(
        self, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS, **_: Any
    ) -> stt.SpeechStream:
        return _RecognizerStream(self, conn_options)


class _RecognizerStream(stt.SpeechStream):
    def __init__(self, recognizer: StubRecognizer, conn_options: Any) -> None:
        super().__init__(stt=recognizer, conn_options=conn_options)
        self._recognizer = recognizer

    async def _run(self) -> None:
        meter, speaking, shown, total = Meter(), False, 0, 0.0
        async for frame in self._input_ch:
            if isinstance(frame, self._FlushSentinel):
                continue
            total += frame.samples_per_channel / frame.sample_rate
            loud = meter.take(frame)
            if not speaking:
                if meter.silence > 2 * BEGINS_AFTER:
                    meter.sound = 0.0
                if meter.sound >= BEGINS_AFTER:
                    speaking, shown = True, 0
                    self._send(stt.SpeechEventType.START_OF_SPEECH)
                continue
            text = SENTENCES[self._recognizer.turn % len(SENTENCES)]
            words = text.split()
            count = min(len(words), int(meter.sound / SECONDS_A_WORD))
            if loud and count > shown:
                shown = count
                self._send(stt.SpeechEventType.INTERIM_TRANSCRIPT, " ".join(words[:count]))
            if meter.silence >= FINAL_AFTER:
                speaking = False
                meter.clear()
                self._send(stt.SpeechEventType.FINAL_TRANSCRIPT, text)
                self._recognizer.turn += 1
                self._send(stt.SpeechEventType.END_OF_SPEECH)
                self._event_ch.send_nowait(
                    stt.SpeechEvent(
                        type=stt.SpeechEventType.RECOGNITION_USAGE,
                        recognition_usage=stt.RecognitionUsage(audio_duration=total),
                    )
                )
                total = 0.0

    def _send(self, kind: stt.SpeechEventType, text: str = "") -> None:
        results = [stt.SpeechData(language="en", text=text, confidence=0.9)] if text else []
        self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=results))


class StubModel(llm.LLM):
    """Answers by the words of the newest message.  Notes what it was asked and what it gave."""

    def __init__(self, truth: TruthLog) -> None:
        super().__init__()
        self.truth = truth

    @property
    def model(self) -> str:
        return "stub-llm"

    @property
    def provider(self) -> str:
        return "stub"

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: Any = None,
        conn_options: Any = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> llm.LLMStream:
        return _ModelStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _ModelStream(llm.LLMStream):
    async def _run(self) -> None:
        truth: TruthLog = self._llm.truth
        await asyncio.sleep(MODEL_DELAY)
        items = self._chat_ctx.items
        last = items[-1] if items else None
        asked = (last.text_content or "") if last is not None and last.type == "message" else ""
        name = f"chat_{time.time_ns()}"
        if FAILURE_WORDS in asked:
            truth.note("model_failed")
            raise APIError(MODEL_FAILURE, retryable=False)
        looked_up = last is not None and last.type == "function_call_output" and not last.is_error
        async for delta in _answer(asked, long=looked_up or LONG_WORDS in asked):
            self._event_ch.send_nowait(llm.ChatChunk(id=name, delta=delta))
        usage = llm.CompletionUsage(
            completion_tokens=ANSWER_TOKENS,
            prompt_tokens=PROMPT_TOKENS,
            total_tokens=PROMPT_TOKENS + ANSWER_TOKENS,
            prompt_cached_tokens=CACHED_TOKENS,
        )
        self._event_ch.send_nowait(llm.ChatChunk(id=name, usage=usage))
        truth.note("model_answered")


async def _answer(asked: str, *, long: bool) -> AsyncIterator[llm.ChoiceDelta]:
    call = None
    if TOOL_WORDS in asked:
        call = ("weather", json.dumps({"city": TOOL_CITY}))
    elif BROKEN_WORDS in asked:
        call = ("broken", "{}")
    if call is not None:
        one = llm.FunctionToolCall(
            name=call[0], arguments=call[1], call_id=f"call_{time.time_ns()}"
        )
        yield llm.ChoiceDelta(role="assistant", tool_calls=[one])
        return
    for word in (LONG_ANSWER if long else SHORT_ANSWER).split():
        yield llm.ChoiceDelta(role="assistant", content=f"{word} ")
        await asyncio.sleep(0.01)


class StubVoice(tts.TTS):
    """A tone, as long as its text has letters.  Notes the letters."""

    def __init__(self, truth: TruthLog) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False),
            sample_rate=VOICE_RATE,
            num_channels=1,
        )
        self.truth = truth

    @property
    def model(self) -> str:
        return "stub-tts"

    @property
    def provider(self) -> str:
        return "stub"

    def synthesize(
        self, text: str, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _VoiceStream(tts=self, input_text=text, conn_options=conn_options)


class _VoiceStream(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        text: str = self._input_text
        output_emitter.initialize(
            request_id=f"tts_{time.time_ns()}",
            sample_rate=VOICE_RATE,
            num_channels=1,
            mime_type="audio/pcm",
        )
        await asyncio.sleep(VOICE_DELAY)
        seconds = max(0.3, len(text) * SECONDS_A_LETTER)
        tone = array.array("h", (int(6_000 * math.sin(i * 0.07)) for i in range(_VOICE_FRAME)))
        for _ in range(max(1, int(seconds * VOICE_RATE) // _VOICE_FRAME)):
            output_emitter.push(tone.tobytes())
        output_emitter.flush()
        self._tts.truth.note("voiced", letters=len(text), seconds=seconds)
