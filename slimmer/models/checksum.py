"""Safetensors files with a checksum; equal values give equal bytes."""

import hashlib
import json
from typing import Any, Final

CHECKSUM: Final = "slimmer.sha256"  # its key in a file's metadata
_METADATA: Final = "__metadata__"


def sealed(content: bytes) -> bytes:
    """The same safetensors file with a checksum and with sorted keys in its header, since
    safetensors writes metadata in random order.

    >>> from safetensors.numpy import save
    >>> is_sound(sealed(save({}, {"step": "3"})))
    True
    >>> is_sound(sealed(save({}, {"step": "3"})).replace(b'"3"', b'"4"'))
    False
    """
    start, header = _header(content)
    header[_METADATA] = {**header.get(_METADATA, {}), CHECKSUM: _checksum(header, content[start:])}
    text = _text(header)
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[start:]


def is_sound(content: bytes) -> bool:
    """Whether a safetensors file is unchanged since it was sealed; True for one without a
    checksum.
    """
    start, header = _header(content)
    wanted = header.get(_METADATA, {}).get(CHECKSUM)
    return wanted is None or wanted == _checksum(header, content[start:])


def _checksum(header: dict[str, Any], numbers: bytes) -> str:
    """The SHA-256, in hex, of the whole file except its checksum."""
    others = {key: text for key, text in header.get(_METADATA, {}).items() if key != CHECKSUM}
    found = hashlib.sha256(_text({**header, _METADATA: others}))
    found.update(numbers)
    return found.hexdigest()


def _header(content: bytes) -> tuple[int, dict[str, Any]]:
    start = 8 + int.from_bytes(content[:8], "little")
    return start, json.loads(content[8:start])


def _text(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
