"""Clips at another rate, by the SDK's own resampler (soxr)."""

from __future__ import annotations

from livekit import rtc

from actors.publishing.sound import AudioClip, SoundFormat


def resample(clip: AudioClip, rate: int) -> AudioClip:
    """The same sound at `rate` samples a second.  Takes a while: to be called in a thread."""
    form = clip.format
    resampler = rtc.AudioResampler(
        form.sample_rate,
        rate,
        num_channels=form.channels,
        quality=rtc.AudioResamplerQuality.HIGH,
    )
    frames = [*resampler.push(bytearray(clip.samples)), *resampler.flush()]
    return AudioClip(SoundFormat(rate, form.channels), b"".join(bytes(one.data) for one in frames))
