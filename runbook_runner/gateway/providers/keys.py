"""Gateway: takes a provider's keys out of its answers: some quote the key that they refuse, and an agent must not get
it."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

SHORTEST_KEY: Final = 8


def without_keys(keys: Mapping[str, str], body: bytes) -> bytes:
    """keys: name → value."""
    for name, value in _real_keys(keys).items():
        body = body.replace(value, f"***REDACTED:{name}***".encode())
    return body


async def stream_without_keys(keys: Mapping[str, str], body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A piece that ends as a key begins waits for the next one."""
    values = _real_keys(keys).values()
    held = b""
    async for piece in body:
        whole = without_keys(keys, held + piece)
        end = len(whole) - max((_begun(whole, value) for value in values), default=0)
        held = whole[end:]
        if end:
            yield whole[:end]
    if held:
        yield held


def _real_keys(keys: Mapping[str, str]) -> dict[str, bytes]:
    """Without what users give local servers as a key (`ollama`, `none`), which is a word of many an answer."""
    return {name: value.encode() for name, value in keys.items() if len(value) >= SHORTEST_KEY}


def _begun(text: bytes, value: bytes) -> int:
    """Returns how many characters of the value the text ends with; fewer than all of them."""
    return next((size for size in range(len(value) - 1, 0, -1) if text.endswith(value[:size])), 0)
