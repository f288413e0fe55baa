"""What the tests of simulators share: media that are made once, and a moment that never moves."""

from datetime import UTC, datetime
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / "build" / "footage"
"""Made media are kept between runs; a file that is there is whole (see footage.py)."""

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
"""17:30 by a camera's clock."""
