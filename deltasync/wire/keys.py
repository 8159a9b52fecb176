"""Keys as people write them: 32 bytes as 43 characters of unpadded base64url, one spelling for each key. Pure.

Source: RFC 4648, section 5; RFC 7748, section 5 (which public keys are one and the same), section 6.1 (small order).
"""

from __future__ import annotations

import base64
import re

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

__all__ = ["KEY_BYTES", "KEY_CHARS", "decode_public", "decode_secret", "encode"]

KEY_BYTES = 32
KEY_CHARS = 43

_TEXT = re.compile(rf"[A-Za-z0-9_-]{{{KEY_CHARS}}}")
_PRIME = (1 << 255) - 19
_PROBE = X25519PrivateKey.from_private_bytes(b"\1" * KEY_BYTES)


def encode(key: bytes) -> str:
    """Return the 43 characters of a key of 32 bytes."""
    return base64.urlsafe_b64encode(key).decode("ascii").rstrip("=")


def decode_secret(text: str) -> bytes:
    """Return the 32 bytes of a private key or a token.

    Raises:
        ValueError: It is not 43 characters of base64url, or not the one spelling that its bytes have.
    """
    if _TEXT.fullmatch(text) is None:
        raise ValueError(f"a key has {KEY_CHARS} letters, digits, - and _")
    key = base64.urlsafe_b64decode(text + "=")
    if encode(key) != text:
        raise ValueError("its last character can't be")
    return key


def decode_public(text: str) -> bytes:
    """Return the 32 bytes of a public key that can be used.

    Raises:
        ValueError: As `decode_secret`; or the number is not reduced, so that one key would have two spellings; or the point is of small
            order, so that the shared secret would be no secret.
    """
    key = decode_secret(text)
    if int.from_bytes(key, "little") >= _PRIME:
        raise ValueError("it is not a key of X25519 in its own spelling")
    try:
        _PROBE.exchange(X25519PublicKey.from_public_bytes(key))
    except ValueError:
        raise ValueError("it is a key of small order, with which nothing is secret") from None
    return key
