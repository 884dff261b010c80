"""`[[mask]]` and `--mask-text`: what is never stored of texts of conversations."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config.mask_list import masks_of, text_retention
from bridge.config.settings import Settings, SettingsError, load

KEYS = {"LIVEKIT_API_KEY": "devkey", "LIVEKIT_API_SECRET": "a-long-secret-word"}


def read(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    file.chmod(0o600)
    return load({"config": str(file)}, KEYS)


def test_own_masks_come_before_those_that_are_built_in(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        r"""
mask-text = ["email"]
keep-transcripts = "7d"

[[mask]]
name = "order"
pattern = '\bORD-\d{4,8}\b'
""",
    )
    masked = masks_of(settings).masked("ORD-12345 for ann@example.org")
    assert masked == "[order] for [email]"
    retention = text_retention(settings)
    assert (retention.spoken, retention.tools, retention.any) == (604_800.0, None, True)


def test_no_text_is_kept_longer_than_its_session() -> None:
    settings = load({"keep": "2d", "keep-transcripts": "7d", "keep-tool-payloads": "1d"}, KEYS)
    retention = text_retention(settings)
    assert (retention.spoken, retention.tools) == (172_800.0, 86_400.0)


def test_by_default_no_text_is_kept() -> None:
    assert not text_retention(load({}, KEYS)).any


@pytest.mark.parametrize(
    "mask, error",
    [
        ('name = "x"\npattern = "a+"', "line 3: 'pattern' has '+' without an upper bound; write"),
        ('name = ""\npattern = "ab"', "line 2: 'name' is not a name; give 1 to 40 characters"),
        ('name = "x"', "'pattern' is missing"),
    ],
)
def test_each_mistake_is_one_line(tmp_path: Path, mask: str, error: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, f"[[mask]]\n{mask}\n")
    assert error in str(raised.value)
