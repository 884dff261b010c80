"""The script of the stub agent: the words that it hears and says, and how long each part takes.

Read by the agent's program and by the tests.  It imports nothing.
"""

from __future__ import annotations

from typing import Final

GREETING: Final = "Welcome to the stub."
SENTENCES: Final = (
    "hello there what is the weather",
    "please look it up for amsterdam",
    "stop that thank you",
    "goodbye then",
)
"""The recognizer hears these, one after the other, whatever sound is made."""
TOOL_WORDS: Final = "look it up"
"""The model answers a turn with these words by the tool `weather`, and then speaks long."""
BROKEN_WORDS: Final = "broken"
"""The model answers by the tool `broken`, which fails."""
FAILURE_WORDS: Final = "llmfail"
"""The model itself fails."""
LONG_WORDS: Final = "speak long"
"""The model answers long, so that somebody can interrupt it or end its process."""
SHORT_ANSWER: Final = "A stub answers this."
LONG_ANSWER: Final = (
    "This stub agent speaks a very long sentence with many small words in it, one after the other, "
    "so that on a busy machine too somebody has the time to interrupt it before it comes to its end"
)
SYSTEM_PROMPT: Final = "SECRET SYSTEM PROMPT: you are a stub."
TOOL_CITY: Final = "amsterdam"
TOOL_SKY: Final = "an unusually grey sky"
TOOL_FAILURE: Final = "the tool failed on purpose"
MODEL_FAILURE: Final = "the model is down on purpose"
SECRETS: Final = (
    GREETING,
    *SENTENCES,
    SHORT_ANSWER,
    LONG_ANSWER,
    SYSTEM_PROMPT,
    TOOL_CITY,
    TOOL_SKY,
    TOOL_FAILURE,
)
"""Texts that nothing of ours may keep unless it was asked to."""

MODEL_DELAY: Final = 0.25
"""Seconds until the model's first token."""
VOICE_DELAY: Final = 0.1
"""Seconds until the voice's first sound."""
TOOL_SECONDS: Final = 0.3
SECONDS_A_LETTER: Final = 0.06
"""Of speech."""
PROMPT_TOKENS: Final = 100
CACHED_TOKENS: Final = 10
ANSWER_TOKENS: Final = 25

TALK_SECONDS: Final = 1.2
"""How long a person must make a sound for a turn: more than 0.5, from which it interrupts."""
